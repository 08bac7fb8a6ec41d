package bus

import "strings"

// RawTelemetry + producer is where a proxy publishes a cloudv1.SidecarTelemetry to the
// forwarder; where pods prove themselves by their own tokens it is Pod.TelemetrySubject +
// producer. Nobody answers, and what nobody hears is lost: the next one says the same.
const RawTelemetry = "telemetry.raw."

// TelemetrySubject is the prefix that the pod's producers publish telemetry below, and
// by which a forwarder knows whose it is (see Subject).
func (p Pod) TelemetrySubject() string {
	return RawTelemetry + p.Namespace + "." + podToken(p.Name) + "."
}

// TelemetryPod is whose telemetry came on a subject; ok is false where that does not say
// a pod.
func TelemetryPod(subject string) (pod Pod, producer string, ok bool) {
	return podOf(strings.TrimPrefix(subject, RawTelemetry))
}

const clusterTelemetry = "telemetry.cluster."

// ClusterTelemetry is where the forwarder of a cluster, which came with the API key of
// that id, publishes a cloudv1.ClusterTelemetry to the cloud. As with ClusterSubject a key
// may publish on its own subjects only.
func ClusterTelemetry(keyID, cluster string) string {
	return clusterTelemetry + token(keyID) + "." + token(cluster)
}

// ClusterTelemetries are the subjects that the forwarders of a key may publish on; of "*"
// those of every key.
func ClusterTelemetries(keyID string) string {
	if keyID != "*" {
		keyID = token(keyID)
	}
	return clusterTelemetry + keyID + ".*"
}

// TelemetryCluster is what ClusterTelemetry made a subject of.
func TelemetryCluster(subject string) (keyID, cluster string, ok bool) {
	rest, ok := strings.CutPrefix(subject, clusterTelemetry)
	key, name, cut := strings.Cut(rest, ".")
	if !ok || !cut {
		return "", "", false
	}
	keyID, ok = untoken(key)
	if !ok {
		return "", "", false
	}
	cluster, ok = untoken(name)
	return keyID, cluster, ok && keyID != "" && cluster != ""
}
