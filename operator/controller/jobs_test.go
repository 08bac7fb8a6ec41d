package controller_test

import (
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/stamp"
)

// job of one pod, which is not there.
func job(t *testing.T) *batchv1.Job {
	return &batchv1.Job{ObjectMeta: meta("load"), Spec: batchv1.JobSpec{
		Selector: selects("load"), Template: template("load", stamp.Next("", "Job", "load", sidecar(t))),
	}}
}

// TestJobWhosePodsAreRefused: its template cannot change, so the webhook is told.
func TestJobWhosePodsAreRefused(t *testing.T) {
	j := job(t)
	v := newWorld(t, j)
	if r := v.pass("Job", "load"); r.RequeueAfter == 0 {
		t.Error("it is not looked at again")
	}
	must(t, v.client.Create(t.Context(), failure("f", "uid-load", v.now)))
	v.pass("Job", "load")
	got := read(v, &batchv1.Job{}, "load")
	s, err := stamp.Parse(got.Spec.Template.Annotations[annotation.Stamp])
	if err != nil {
		t.Fatal(err)
	}
	if r, err := stamp.ParseRefusal(got.Annotations[annotation.Refused]); err != nil || r.Hash != s.Hash || !strings.Contains(r.Reason, "exceeded quota") {
		t.Errorf("refusal %+v, %v", r, err)
	}
	v.expectTold("Warning SidecarWithdrawn")
	v.pass("Job", "load")
	v.expectTold()
}

func TestJobWhosePodsAreNotInjectedIsTold(t *testing.T) {
	j := job(t)
	j.Status.Active = 1
	p := podOf("load-x", j.Spec.Template)
	p.Annotations[annotation.Refused] = "job shop/load is not injected: hostNetwork"
	v := newWorld(t, j, p)
	v.pass("Job", "load")
	v.pass("Job", "load")
	v.expectTold("Warning SidecarNotInjected job shop/load")
}

func TestJobsThatAreLeftAlone(t *testing.T) {
	for name, change := range map[string]func(*batchv1.Job){
		"of a CronJob": func(j *batchv1.Job) {
			j.OwnerReferences = []metav1.OwnerReference{{Kind: "CronJob", Name: "nightly", Controller: new(true)}}
		},
		"complete": func(j *batchv1.Job) {
			j.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}}
		},
		"failed": func(j *batchv1.Job) {
			j.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobFailed, Status: corev1.ConditionTrue}}
		},
		"suspended": func(j *batchv1.Job) { j.Spec.Suspend = new(true) },
		"done":      func(j *batchv1.Job) { j.Spec.Completions, j.Status.Succeeded = new(int32(1)), 1 },
	} {
		t.Run(name, func(t *testing.T) {
			j := job(t)
			change(j)
			v := newWorld(t, j, failure("f", "uid-load", time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)))
			if r := v.pass("Job", "load"); r.RequeueAfter != 0 {
				t.Errorf("it is looked at again after %v", r.RequeueAfter)
			}
			if got := read(v, &batchv1.Job{}, "load"); got.ResourceVersion != "999" {
				t.Errorf("it was changed: %v", got.Annotations)
			}
			v.expectTold()
		})
	}
}
