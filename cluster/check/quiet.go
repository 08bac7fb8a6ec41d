package check

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/speedscale/speedscale/cluster/quiet"
	"github.com/speedscale/speedscale/cluster/workload"
)

// quietEvents are those by which the operator tells pods that their sidecars see nothing,
// or do again, the latest last. Who may not read events does without.
func quietEvents(ctx context.Context, c kubernetes.Interface, namespace string) (found []corev1.Event) {
	for _, reason := range []string{quiet.EventQuiet, quiet.EventSeen} {
		list, err := c.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{FieldSelector: "reason=" + reason})
		if err != nil {
			return nil
		}
		for _, e := range list.Items {
			if e.Reason == reason && e.InvolvedObject.Kind == "Pod" {
				found = append(found, e)
			}
		}
	}
	slices.SortStableFunc(found, func(a, b corev1.Event) int { return workload.EventTime(a).Compare(workload.EventTime(b)) })
	return found
}

// quietIn is what the latest events say of a pod.
func quietIn(events []corev1.Event, pods []corev1.Pod, name string) (reasons []Reason) {
	latest := map[bool]*corev1.Event{} // by whether it is about what goes out
	for i, e := range events {
		if slices.ContainsFunc(pods, func(p corev1.Pod) bool { return p.Name == name && p.UID == e.InvolvedObject.UID }) {
			_, _, outbound := quiet.Read(e.Message)
			latest[outbound] = &events[i]
		}
	}
	for _, outbound := range []bool{false, true} {
		if e := latest[outbound]; e != nil && e.Reason == quiet.EventQuiet {
			text, hint, _ := quiet.Read(e.Message)
			reasons = append(reasons, Reason{fmt.Sprintf("%s (said %s ago)", text, human(time.Since(workload.EventTime(*e)))), hint})
		}
	}
	return reasons
}
