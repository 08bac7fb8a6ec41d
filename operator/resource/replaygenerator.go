package resource

import (
	"slices"
	"strconv"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// Destination is where the requests of one slice are sent.
type Destination struct {
	// Key is the slice's; URL is what generator.ParseTarget reads. A scheme that it
	// leaves out is as recorded.
	Key, URL string
	// Observed says that sidecars that take part in the replay see the requests.
	Observed bool
}

// completionIndex is where Kubernetes says which pod of an Indexed Job a pod is.
const completionIndex = "metadata.annotations['batch.kubernetes.io/job-completion-index']"

// GeneratorJob sends the requests, from the given number of pods, and is ended after
// limit. What fails is not tried again: requests would be sent twice.
func (r Replay) GeneratorJob(destinations []Destination, count int32, limit time.Duration) *batchv1.Job {
	keys, targets := make([]string, len(destinations)), make([]string, len(destinations))
	for i, d := range destinations {
		keys[i], targets[i] = d.Key, d.Key+"="+d.URL
	}
	index := corev1.EnvVar{Name: "GENERATOR_INDEX", Value: "0"}
	if count > 1 {
		index = corev1.EnvVar{Name: index.Name, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: completionIndex}}}
	}
	env := append([]corev1.EnvVar{index}, r.env(Generator+"-$(GENERATOR_INDEX)")...)
	env = append(env,
		corev1.EnvVar{Name: "GENERATOR_COUNT", Value: strconv.Itoa(int(count))},
		corev1.EnvVar{Name: "SNAPSHOT_KEYS", Value: strings.Join(keys, ",")},
		corev1.EnvVar{Name: "REPLAY_TARGETS", Value: strings.Join(targets, ",")})
	if slices.ContainsFunc(destinations, func(d Destination) bool { return d.Observed }) {
		env = append(env, corev1.EnvVar{Name: "STATUS_POD_IPS", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIPs"}}})
	}
	pod := r.withSnapshot(r.pod(Generator, r.Config.Replay.Generator, env))
	pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	// Nodes can be kept free for load.
	pod.Spec.Tolerations = append(pod.Spec.Tolerations, corev1.Toleration{
		Key: "dedicated-to", Operator: corev1.TolerationOpEqual, Value: "speedscale-generator", Effect: corev1.TaintEffectNoExecute,
	})
	job := &batchv1.Job{
		ObjectMeta: r.meta(r.NameOf(Generator), Generator),
		Spec: batchv1.JobSpec{
			Parallelism: new(count), Completions: new(count), BackoffLimit: new(int32(0)),
			ActiveDeadlineSeconds: new(max(1, int64(limit/time.Second))),
			Template:              pod,
		},
	}
	if count > 1 {
		job.Spec.CompletionMode = new(batchv1.IndexedCompletion)
	}
	return job
}
