package install_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"github.com/speedscale/speedscale/cluster/helm"
	"github.com/speedscale/speedscale/cluster/install"
)

// standardClass is the cluster's default.
func standardClass(expands bool) *storagev1.StorageClass {
	m := meta("standard")
	m.Annotations = map[string]string{"storageclass.kubernetes.io/is-default-class": "true"}
	return &storagev1.StorageClass{ObjectMeta: m, AllowVolumeExpansion: &expands}
}

func claimOf(size string) corev1.PersistentVolumeClaim {
	return corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "data-speedscale-cloud-0", Namespace: "cloud"},
		Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: new("standard"),
			Resources:        corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}},
		},
	}
}

// cloudWith is a StatefulSet whose template asks for a size, of the default class.
func cloudWith(size string) *appsv1.StatefulSet {
	set := cloudOf("cloud", "speedscale-cloud")
	template := claimOf(size)
	template.Name, template.Spec.StorageClassName = "data", nil
	set.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{template}
	return set
}

// TestTheCloudsVolumeGrows: the size is changed where it can be, before Helm changes what no API
// server takes; what cannot be is said before anything is.
func TestTheCloudsVolumeGrows(t *testing.T) {
	for name, tt := range map[string]struct {
		size, template, claim string // given, and what is there
		fixed                 bool   // the storage class allows no growth
		want                  string // the error, or the claim's size
		replaced              bool   // the StatefulSet
	}{
		"larger":                    {"100Gi", "20Gi", "20Gi", false, "100Gi", true},
		"as it is":                  {"20Gi", "20Gi", "20Gi", true, "20Gi", false},
		"not given":                 {"", "50Gi", "50Gi", true, "50Gi", false},
		"grown by hand":             {"", "20Gi", "50Gi", true, "50Gi", false},
		"grown by hand, then given": {"50Gi", "20Gi", "50Gi", true, "50Gi", true},
		"smaller":                   {"10Gi", "20Gi", "20Gi", false, "the cloud's volume has 20Gi, and a volume cannot shrink to 10Gi", false},
		"smaller than by hand":      {"30Gi", "20Gi", "50Gi", false, "has 50Gi, and a volume cannot shrink to 30Gi", false},
		"of one uninstalled":        {"", "", "1Gi", true, "1Gi", false},
		"of one that was, larger":   {"2Gi", "", "1Gi", false, "2Gi", false},
		"of a fixed class":          {"100Gi", "20Gi", "20Gi", true, `cannot grow to 100Gi: its storage class "standard" does not allow it`, false},
	} {
		t.Run(name, func(t *testing.T) {
			claim := claimOf(tt.claim)
			claim.Labels = map[string]string{"app.kubernetes.io/name": "speedscale-cloud", "app.kubernetes.io/instance": "speedscale-cloud"}
			objects := []runtime.Object{&claim}
			if tt.template != "" {
				objects = append(objects, cloudWith(tt.template))
			}
			c, o := inNamespaceA(t, objects...)
			if err := c.Tracker().Update(storagev1.SchemeGroupVersion.WithResource("storageclasses"), standardClass(!tt.fixed), ""); err != nil {
				t.Fatal(err)
			}
			if tt.size != "" {
				o.CloudValues = map[string]any{"persistence": map[string]any{"size": tt.size}}
			}
			var orphaned bool
			c.PrependReactor("delete", "statefulsets", func(a clienttesting.Action) (bool, runtime.Object, error) {
				policy := a.(clienttesting.DeleteAction).GetDeleteOptions().PropagationPolicy
				orphaned = policy != nil && *policy == metav1.DeletePropagationOrphan
				return false, nil, nil
			})
			there := releases{"speedscale-operator": {}, "speedscale-cloud": {}}
			_, err := install.Run(t.Context(), c, there, o)
			if strings.Contains(tt.want, " ") {
				if _, refused := errors.AsType[*install.RefusedError](err); !refused || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v", err)
				}
				if list := made(c); len(list) > 0 || len(there["speedscale-cloud"]) > 0 {
					t.Errorf("it did %v, and has %v", list, there)
				}
				return
			}
			is, getErr := c.CoreV1().PersistentVolumeClaims("cloud").Get(t.Context(), claim.Name, metav1.GetOptions{})
			if err != nil || getErr != nil {
				t.Fatal(err, getErr)
			}
			if size := is.Spec.Resources.Requests[corev1.ResourceStorage]; size.String() != tt.want || orphaned != tt.replaced {
				t.Errorf("the claim has %v, replaced %v", &size, orphaned)
			}
		})
	}
}

// TestNoStorageIsSaidFirst: a cloud whose volume nobody provides would be waited for until the
// time is over.
func TestNoStorageIsSaidFirst(t *testing.T) {
	none := map[string]any{"enabled": false}
	other := map[string]any{"storageClass": "other"}
	volume := &corev1.PersistentVolume{ObjectMeta: meta("by-hand"), Spec: corev1.PersistentVolumeSpec{StorageClassName: "other"}, Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumeAvailable}}
	claim := claimOf("1Gi")
	claim.Namespace = "speedscale-cloud"
	for name, tt := range map[string]struct {
		persistence map[string]any
		objects     []runtime.Object
		want        string
	}{
		"no class":           {nil, nil, "no storage class is the cluster's default"},
		"a default class":    {nil, []runtime.Object{standardClass(false)}, ""},
		"a class by name":    {map[string]any{"storageClass": "standard"}, []runtime.Object{standardClass(false)}, ""},
		"another by name":    {other, []runtime.Object{standardClass(false)}, `there is no storage class "other"`},
		"a volume by hand":   {other, []runtime.Object{volume}, ""},
		"no volume is asked": {none, nil, ""},
		"it has one":         {nil, []runtime.Object{&claim}, ""},
	} {
		c, o := installing(t, append(tt.objects, settings("speedscale-operator", nil), deploymentOf("speedscale-forwarder", "new", 1))...)
		o.AppURL, o.CloudNamespace, o.NewKey = "", "speedscale-cloud", func() string { return "sp_new" }
		o.CloudValues = map[string]any{"persistence": tt.persistence}
		if tt.persistence == nil {
			o.CloudValues = nil
		}
		_, err := install.Run(t.Context(), c, releases{}, o)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || len(made(c)) > 0) {
			t.Errorf("%s: %v, it did %v", name, err, made(c))
		}
	}
}

// slow are releases of which the cloud's is not ready in time.
type slow struct{ releases }

func (s slow) Apply(ctx context.Context, r helm.Release, limit time.Duration) (string, error) {
	if r.Name != install.Cloud {
		return s.releases.Apply(ctx, r, limit)
	}
	return "", context.DeadlineExceeded
}

// TestADeadlineHasAReason: of the pod, or of what keeps one from being made.
func TestADeadlineHasAReason(t *testing.T) {
	pod := func(status corev1.PodStatus) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "cloud", Name: "speedscale-cloud-0", Labels: map[string]string{"app": "cloud"}}, Status: status}
	}
	event := func(about, text string) *corev1.Event {
		return &corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: "cloud", Name: about + ".1"}, Type: corev1.EventTypeWarning, Message: text, InvolvedObject: corev1.ObjectReference{Name: about}}
	}
	waiting := corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: []corev1.ContainerStatus{{Name: "cloud", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff"}}}}}
	unscheduled := corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "pod has unbound immediate PersistentVolumeClaims"}}}
	for name, tt := range map[string]struct {
		objects []runtime.Object
		want    string
	}{
		"image":   {[]runtime.Object{pod(waiting), event("speedscale-cloud", "old news")}, `pod "speedscale-cloud-0": container "cloud": ImagePullBackOff`},
		"volume":  {[]runtime.Object{pod(unscheduled)}, `pod "speedscale-cloud-0": it is not scheduled: pod has unbound immediate PersistentVolumeClaims`},
		"quota":   {[]runtime.Object{event("speedscale-cloud", "exceeded quota: small")}, "exceeded quota: small"},
		"a mount": {[]runtime.Object{pod(corev1.PodStatus{Phase: corev1.PodPending}), event("speedscale-cloud-0", `secret "speedscale-api-keys" not found`)}, `pod "speedscale-cloud-0": it is starting; secret "speedscale-api-keys" not found`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				set := cloudWith("20Gi")
				set.Labels["app.kubernetes.io/instance"] = "speedscale-cloud"
				set.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "cloud"}}
				c, o := inNamespaceA(t, append(tt.objects, set)...)
				_, err := install.Run(t.Context(), c, slow{releases{}}, o)
				_, late := errors.AsType[*install.NotReadyError](err)
				const want = `release "speedscale-cloud" in namespace "cloud" is not ready after 1m0s: statefulset cloud/speedscale-cloud: 0 of 1 pods are new, 0 ready; `
				if !late || err.Error() != want+tt.want {
					t.Errorf("got %v", err)
				}
			})
		})
	}
}
