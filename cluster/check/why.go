package check

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/inject"
	"github.com/speedscale/speedscale/cluster/stamp"
	"github.com/speedscale/speedscale/cluster/workload"
)

// Reason is why a pod is not captured, and what can be done.
type Reason struct {
	Text string `json:"text"`
	Hint string `json:"hint,omitempty"`
}

// Explanation says of one pod whether it is captured.
type Explanation struct {
	// Pod is its name; "" stands for pods that a workload will have.
	Pod      string `json:"pod,omitempty"`
	Captured bool   `json:"captured"`
	// Sidecar is why the sidecar of a captured pod does not work.
	Sidecar *Reason `json:"sidecar,omitempty"`
	// Replay names the one that routes its connections, as namespace/name.
	Replay string `json:"replay,omitempty"`
	// Quiet are directions in which a captured pod's sidecar saw nothing.
	Quiet []Reason `json:"quiet,omitempty"`
	// Warnings are what a captured pod's sidecar does not see or overrides, and how that is changed.
	Warnings []Reason `json:"warnings,omitempty"`
	// Reasons are all that keep it from being captured, the first one first.
	Reasons []Reason `json:"reasons,omitempty"`
	// Unknown is what else may keep it, and could not be looked at for want of rights.
	Unknown []Reason `json:"unknown,omitempty"`
}

// Why explains each pod of a workload, or that there will be none to capture.
func Why(w *workload.Workload, pods []corev1.Pod, s Surroundings) []Explanation {
	asking := asks(w, s)
	if len(pods) == 0 {
		return []Explanation{{Reasons: append(refused(w.Withdrawn()), asking...)}}
	}
	var all []Explanation
	for i := range pods {
		e := ofPod(w, &pods[i])
		if !e.Captured {
			e.Reasons = append(e.Reasons, asking...)
		}
		if !e.Captured && len(e.Reasons) == 0 {
			e.Reasons = outdated(w, &pods[i])
		}
		all = append(all, e)
	}
	return all
}

// Bare explains a pod that no workload owns.
func Bare(p *corev1.Pod, s Surroundings) Explanation {
	w := bare(p)
	e := ofPod(w, p)
	if !e.Captured {
		e.Reasons = append(e.Reasons, asks(w, s)...)
	}
	if !e.Captured && len(e.Reasons) == 0 {
		e.Reasons = []Reason{{"it had not asked for a sidecar, or the operator was away, when it was made", "make the pod anew: a pod gets its sidecar when it is made, or never"}}
	}
	return e
}

// bare is a pod as the workload that it is by itself.
func bare(p *corev1.Pod) *workload.Workload {
	return &workload.Workload{
		Ref: workload.Ref{Kind: "Pod", Namespace: p.Namespace, Name: p.Name}, Annotations: p.Annotations,
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: p.Labels}},
	}
}

// ofPod is what the pod itself says.
func ofPod(w *workload.Workload, p *corev1.Pod) Explanation {
	e := Explanation{Pod: p.Name, Captured: inject.Injected(p)}
	if p.Labels[annotation.ReplayID] != "" {
		e.Replay = p.Labels[annotation.ReplayID]
		for _, text := range []string{p.Annotations[annotation.Replay], w.Template.Annotations[annotation.Replay]} {
			if r, err := stamp.ParseReplay(text); err == nil && r.ID == p.Labels[annotation.ReplayID] {
				e.Replay = r.Name
				break
			}
		}
	}
	if e.Captured {
		if why := sidecarStuck(p); why != "" {
			e.Sidecar = &Reason{why, fmt.Sprintf("kubectl -n %s logs %s -c %s --previous, and kubectl describe pod, say more", p.Namespace, p.Name, inject.Goproxy)}
		}
		return e
	}
	e.Reasons = refused(p.Annotations[annotation.Refused], w.Withdrawn())
	return e
}

// refused are reasons that the operator wrote down, each once.
func refused(texts ...string) (reasons []Reason) {
	for _, text := range texts {
		if text != "" && !slices.ContainsFunc(reasons, func(r Reason) bool { return r.Text == text }) {
			reasons = append(reasons, Reason{text, "once what is in the way is gone, or the annotations are others, speedctl inject has it tried again"})
		}
	}
	return reasons
}

// asks is what keeps a workload from getting sidecars at all.
func asks(w *workload.Workload, s Surroundings) (reasons []Reason) {
	add := func(hint, format string, args ...any) {
		reasons = append(reasons, Reason{fmt.Sprintf(format, args...), hint})
	}
	name := fmt.Sprintf("%s/%s -n %s", strings.ToLower(w.Kind), w.Name, w.Namespace)
	settings, err := annotation.Parse(w.Annotations)
	switch {
	case err != nil:
		add("speedctl inject "+name+" refuses what is wrong before it changes anything", "%v", err)
	case w.Elsewhere != nil:
		add("", "%s", w.Elsewhere.Reason())
	case settings.Ignore:
		add("take the annotation away", "its annotation %s keeps the operator from it", annotation.Ignore)
	case !settings.Inject && w.Kind == "Pod":
		add("give its manifest the annotation, and make the pod anew", "it has no annotation %s: \"true\"", annotation.Inject)
	case !settings.Inject:
		add("speedctl inject "+name, "it does not ask for a sidecar: it has no annotation %s: \"true\"", annotation.Inject)
	}
	if inject.Reserved(w.Namespace) {
		add("", "in namespace %q, which the cluster needs to run, nothing is ever captured", w.Namespace)
		return reasons
	}
	return slices.Concat(reasons, s.Lasting(), s.Passing())
}

// outdated is why a pod has no sidecar although its workload asks for one, and the
// operator would give it one.
func outdated(w *workload.Workload, p *corev1.Pod) []Reason {
	name := fmt.Sprintf("%s/%s -n %s", strings.ToLower(w.Kind), w.Name, w.Namespace)
	restart, status := "kubectl rollout restart "+name, "kubectl rollout status "+name
	if w.Kind == workload.ArgoRollout { // its plugin takes names without the kind
		of := fmt.Sprintf("%s -n %s", w.Name, w.Namespace)
		restart, status = "kubectl argo rollouts restart "+of, "kubectl argo rollouts status "+of
	}
	wanted, has := w.Template.Annotations[annotation.Stamp], p.Annotations[annotation.Stamp]
	switch {
	case wanted == "" && w.Annotations[annotation.ManagedBy] != "":
		return []Reason{{fmt.Sprintf("by its annotation %s it is left to the operator %q, which has not stamped its template", annotation.ManagedBy, w.Annotations[annotation.ManagedBy]), "take the annotation away, or see that this operator runs"}}
	case wanted == "":
		return []Reason{{"the operator was away when the workload was annotated, and has not stamped its template yet", "speedctl inject " + name + " has it look again"}}
	case has != "":
		return []Reason{{"it is of a stamped template: the operator was away when the pod was made", restart}}
	case w.Held != "":
		return []Reason{{"the pod is older than the annotation, and not replaced: " + w.Held, "delete the pod when it suits you"}}
	}
	return []Reason{{"the pod is older than the annotation: the rollout is not there yet", status}}
}

// Subject is what is asked about: a workload with its pods, or a pod without one.
type Subject struct {
	Workload     *workload.Workload
	Pods         []corev1.Pod
	Surroundings Surroundings
	// Events are those about the pods.
	Events []corev1.Event
	// Warnings are those of the workload.
	Warnings []Reason
}

// Explain returns the explanations.
func (s Subject) Explain() []Explanation {
	var all []Explanation
	if s.Workload == nil {
		all = []Explanation{Bare(&s.Pods[0], s.Surroundings)}
	} else {
		all = Why(s.Workload, s.Pods, s.Surroundings)
	}
	for i := range all {
		if all[i].Captured {
			all[i].Quiet = quietIn(s.Events, s.Pods, all[i].Pod)
			all[i].Warnings = s.Warnings
		} else {
			all[i].Unknown = s.Surroundings.Unknown.Reasons()
		}
	}
	return all
}

// LookAt reads what Explain needs about a workload.
func LookAt(ctx context.Context, c kubernetes.Interface, operatorNamespace string, r workload.Ref) (Subject, error) {
	w, err := workload.Get(ctx, c, r)
	if err != nil {
		return Subject{}, err
	}
	pods, err := workload.Pods(ctx, c, w)
	if err != nil {
		return Subject{}, err
	}
	s, err := Surround(ctx, c, operatorNamespace, r.Namespace)
	return Subject{w, pods, s, quietEvents(ctx, c, r.Namespace), warnings(ctx, c, w)}, err
}

// warnings are those of a workload's sidecars, though they run.
func warnings(ctx context.Context, c kubernetes.Interface, w *workload.Workload) (reasons []Reason) {
	s, err := annotation.Parse(w.Annotations)
	if err != nil {
		return nil // which asks says
	}
	texts, err := workload.Warnings(ctx, c, w, s)
	if err != nil {
		texts = append(texts, err.Error()) // such as that they may not be read
	}
	for _, text := range texts {
		reasons = append(reasons, Reason{Text: text})
	}
	return reasons
}

// LookAtPod reads what Explain needs about a pod, and the workload that it is of.
func LookAtPod(ctx context.Context, c kubernetes.Interface, operatorNamespace, namespace, name string) (Subject, error) {
	p, err := c.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return Subject{}, fmt.Errorf("pod %s/%s: %w", namespace, name, err)
	}
	subject := Subject{Pods: []corev1.Pod{*p}, Events: quietEvents(ctx, c, namespace)}
	if subject.Surroundings, err = Surround(ctx, c, operatorNamespace, namespace); err != nil {
		return subject, err
	}
	owner, err := ownerOf(ctx, c, p)
	if err != nil || owner == nil {
		subject.Warnings = warnings(ctx, c, bare(p))
		return subject, err
	}
	subject.Workload, err = workload.Get(ctx, c, *owner)
	if err == nil && subject.Workload.Elsewhere != nil && subject.Workload.Elsewhere.Kind == workload.Deployment {
		owner.Kind, owner.Name = workload.Deployment, subject.Workload.Elsewhere.Name // which is annotated in its place
		subject.Workload, err = workload.Get(ctx, c, *owner)
	}
	if err == nil {
		subject.Warnings = warnings(ctx, c, subject.Workload)
	}
	return subject, err
}

// ownerOf is the workload whose template a pod is of, nil where it has none.
func ownerOf(ctx context.Context, c kubernetes.Interface, p *corev1.Pod) (*workload.Ref, error) {
	owner := metav1.GetControllerOf(p)
	if owner == nil {
		return nil, nil
	}
	r := &workload.Ref{Kind: owner.Kind, Namespace: p.Namespace, Name: owner.Name}
	var above metav1.Object
	var err error
	switch owner.Kind {
	case "ReplicaSet":
		above, err = object(c.AppsV1().ReplicaSets(p.Namespace).Get(ctx, owner.Name, metav1.GetOptions{}))
	case workload.Job:
		above, err = object(c.BatchV1().Jobs(p.Namespace).Get(ctx, owner.Name, metav1.GetOptions{}))
	default:
		return r, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s %q, which owns pod %q: %w", strings.ToLower(owner.Kind), owner.Name, p.Name, err)
	}
	if over := metav1.GetControllerOf(above); over != nil {
		r.Kind, r.Name = over.Kind, over.Name
	}
	return r, nil
}

func object[T metav1.Object](o T, err error) (metav1.Object, error) { return o, err }
