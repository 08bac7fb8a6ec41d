package workload

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/inject"
)

// Injection is a workload's annotations as they are to be.
type Injection struct {
	// Changes are what differs from what the workload has; nil takes one away.
	Changes map[string]*string
	// Settings are what the annotations then ask for.
	Settings annotation.Sidecar
}

// Plan adds annotations to those of a workload, and inject="true" with them, and has
// one whose sidecar was withdrawn tried again. Its
// error names what is wrong with them, or IsRefused is true of it.
func Plan(w *Workload, set map[string]string) (Injection, error) {
	want := maps.Clone(w.Annotations)
	if want == nil {
		want = map[string]string{}
	}
	maps.Copy(want, set)
	want[annotation.Inject] = "true"
	settings, err := Check(w, want)
	if err != nil {
		return Injection{}, err
	}
	p := Injection{Changes: map[string]*string{}, Settings: settings}
	for key, value := range want {
		if old, ok := w.Annotations[key]; !ok || old != value {
			p.Changes[key] = &value
		}
	}
	if _, withdrawn := w.Annotations[annotation.Refused]; withdrawn {
		p.Changes[annotation.Refused] = nil // to be tried again: what was in the way may be gone
	}
	return p, nil
}

// Check reads the annotations that a workload is to have. Its error says what is wrong with
// them, or IsRefused is true of it: the operator would stay away, or the pods cannot have a
// sidecar so.
func Check(w *Workload, want map[string]string) (annotation.Sidecar, error) {
	s, err := annotation.Parse(want)
	switch {
	case err != nil:
		return s, fmt.Errorf("%s: %w", w.Ref, err)
	case s.Ignore:
		return s, Refuse("%s has the annotation %s, by which the operator leaves it alone: take it away first", w.Ref, annotation.Ignore)
	case !s.Inject:
		return s, nil
	case inject.Reserved(w.Namespace):
		return s, Refuse("%s cannot have a sidecar: in namespace %q, which the cluster needs to run, nothing is ever captured", w.Ref, w.Namespace)
	case w.Elsewhere != nil:
		return s, Refuse("%s cannot have a sidecar: %s", w.Ref, w.Elsewhere.Reason())
	}
	return s, preview(w, s)
}

// Removal takes every annotation about sidecars from a workload.
func Removal(w *Workload) map[string]*string {
	changes := map[string]*string{}
	for key := range w.Annotations {
		if strings.HasPrefix(key, annotation.Prefix) || key == annotation.Refused {
			changes[key] = nil
		}
	}
	return changes
}

// preview has the sidecar put into a pod of the template, as the operator will, with
// images and a certificate that only stand for the cluster's.
func preview(w *Workload, s annotation.Sidecar) error {
	certificate, err := anyCertificate()
	if err != nil {
		return err
	}
	pod := &corev1.Pod{ObjectMeta: w.Template.ObjectMeta, Spec: w.Template.Spec}
	_, err = inject.Pod(pod, inject.Workload{Kind: w.Kind, Namespace: w.Namespace, Name: w.Name}, s, inject.Options{
		GoproxyImage: "goproxy", InitproxyImage: "initproxy",
		Forwarder: "speedscale-forwarder:80", ForwarderCA: certificate, NativeSidecars: true,
	})
	return err
}

// anyCertificate is one that nothing trusts.
func anyCertificate() (string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		return "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), nil
}

// stampLimit is how long an annotated workload may be without the operator's stamp.
// The webhook writes it in the same request; the operator itself, where the webhook
// was away, when it looks again.
const stampLimit = 30 * time.Second

// ErrNoStamp says that the operator has not answered to the annotations.
var ErrNoStamp = errors.New("the operator has not taken its annotations up")

// WaitInjected waits until a workload's pods have the sidecar that it asks for. Its
// error says what keeps them, or why they start without.
func WaitInjected(ctx context.Context, c kubernetes.Interface, r Ref, limit time.Duration, progress func(State)) (State, error) {
	w := &Workload{}
	err := wait.PollUntilContextTimeout(ctx, pollEvery, min(limit, stampLimit), true, func(context.Context) (bool, error) {
		now, err := Get(ctx, c, r)
		if err != nil {
			return false, err
		}
		w = now
		return w.Template.Annotations[annotation.Stamp] != "" || w.Withdrawn() != "", nil
	})
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil && w.Name != "" {
		if other := w.Annotations[annotation.ManagedBy]; other != "" {
			return State{}, fmt.Errorf("%s: %w: by its annotation %s, only the operator %q does", r, ErrNoStamp, annotation.ManagedBy, other)
		}
		return State{}, fmt.Errorf("%s: %w", r, ErrNoStamp)
	}
	if err != nil {
		return State{}, err
	}
	s, err := Wait(ctx, c, r, limit, progress)
	if err != nil {
		return s, err
	}
	if w, err = Get(ctx, c, r); err != nil || w.Held != "" || w.Scale == 0 {
		return s, err // a Deployment of no pods may be there for its template only, and select those of a Rollout
	}
	pods, err := Pods(ctx, c, w)
	if err != nil {
		return s, err
	}
	with, refused := Sidecars(w, pods)
	if len(refused) > 0 {
		return s, errors.New(strings.Join(refused, "; "))
	}
	if with < len(pods) {
		return s, fmt.Errorf("%s: %d of %d pods have no sidecar, and do not say why", r, len(pods)-with, len(pods))
	}
	return s, nil
}

// Services returns those that lead to a workload's pods.
func Services(ctx context.Context, c kubernetes.Interface, w *Workload) ([]corev1.Service, error) {
	list, err := c.CoreV1().Services(w.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("services in namespace %q: %w", w.Namespace, err)
	}
	return selecting(list.Items, w.Template.Labels), nil
}

// WaitRemoved waits until a workload's pods are without a sidecar. Where no operator
// takes the stamp off its template, it does so itself.
func WaitRemoved(ctx context.Context, c kubernetes.Interface, r Ref, limit time.Duration, progress func(State)) (State, error) {
	var w *Workload
	err := wait.PollUntilContextTimeout(ctx, pollEvery, min(limit, unstampLimit), true, func(context.Context) (bool, error) {
		var err error
		w, err = Get(ctx, c, r)
		return err == nil && w.Template.Annotations[annotation.Stamp] == "", err
	})
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		err = AnnotatePods(ctx, c, r, map[string]*string{annotation.Stamp: nil})
	}
	if err != nil {
		return State{}, err
	}
	return Wait(ctx, c, r, limit, progress)
}

// unstampLimit is short, since the webhook answers in the request that takes the
// annotations away, or not at all.
const unstampLimit = 3 * time.Second
