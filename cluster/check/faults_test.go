package check_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/check"
	"github.com/speedscale/speedscale/traffic"
)

// fault is something wrong in a world, and what the check of that name says of it.
type fault struct {
	name   string
	plant  func(*world)
	id     string
	status check.Status
	text   string
	// also are checks that find a consequence of it.
	also []string
}

const day = 24 * time.Hour

func faults() []fault {
	return slices.Concat(faultsOfTheCluster(), faultsOfTheControlPlane(), faultsOfWebhooks(), faultsOfTheForwarder(), faultsOfWorkloads())
}

func faultsOfTheCluster() []fault {
	return []fault{
		{"old cluster", func(w *world) { w.version = "v1.29.0" }, "api-version", check.Failed, "want 1.30", nil},
		{"clock of the API server ahead", func(w *world) { w.clock.By = 5 * time.Minute }, "api-clock", check.Warning, "the clock of the API server is 5m0s ahead of that of this machine", nil},
		{"clock of the cloud behind", func(w *world) { w.cloud.Clock.By = -2 * time.Minute }, "cloud-clock", check.Warning, "the clock of the cloud is 2m0s behind that of this machine", nil},
		{"definition missing", func(w *world) { w.unknown, w.crd = []string{"speedscale.com/v1"}, nil }, "replay-definition", check.Failed, "not found", []string{"replay-definition-version"}},
		{"definition old", func(w *world) {
			versions, _, _ := unstructured.NestedSlice(w.crd.Object, "spec", "versions")
			properties, _, _ := unstructured.NestedMap(versions[0].(map[string]any), "schema", "openAPIV3Schema", "properties", "spec", "properties")
			delete(properties, "buildTag")
			unstructured.SetNestedMap(versions[0].(map[string]any), properties, "schema", "openAPIV3Schema", "properties", "spec", "properties")
			unstructured.SetNestedSlice(w.crd.Object, versions, "spec", "versions")
		}, "replay-definition-version", check.Failed, "drops 1 fields of a replay, such as spec.buildTag", nil},
		{"no metrics API", func(w *world) { w.unknown = []string{"metrics.k8s.io/v1beta1"} }, "metrics-api", check.Warning, "there is none", nil},
		{"cloud unreachable", func(w *world) { w.cloud = &check.Cloud{Err: errors.New("no route")} }, "cloud-reachable", check.Failed, "no route", skippedWithoutCloud()},
		{"cloud refuses the key", func(w *world) { w.cloud = &check.Cloud{Err: errors.New("unknown API key"), Denied: true} }, "cloud-key", check.Failed, "unknown API key",
			slices.DeleteFunc(skippedWithoutCloud(), func(id string) bool { return id == "cloud-key" })},
		{"cloud full", func(w *world) { w.cloud.Refused = "the disk is full" }, "cloud-intake", check.Failed, "the disk is full", nil},
	}
}

// skippedWithoutCloud are checks by what the cloud says.
func skippedWithoutCloud() []string {
	return []string{"cloud-key", "cloud-intake", "cloud-clock", "forwarder-telemetry", "forwarder-takes", "forwarder-spool", "forwarder-acknowledged", "forwarder-clock",
		"sidecar-telemetry", "sidecar-capture", "sidecar-drops", "sidecar-quiet", "sidecar-clock"}
}

// pending has a component's pod wait for a reason.
func pending(w *world, app, reason string) {
	for _, p := range w.pods {
		if p.Labels["app"] == app {
			p.Status = corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: []corev1.ContainerStatus{{Name: app, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}}}}
		}
	}
}

func faultsOfTheControlPlane() []fault {
	return []fault{
		{"operator not ready", func(w *world) {
			w.operator.Status.ReadyReplicas = 0
			pending(w, "speedscale-operator", "ImagePullBackOff")
		}, "operator-ready", check.Failed, `no pod is ready: container "speedscale-operator": ImagePullBackOff`, nil},
		{"operator scaled to nothing", func(w *world) {
			w.operator.Spec.Replicas, w.operator.Status.ReadyReplicas = new(int32), 0
		}, "operator-ready", check.Failed, "scaled to no pods", nil},
		{"operator cannot be rolled out", func(w *world) { pending(w, "speedscale-operator", "ErrImageNeverPull") }, "operator-ready", check.Warning, "1 of 1 pods are ready, and one is not", nil},
		{"operator of another version", func(w *world) {
			w.operator.Spec.Template.Spec.Containers[0].Image = "localhost:5000/operator:v1"
		}, "operator-version", check.Warning, "the operator is v1, and speedctl v2", []string{"forwarder-version", "sidecar-version"}},
		{"two operators", func(w *world) {
			second := component("speedscale-operator")
			second.Namespace = "blue"
			w.more = append(w.more, second)
		}, "operator-single", check.Warning, "there are 2: blue/speedscale-operator, speedscale/speedscale-operator", nil},
		{"forwarder not ready", func(w *world) {
			w.forwarder.Status.ReadyReplicas, w.endpoints["speedscale-forwarder"] = 0, 0
			pending(w, "speedscale-forwarder", "CrashLoopBackOff")
		}, "forwarder-ready", check.Failed, "CrashLoopBackOff", []string{"forwarder-endpoints"}},
		{"no forwarder behind its service", func(w *world) { w.endpoints["speedscale-forwarder"] = 0 }, "forwarder-endpoints", check.Failed, `behind service "speedscale/speedscale-forwarder"`, nil},
		{"forwarder of another version", func(w *world) {
			w.forwarder.Spec.Template.Spec.Containers[0].Image = "ghcr.io/speedscale/forwarder:v1@sha256:0123"
		}, "forwarder-version", check.Warning, "the forwarder is v1, and the operator v2", nil},
		{"inspector not ready", func(w *world) { w.inspector.Status.ReadyReplicas = 0 }, "inspector-ready", check.Failed, "no pod is ready", nil},
	}
}

func faultsOfWebhooks() []fault {
	return []fault{
		{"webhook deleted", func(w *world) { w.mutating = nil }, "webhook-registered", check.Failed, `no mutatingwebhookconfiguration "speedscale-operator"`, []string{"webhook-answers"}},
		{"webhook for replays deleted", func(w *world) { w.replays = nil }, "webhook-replay-registered", check.Failed, `no mutatingwebhookconfiguration "speedscale-operator-replay"`, nil},
		{"validating webhook deleted", func(w *world) { w.validates = nil }, "webhook-replay-registered", check.Failed, `no validatingwebhookconfiguration`, nil},
		{"apps wait for the operator", func(w *world) { w.mutating.Webhooks[1].FailurePolicy = new(admissionregistrationv1.Fail) }, "webhook-policy", check.Failed, "is Fail, and not Ignore: apps could not start", nil},
		{"replays do not wait for it", func(w *world) { w.mutating.Webhooks[2].FailurePolicy = new(admissionregistrationv1.Ignore) }, "webhook-policy", check.Failed, "real dependencies", nil},
		{"service without endpoints", func(w *world) { w.endpoints["speedscale-operator"] = 0 }, "webhook-endpoints", check.Failed, `"speedscale/speedscale-operator", which has no ready pod`, []string{"webhook-answers"}},
		{"no caBundle", func(w *world) { w.mutating.Webhooks[0].ClientConfig.CABundle = nil }, "webhook-ca-bundle", check.Failed, "it has no caBundle", nil},
		{"caBundle unreadable", func(w *world) { w.mutating.Webhooks[0].ClientConfig.CABundle = []byte("x") }, "webhook-ca-bundle", check.Failed, "no certificate in PEM form", nil},
		{"caBundle of another CA", func(w *world) {
			w.validates.Webhooks[0].ClientConfig.CABundle = newAuthority(w.t, time.Now()).pem()
		}, "webhook-ca-bundle", check.Failed, "of another CA", nil},
		{"CA expired", func(w *world) {
			w.replays.Webhooks[0].ClientConfig.CABundle = newAuthority(w.t, time.Now().Add(-366*day)).pem()
		}, "webhook-ca-bundle", check.Failed, "has expired 24h ago", nil},
		{"certificate expired", func(w *world) {
			w.leaf = w.ca.issue(time.Now().Add(-32*day), 30*day, "speedscale-operator.speedscale.svc")
		}, "webhook-certificate", check.Failed, "it has expired 2d", nil},
		{"certificate expires", func(w *world) {
			w.leaf = w.ca.issue(time.Now().Add(-28*day), 30*day, "speedscale-operator.speedscale.svc")
		}, "webhook-certificate", check.Warning, "should have been renewed", nil},
		{"certificate for another name", func(w *world) {
			w.leaf = w.ca.issue(time.Now().Add(-day), 30*day, "operator.example.com")
		}, "webhook-certificate", check.Failed, "[operator.example.com], and the API server calls", nil},
		{"operator unreachable for the API server", func(w *world) { w.deaf = true }, "webhook-answers", check.Failed, `namespace "speedscale" got none`, nil},
		{"webhook refuses", func(w *world) { w.refused = apierrors.NewInternalError(errors.New("failed calling webhook")) }, "webhook-answers", check.Failed, "failed calling webhook", nil},
		{"dry run forbidden", func(w *world) {
			w.refused = apierrors.NewForbidden(schema.GroupResource{Resource: "deployments"}, "", errors.New("no right"))
		}, "webhook-answers", check.Skipped, "no right", nil},
	}
}

func faultsOfTheForwarder() []fault {
	told := func(change func(*cloudv1.ForwarderTelemetry, *cloudv1.SidecarTelemetry)) func(*world) {
		return func(w *world) { t := w.cloud.Telemetry.Latest; change(t.GetForwarder(), t.GetSidecars()[0]) }
	}
	const hour = int64(time.Hour)
	lost := []*cloudv1.LossTelemetry{{Reason: traffic.ReasonQueue, Pairs: 1000, RecentPairs: 5}}
	return []fault{
		{"nothing was heard", func(w *world) { w.cloud.Telemetry.Latest = nil }, "forwarder-telemetry", check.Warning, `nothing of cluster "prod"`,
			[]string{"forwarder-takes", "forwarder-spool", "forwarder-acknowledged", "forwarder-clock", "sidecar-telemetry", "sidecar-capture", "sidecar-drops", "sidecar-quiet", "sidecar-clock"}},
		{"not heard for long", func(w *world) { w.cloud.Telemetry.Age = 4 * time.Minute }, "forwarder-telemetry", check.Warning, "4m ago, and should every 1m0s", nil},
		{"takes nothing", told(func(f *cloudv1.ForwarderTelemetry, _ *cloudv1.SidecarTelemetry) {
			f.Unready = "it has no masking rules"
		}), "forwarder-takes", check.Failed, "no masking rules", nil},
		{"spool almost full", told(func(f *cloudv1.ForwarderTelemetry, _ *cloudv1.SidecarTelemetry) { f.Spool.Bytes = 900 << 20 }), "forwarder-spool", check.Warning, "900MiB of 1GiB", nil},
		{"spool broken", told(func(f *cloudv1.ForwarderTelemetry, _ *cloudv1.SidecarTelemetry) { f.Spool.Error = "timeout" }), "forwarder-spool", check.Failed, "timeout", []string{"forwarder-acknowledged"}},
		{"last acknowledgement too old", told(func(f *cloudv1.ForwarderTelemetry, _ *cloudv1.SidecarTelemetry) {
			f.Spool.Oldest, f.Spool.Acknowledged = f.Spool.Oldest-hour, f.Spool.Acknowledged-hour
		}), "forwarder-acknowledged", check.Failed, "3 batches wait, the first for 60m, and it acknowledged the last one 60m ago", nil},
		{"never acknowledged", told(func(f *cloudv1.ForwarderTelemetry, _ *cloudv1.SidecarTelemetry) {
			f.Spool.Oldest, f.Spool.Acknowledged = f.Spool.Oldest-hour, 0
		}), "forwarder-acknowledged", check.Failed, "has acknowledged none since the forwarder's start", nil},
		{"clock of the forwarder ahead", func(w *world) { w.cloud.Telemetry.Latest.Received -= hour }, "forwarder-clock", check.Warning, "the clock of the forwarder is 1h0m0s ahead of that of the cloud", nil},
		{"clock of a sidecar behind", told(func(_ *cloudv1.ForwarderTelemetry, s *cloudv1.SidecarTelemetry) { s.Received += hour }), "sidecar-clock", check.Warning, "1h0m0s behind", nil},
		{"capture lost", told(func(_ *cloudv1.ForwarderTelemetry, s *cloudv1.SidecarTelemetry) {
			s.CaptureDisabled, s.Restarts = true, 3
		}), "sidecar-capture", check.Failed, "after 3 restarts it relays, and captures nothing", nil},
		{"TLS files unusable", told(func(_ *cloudv1.ForwarderTelemetry, s *cloudv1.SidecarTelemetry) {
			s.Tls = map[string]uint64{"unusable_file": 3, "intercepted": 4}
		}), "sidecar-capture", check.Warning, "3 TLS connections were relayed unopened", nil},
		{"TLS files stale", told(func(_ *cloudv1.ForwarderTelemetry, s *cloudv1.SidecarTelemetry) {
			s.Tls = map[string]uint64{"stale_file": 2}
		}), "sidecar-capture", check.Warning, "2 TLS connections were opened with what a file held", nil},
		{"client certificate expired", told(func(_ *cloudv1.ForwarderTelemetry, s *cloudv1.SidecarTelemetry) {
			s.Tls = map[string]uint64{"rejected_client_certificate": 5}
		}), "sidecar-capture", check.Warning, "did not take the certificate of tls-mutual-*", nil},
		{"private CA unknown", told(func(_ *cloudv1.ForwarderTelemetry, s *cloudv1.SidecarTelemetry) {
			s.Tls = map[string]uint64{"unverified_host": 6}
		}), "sidecar-capture", check.Warning, "6 TLS connections were relayed unopened, since the host's certificate could not be verified", nil},
		{"capture drops", told(func(_ *cloudv1.ForwarderTelemetry, s *cloudv1.SidecarTelemetry) { s.Inbound.Lost = lost }), "sidecar-drops", check.Warning, "lately queue_full 5", nil},
		{"direction quiet", told(func(_ *cloudv1.ForwarderTelemetry, s *cloudv1.SidecarTelemetry) { s.Outbound.LastSeen = 0 }), "sidecar-quiet", check.Warning, "nothing go out", nil},
	}
}

func faultsOfWorkloads() []fault {
	bare := func(w *world) {
		w.pod.Labels, w.pod.Spec.Containers = map[string]string{"app": "cart"}, w.pod.Spec.Containers[1:]
	}
	return []fault{
		{"pod without a sidecar under a stamped template", bare, "workload-captured", check.Failed, "1 of 1 pods have no sidecar", nil},
		{"injection withdrawn", func(w *world) {
			bare(w)
			w.workload.Annotations[annotation.Refused], w.workload.Spec.Template.Annotations = "exceeded quota", nil
		}, "workload-withdrawn", check.Failed, "exceeded quota: 1 of 1 pods have no sidecar", nil},
		{"left to another operator", func(w *world) { w.workload.Annotations[annotation.ManagedBy] = "blue" }, "workload-managed-by", check.Warning, `left to the operator "blue"; this one is "prod-speedscale"`, nil},
		{"autoscaler counts the sidecar", func(w *world) { w.more = append(w.more, scaler(autoscalingv2.ResourceMetricSourceType)) }, "workload-autoscaler", check.Warning, "by the cpu of whole pods", nil},
		{"network policy", func(w *world) { w.more = append(w.more, policy()) }, "workload-network-policy", check.Warning, "networkpolicy narrow", nil},
		{"network policy of ingress by number", func(w *world) {
			n := policy()
			n.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
			n.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{Ports: []networkingv1.NetworkPolicyPort{{Port: new(intstr.FromInt32(8080))}}}}
			w.more = append(w.more, n)
			for i := range w.pod.Spec.Containers {
				c := &w.pod.Spec.Containers[i]
				c.Env = append(c.Env, corev1.EnvVar{Name: "PROXY_TYPE", Value: "dual"}, corev1.EnvVar{Name: "REVERSE_PROXY_PORT", Value: "8080"}, corev1.EnvVar{Name: "PROXY_IN_PORT", Value: "4143"})
			}
		}, "workload-network-policy", check.Warning, "it allows port 8080 of pod", nil},
		{"network policy that allows another port", func(w *world) {
			w.more = append(w.more, policy(networkingv1.NetworkPolicyEgressRule{Ports: []networkingv1.NetworkPolicyPort{{Port: new(intstr.FromInt32(443))}}}))
		}, "workload-network-policy", check.Warning, "networkpolicy narrow", nil},
		{"network policy that allows its own namespace", func(w *world) {
			w.more = append(w.more, policy(networkingv1.NetworkPolicyEgressRule{To: []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{}}}}))
		}, "workload-network-policy", check.Warning, "networkpolicy narrow", nil},
		{"sidecar does not start", func(w *world) {
			w.pod.Status.ContainerStatuses[0].State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImageNeverPull", Message: "no image"}}
		}, "sidecar-ready", check.Failed, `container "speedscale-goproxy" waits: ErrImageNeverPull: no image`, nil},
		{"sidecar that is not heard of", func(w *world) { t := w.cloud.Telemetry.Latest; t.Sidecars, t.SidecarCount = nil, 0 }, "sidecar-telemetry", check.Warning, "1 pods, such as cart-1, have a sidecar that the forwarder does not hear of", nil},
		{"sidecar of another certificate", func(w *world) {
			w.pod.Annotations = map[string]string{annotation.ForwarderCA: string(newAuthority(w.t, time.Now()).pem())}
		}, "sidecar-trust", check.Warning, "1 pods, such as cart-1, trust a certificate that the forwarder does not have any more", nil},
		{"certificate of the forwarder unreadable", func(w *world) { w.secret.Data = nil }, "sidecar-trust", check.Skipped, "no certificate in PEM form", nil},
		{"no certificate of the forwarder", func(w *world) { w.secret.Name = "other" }, "sidecar-trust", check.Skipped, `no secret "speedscale-forwarder-certs"`, nil},
		{"sidecar of another version", func(w *world) { w.pod.Spec.Containers[0].Image = "ghcr.io/speedscale/goproxy:v1" }, "sidecar-version", check.Warning, "other versions than the operator's v2: 1 of v1", nil},
	}
}

// TestEveryFaultIsFound, by the check of that name, and nothing else but what follows
// from it; a healthy installation has none.
func TestEveryFaultIsFound(t *testing.T) {
	if bad := notOK(check.After(newWorld(t).facts(false))); len(bad) > 0 {
		t.Fatalf("a healthy installation: %+v", bad)
	}
	for _, c := range faults() {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			c.plant(w)
			report := check.After(w.facts(false))
			found := false
			for _, r := range notOK(report) {
				if r.ID == c.id {
					found = found || r.Status == c.status && strings.Contains(r.Text, c.text)
					if r.Status != check.Skipped && (r.Hint == "" || r.Doc != check.Docs+"#"+r.ID) {
						t.Errorf("no hint or no address: %+v", r)
					}
				} else if !slices.Contains(c.also, r.ID) {
					t.Errorf("also %+v", r)
				}
			}
			if !found {
				t.Errorf("%+v, want %s of %s with %q", notOK(report), c.id, c.status, c.text)
			}
			if report.Success != (report.Count(check.Failed) == 0) {
				t.Errorf("success is %v with %d failures", report.Success, report.Count(check.Failed))
			}
		})
	}
}

// TestWhatIsNoFault: these look like one.
func TestWhatIsNoFault(t *testing.T) {
	to := func(namespace map[string]string) networkingv1.NetworkPolicyEgressRule {
		return networkingv1.NetworkPolicyEgressRule{
			Ports: []networkingv1.NetworkPolicyPort{{Port: new(intstr.FromString("bus"))}},
			To: []networkingv1.NetworkPolicyPeer{{
				NamespaceSelector: &metav1.LabelSelector{MatchLabels: namespace}, PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "speedscale-forwarder"}},
			}},
		}
	}
	for name, plant := range map[string]func(*world){
		"inspector left out":   func(w *world) { w.inspector = nil },
		"workload asks not":    func(w *world) { w.workload.Annotations = nil },
		"autoscaler of others": func(w *world) { w.more = append(w.more, scaler(autoscalingv2.ContainerResourceMetricSourceType)) },
		"policy that allows": func(w *world) {
			w.more = append(w.more, policy(to(map[string]string{corev1.LabelMetadataName: "speedscale"})))
		},
		"policy of a range": func(w *world) {
			w.more = append(w.more, policy(networkingv1.NetworkPolicyEgressRule{Ports: []networkingv1.NetworkPolicyPort{{Port: new(intstr.FromInt32(8000)), EndPort: new(int32(9000))}}}))
		},
		"spool waits with data off": func(w *world) {
			f := w.cloud.Telemetry.Latest.GetForwarder()
			f.DataOff, f.Dropped, f.Spool.Oldest = true, map[string]uint64{traffic.ReasonDataOff: 12}, 1
		},
		"idle for long": func(w *world) {
			s := w.cloud.Telemetry.Latest.GetForwarder().GetSpool()
			s.Batches, s.Bytes, s.Oldest, s.Acknowledged = 0, 0, 0, s.GetAcknowledged()-int64(time.Hour)
		},
		"forwarder has just started": func(w *world) {
			w.cloud.Telemetry.Latest, w.pods[1].Status.StartTime = nil, new(metav1.Now())
		},
		"telemetry off":      func(w *world) { w.env("WITH_TELEMETRY", "false"); w.cloud.Telemetry.Latest = nil },
		"telemetry never":    func(w *world) { w.env("TELEMETRY_INTERVAL", "0s"); w.cloud.Telemetry.Latest = nil },
		"older forwarder":    func(w *world) { w.env("TELEMETRY_INTERVAL", ""); w.cloud.Telemetry.Latest = nil },
		"dropped long ago":   func(w *world) { w.lose(traffic.ReasonQueue, 0) },
		"left out by choice": func(w *world) { w.lose(traffic.ReasonFiltered, 5) },
		"quiet by nature": func(w *world) {
			s := w.cloud.Telemetry.Latest.GetSidecars()[0]
			s.Mode, s.Outbound.LastSeen = "transparent", 0
		},
		"sidecar that has just started": func(w *world) {
			t := w.cloud.Telemetry.Latest
			t.Sidecars, t.SidecarCount = nil, 0
			w.pod.Status.ContainerStatuses[0].State.Running.StartedAt = metav1.NewTime(time.Now().Add(-2 * time.Minute))
		},
		"sidecar that is to say nothing": func(w *world) {
			t := w.cloud.Telemetry.Latest
			t.Sidecars, t.SidecarCount = nil, 0
			w.pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "TELEMETRY_INTERVAL", Value: "0s"}}
		},
		"sidecars too many to be named": func(w *world) {
			t := w.cloud.Telemetry.Latest
			t.Sidecars, t.Omitted, t.SidecarCount = nil, 5000, 5000
		},
		"forwarder has just started, and hears of some": func(w *world) {
			t := w.cloud.Telemetry.Latest
			t.Sidecars, t.SidecarCount, w.pods[1].Status.StartTime = nil, 0, new(metav1.Now())
		},
		"newer definition": func(w *world) { unstructured.SetNestedField(w.crd.Object, "x", "spec", "more") },
		"image without a tag": func(w *world) {
			w.operator.Spec.Template.Spec.Containers[0].Image = "ghcr.io/speedscale/operator:v2@sha256:0"
		},
		"replica set of three": func(w *world) { w.operator.Spec.Replicas, w.operator.Status.ReadyReplicas = new(int32(3)), 3 },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			plant(w)
			if bad := notOK(check.After(w.facts(false))); len(bad) > 0 {
				t.Errorf("%+v", bad)
			}
		})
	}
}

// env changes a variable of the forwarder.
func (w *world) env(name, value string) {
	env := w.forwarder.Spec.Template.Spec.Containers[0].Env
	for i := range env {
		if env[i].Name == name {
			env[i].Value = value
		}
	}
}

// lose has the sidecar lose pairs.
func (w *world) lose(reason string, recent uint64) {
	w.cloud.Telemetry.Latest.GetSidecars()[0].Inbound.Lost = []*cloudv1.LossTelemetry{{Reason: reason, Pairs: 1000, RecentPairs: recent}}
}

func notOK(report check.Report) (bad []check.Result) {
	for _, r := range report.All() {
		if r.Status != check.OK {
			bad = append(bad, r)
		}
	}
	return bad
}
