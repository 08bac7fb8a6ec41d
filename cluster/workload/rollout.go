package workload

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/inject"
	"github.com/speedscale/speedscale/cluster/stamp"
)

// State is how far a workload's pods are.
type State struct {
	// Done says that there is nothing more to wait for, and Text what there is.
	Done bool
	Text string
	// Problems are what keeps pods from being ready, each with the pod's name.
	Problems []string
}

// mostProblems are named at once; others are like them.
const mostProblems = 3

// Rollout says how far a workload is on the way to pods of its newest template.
func Rollout(w *Workload, pods []corev1.Pod) State {
	n := w.Counts
	s := State{Text: fmt.Sprintf("%d of %d pods are new, %d ready", n.Updated, w.Scale, n.Ready)}
	if w.Held != "" {
		return State{Done: true, Text: w.Held}
	}
	if n.Seen && n.Updated >= w.Scale && n.All <= w.Scale && n.Ready >= w.Scale {
		s.Done = true
		return s
	}
	if w.Failing != "" {
		s.Problems = append(s.Problems, w.Failing)
	}
	for i := range pods {
		if why := Unready(&pods[i]); why != "" && len(s.Problems) < mostProblems {
			s.Problems = append(s.Problems, fmt.Sprintf("pod %q: %s", pods[i].Name, why))
		}
	}
	return s
}

// Starting is what Unready says of a pod whose status has no reason: its events may.
const Starting = "it is starting"

// Unready says why a pod is not ready, "" where it is, or has ended well.
func Unready(p *corev1.Pod) string {
	if p.Status.Phase == corev1.PodSucceeded {
		return ""
	}
	if p.Status.Phase == corev1.PodFailed {
		return cmp.Or(strings.Join(filled(p.Status.Reason, p.Status.Message), ": "), "it failed")
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
			return ""
		}
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return "it is not scheduled: " + c.Message
		}
	}
	containers := slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses)
	for _, c := range containers {
		if why := stuck(c); why != "" {
			return fmt.Sprintf("container %q: %s", c.Name, why)
		}
	}
	for _, c := range p.Status.ContainerStatuses {
		if !c.Ready && c.State.Running != nil {
			return fmt.Sprintf("container %q runs, and is not ready", c.Name)
		}
	}
	return Starting
}

// stuck says what a container waits for, "" where it is on its way.
func stuck(c corev1.ContainerStatus) string {
	if end := c.State.Terminated; end != nil && end.ExitCode != 0 {
		return fmt.Sprintf("it ended with %d (%s)", end.ExitCode, end.Reason)
	}
	wait := c.State.Waiting
	if wait == nil || wait.Reason == "PodInitializing" || wait.Reason == "ContainerCreating" {
		return ""
	}
	text := strings.Join(filled(wait.Reason, wait.Message), ": ")
	if end := c.LastTerminationState.Terminated; end != nil {
		text += fmt.Sprintf(", after it ended with %d (%s)", end.ExitCode, end.Reason)
	}
	return text
}

func filled(texts ...string) []string {
	return slices.DeleteFunc(texts, func(s string) bool { return s == "" })
}

// Sidecars counts a workload's pods that have a sidecar, and returns why others have
// none, each reason once.
func Sidecars(w *Workload, pods []corev1.Pod) (with int, refused []string) {
	add := func(why string) {
		if why != "" && !slices.Contains(refused, why) {
			refused = append(refused, why)
		}
	}
	for i := range pods {
		if inject.Injected(&pods[i]) {
			with++
		}
	}
	if with < len(pods) || len(pods) == 0 {
		add(w.Withdrawn())
	}
	for i := range pods {
		if !inject.Injected(&pods[i]) {
			add(pods[i].Annotations[annotation.Refused])
		}
	}
	return with, refused
}

// Withdrawn is why the operator has withdrawn a workload's sidecar, "" where it has not.
func (w *Workload) Withdrawn() string {
	text := w.Annotations[annotation.Refused]
	if r, err := stamp.ParseRefusal(text); err == nil {
		return r.Reason
	}
	return text
}

// pollEvery is how often the API server is asked. Its requests have limits of their own: a
// client that has to hold one back until after the limit of the wait fails with an error that
// hides that the time is over.
const pollEvery = time.Second

// Wait waits until a workload has pods of its newest template only, all ready, or
// holds them back itself. Progress is told of each step; nil is silent. The error
// of a wait that takes longer than the limit says what keeps the pods.
func Wait(ctx context.Context, c kubernetes.Interface, r Ref, limit time.Duration, progress func(State)) (State, error) {
	var s State
	err := wait.PollUntilContextTimeout(ctx, pollEvery, limit, true, func(context.Context) (bool, error) {
		w, err := Get(ctx, c, r)
		if err != nil {
			return false, err
		}
		pods, err := Pods(ctx, c, w)
		if err != nil {
			return false, err
		}
		s = Rollout(w, pods)
		if progress != nil {
			progress(s)
		}
		return s.Done, nil
	})
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		why := strings.Join(slices.Concat([]string{s.Text}, s.Problems), "; ")
		err = fmt.Errorf("%s is not rolled out after %s: %s", r, limit, why)
	}
	return s, err
}
