package bus

import (
	"fmt"
	"net/url"
	"strings"
)

// InspectorService is the name of the inspectors' micro service
// (github.com/nats-io/nats.go/micro), by which the cloud finds them. Its metadata
// has the keys below, and its only endpoint takes a cloudv1.Command and answers with
// a cloudv1.CommandResult.
const InspectorService = "inspector"

// Keys of the metadata of an InspectorService.
const (
	MetaCluster    = "cluster"
	MetaVersion    = "version"
	MetaKubernetes = "kubernetes"
	MetaSince      = "since" // RFC 3339
)

// ClusterSubject is where the inspector of a cluster, which came with the API key of
// that id, takes commands. The id in it keeps one key from serving for another: a
// key may subscribe to its own ClusterSubjects only.
func ClusterSubject(keyID, cluster string) string {
	return "control.cluster." + token(keyID) + "." + token(cluster)
}

// ClusterSubjects is what the inspectors of a key subscribe to: their commands, and
// the questions by which a micro service is found.
func ClusterSubjects(keyID string) []string {
	return []string{
		"control.cluster." + token(keyID) + ".*",
		"$SRV.PING", "$SRV.INFO", "$SRV.STATS",
		"$SRV.*." + InspectorService, "$SRV.*." + InspectorService + ".*",
	}
}

// KeyID returns the id in an API key, which is no secret.
func KeyID(key string) (string, error) {
	parts := strings.Split(key, "_")
	if len(parts) != 3 || parts[0] != "sp" || parts[1] == "" {
		return "", fmt.Errorf("not an API key: want sp_<id>_<secret>")
	}
	return parts[1], nil
}

// token makes a text one token of a subject: every other byte than a letter, a digit,
// - or _ is written as %XX, so that two texts never become the same.
func token(text string) string {
	var b strings.Builder
	for i := range len(text) {
		c := text[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// untoken is the text that token was given; ok is false for what it does not return.
func untoken(t string) (text string, ok bool) {
	text, err := url.PathUnescape(t)
	return text, err == nil && token(text) == t
}
