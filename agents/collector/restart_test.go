package collector_test

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"
)

// restarts is a container that ends as soon as its log is read for the first time, and whose
// next run writes other lines.
type restarts struct {
	*world
	status corev1.ContainerStatus
	// late is the time that the next run's log is read when the pod says that it is the next.
	late int
	mu   sync.Mutex
	n    map[string]int // how often a log was asked for
}

func newRestarts(late int) *restarts {
	r := &restarts{world: newWorld(webPod(container("web", "a"))), late: late, n: map[string]int{}}
	r.status = container("web", "b")
	r.status.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ContainerID: "a", FinishedAt: metav1.NewTime(start.Add(time.Minute))}
	r.kube.PrependReactor("get", "*", func(a clienttesting.Action) (bool, runtime.Object, error) {
		if a.GetSubresource() != "log" {
			return false, nil, nil
		}
		return true, &runtime.Unknown{Raw: []byte(r.log(a.(clienttesting.GenericAction).GetValue().(*corev1.PodLogOptions).Previous))}, nil
	})
	return r
}

func (r *restarts) log(previous bool) string {
	all := strings.SplitAfter(lines("a starts", "a panics", "b starts", "b works"), "\n")
	r.mu.Lock()
	defer r.mu.Unlock()
	if previous {
		r.n["previous"]++
		return all[0] + all[1]
	}
	r.n["web"]++
	if r.n["web"] == 1+r.late {
		if err := r.kube.Tracker().Update(corev1.SchemeGroupVersion.WithResource("pods"), webPod(r.status), "shop"); err != nil {
			panic(err)
		}
	}
	switch {
	case r.n["web"] > 1:
		return all[2] + all[3]
	case r.late > 0:
		return all[0] + all[1]
	}
	return all[0] // it broke off before the end
}

// TestLinesAfterARestartArePublishedOnce: the log of a run that has ended is asked for by the
// container's name, which then means the next run.
func TestLinesAfterARestartArePublishedOnce(t *testing.T) {
	for name, late := range map[string]int{"known": 0, "known late": 2} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRestarts(late)
				r.run(t, nil)
				time.Sleep(time.Minute)
				got := slices.DeleteFunc(r.texts(), func(s string) bool { return !strings.HasPrefix(s, "log ") })
				var want []string
				for _, text := range []string{"a starts", "a panics", "b starts", "b works"} {
					want = append(want, "log web-6d9f7c5b8d-x2x2x/web: "+text)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error(diff)
				}
				r.mu.Lock()
				defer r.mu.Unlock()
				if r.n["previous"] != 1 || r.n["web"] < 10 {
					t.Errorf("asked %v times", r.n)
				}
			})
		})
	}
}
