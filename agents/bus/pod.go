package bus

import (
	"encoding/base64"
	"encoding/json"
	"strings"

	"github.com/speedscale/speedscale/traffic"
)

// Pod is a pod that publishes what its proxy captured.
type Pod struct{ Namespace, Name string }

// String is namespace/name, and not part of any subject.
func (p Pod) String() string { return p.Namespace + "/" + p.Name }

// Subject is the prefix that the pod's producers publish below. A forwarder that
// knows pods by their tokens lets each publish below its own prefix only, so that
// namespace and pod of a pair are never what the pair says of itself.
func (p Pod) Subject() string {
	return RawPairs + p.Namespace + "." + podToken(p.Name) + "."
}

// podToken is a pod's name as one token of a subject, which a dot would end. A name
// has no underscore (RFC 1123).
func podToken(name string) string { return strings.ReplaceAll(name, ".", "_") }

// podOf splits what follows the receiver's prefix in a subject.
func podOf(rest string) (pod Pod, producer string, ok bool) {
	namespace, rest, ok := strings.Cut(rest, ".")
	if !ok {
		return Pod{}, namespace, false
	}
	name, producer, ok := strings.Cut(rest, ".")
	return Pod{Namespace: namespace, Name: strings.ReplaceAll(name, "_", ".")}, producer, ok
}

// sign writes into a batch where it came from.
func (p Pod) sign(b *traffic.Batch) {
	for _, pair := range b.Pairs {
		pair.Namespace, pair.Resource = p.Namespace, p.Name
	}
	for _, l := range b.Losses {
		l.Namespace = p.Namespace
	}
}

// PodOfToken reads, without verifying anything, for which pod a service-account
// token was made (the claims of a token that is bound to a pod, Kubernetes'
// documentation of service-account tokens). ok is false for every other token.
func PodOfToken(token string) (pod Pod, ok bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return Pod{}, false
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return Pod{}, false
	}
	var claims PodClaims
	if json.Unmarshal(payload, &claims) != nil {
		return Pod{}, false
	}
	return claims.Pod()
}

// PodClaims are the claims of a service-account token that say for whom it is.
type PodClaims struct {
	Kubernetes struct {
		Namespace string `json:"namespace"`
		Pod       struct {
			Name string `json:"name"`
		} `json:"pod"`
	} `json:"kubernetes.io"`
}

// Pod is the pod that the token is bound to; ok is false where it is to none.
func (c PodClaims) Pod() (pod Pod, ok bool) {
	pod = Pod{Namespace: c.Kubernetes.Namespace, Name: c.Kubernetes.Pod.Name}
	return pod, validToken(pod.Namespace) && !strings.Contains(pod.Name, "_") && validToken(podToken(pod.Name))
}
