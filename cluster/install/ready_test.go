package install

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/speedscale/speedscale/cluster/annotation"
)

// deploymentOf has settings with that hash, and a pod that is ready or not.
func deploymentOf(name, hash string, ready int32) *appsv1.Deployment {
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: name, Annotations: map[string]string{annotation.ControlPlane: hash}},
		Spec:       appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}},
		Status:     appsv1.DeploymentStatus{Replicas: 1, UpdatedReplicas: 1, ReadyReplicas: ready},
	}
	d.Spec.Template.Annotations = map[string]string{annotation.ControlPlane: hash}
	return d
}

func settings(name string, data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: name}, Data: data}
}

// TestReadyIsAllThatTheOperatorMakes, and nothing that is switched off.
func TestReadyIsAllThatTheOperatorMakes(t *testing.T) {
	pending := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "forwarder-x", Labels: map[string]string{"app": "speedscale-forwarder"}},
		Status: corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{
			{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "pod has unbound immediate PersistentVolumeClaims"},
		}},
	}
	all := map[string]string{"WITH_INSPECTOR": "true", "DEPLOY_DEMO": "java"}
	none := map[string]string{"WITH_INSPECTOR": "false", "DEPLOY_DEMO": ""}
	forwarder := deploymentOf("speedscale-forwarder", "new", 1)
	for name, tt := range map[string]struct {
		want    string
		objects []runtime.Object
	}{
		"all of it": {"", []runtime.Object{settings("speedscale-operator", all), forwarder, deploymentOf("speedscale-inspector", "new", 1),
			deploymentOf("java-server", "new", 1), deploymentOf("java-client", "new", 1)}},
		"switched off":    {"", []runtime.Object{settings("speedscale-operator", none), forwarder}},
		"overridden":      {"", []runtime.Object{settings("speedscale-operator", all), settings("speedscale-operator-override", none), forwarder}},
		"a pending pod":   {"speedscale-forwarder is not rolled out after 1m0s: 1 of 1 pods are new, 0 ready; pod \"forwarder-x\": it is not scheduled: pod has unbound", []runtime.Object{settings("speedscale-operator", none), deploymentOf("speedscale-forwarder", "new", 0), pending}},
		"of old settings": {"the operator has not made deployment a/speedscale-forwarder of its settings after 1m0s", []runtime.Object{settings("speedscale-operator", none), deploymentOf("speedscale-forwarder", "old", 1)}},
		"no inspector":    {"the operator has not made deployment a/speedscale-inspector", []runtime.Object{settings("speedscale-operator", all), forwarder}},
		"no demo":         {"the operator has not made deployment a/java-server", []runtime.Object{settings("speedscale-operator", map[string]string{"DEPLOY_DEMO": "java"}), forwarder}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := fake.NewClientset(append(tt.objects, deploymentOf("speedscale-operator", "new", 1))...)
				var said strings.Builder
				o := Options{Namespace: "a", Timeout: time.Minute, Progress: func(step string) { said.WriteString(step + "\n") }}
				err := o.ready(t.Context(), c)
				if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
					t.Errorf("got %v, want %q", err, tt.want)
				}
				if !strings.Contains(said.String(), "waiting for speedscale-forwarder\n") {
					t.Errorf("it says %q", &said)
				}
			})
		})
	}
}

// TestReadyWaitsForWhatIsMadeLate: the operator makes its objects after it is ready itself.
func TestReadyWaitsForWhatIsMadeLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := fake.NewClientset(settings("speedscale-operator", nil), deploymentOf("speedscale-operator", "new", 1))
		start := time.Now()
		time.AfterFunc(20*time.Second, func() {
			if err := c.Tracker().Add(deploymentOf("speedscale-forwarder", "new", 1)); err != nil {
				t.Error(err)
			}
		})
		o := Options{Namespace: "a", Timeout: time.Minute}
		if err := o.ready(t.Context(), c); err != nil || time.Since(start) < 20*time.Second {
			t.Errorf("%v after %s", err, time.Since(start))
		}
	})
}
