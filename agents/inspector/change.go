package inspector

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cluster/annotation"
	speedscalev1 "github.com/speedscale/speedscale/cluster/api/v1"
	"github.com/speedscale/speedscale/cluster/workload"
)

// fieldManager owns the replays that are written here.
const fieldManager = "speedscale-inspector"

// Changed is what SetInjection returns: the annotations of the workload afterwards,
// of those that it may set.
type Changed struct {
	Annotations map[string]string `json:"annotations"`
	// Held says why the pods are not replaced, "" where they are.
	Held string `json:"held,omitempty"`
}

// setInjection changes annotations about the sidecar, and nothing else of a workload.
// What the annotations then ask for must be right, and something that the operator does.
func (i *Inspector) setInjection(ctx context.Context, c *cloudv1.SetInjection) ([]byte, error) {
	if err := i.named("workload", c.GetNamespace(), c.GetName()); err != nil {
		return nil, err
	}
	if len(c.GetAnnotations()) == 0 {
		return nil, fmt.Errorf("workload %q: there are no annotations to set", c.GetName())
	}
	for _, key := range slices.Sorted(maps.Keys(c.GetAnnotations())) {
		if !strings.HasPrefix(key, annotation.Prefix) {
			return nil, fmt.Errorf("annotation %q: only those that begin with %s can be set", key, annotation.Prefix)
		}
		if key == everyAnnotation && c.GetAnnotations()[key] != "" {
			return nil, fmt.Errorf("annotation %q: all of them can be taken away, by an empty value, and not be set", key)
		}
		if why := notRemote(key); why != "" && c.GetAnnotations()[key] != "" {
			return nil, fmt.Errorf("annotation %q: not by remote control, since %s: set it by speedctl inject or kubectl annotate", key, why)
		}
	}
	ref := workload.Ref{Kind: c.GetKind(), Namespace: c.GetNamespace(), Name: c.GetName()}
	if err := ref.Replaceable(); err != nil {
		return nil, err
	}
	w, err := workload.Get(ctx, i.o.Kube, ref)
	if err != nil {
		return nil, err
	}
	changes, after := change(w.Annotations, c.GetAnnotations())
	settings, err := workload.Check(w, after)
	if err == nil {
		err = workload.Foreign(ref, settings, i.o.Instance)
	}
	if err != nil {
		return nil, err
	}
	if err := workload.Annotate(ctx, i.o.Kube, ref, changes); err != nil {
		return nil, err
	}
	maps.DeleteFunc(after, func(key, _ string) bool { return !strings.HasPrefix(key, annotation.Prefix) })
	return json.Marshal(Changed{Annotations: after, Held: w.Held})
}

// notRemote says why an annotation is for those only who have rights in the cluster, ""
// where it is not.
func notRemote(key string) string {
	switch key {
	case annotation.ExtraContainerEnvVars, annotation.TLSJavaToolOptionsValue:
		return "such variables can run code in the app, with all that it may read"
	case annotation.ProxyHost:
		return "it can lead the app's clients to another host"
	}
	return ""
}

// everyAnnotation is a key that stands for all that the workload has.
const everyAnnotation = annotation.Prefix + "*"

// change returns the changes that set makes, nil for what goes, and the annotations
// as they are then. A sidecar that was withdrawn is tried again: what was in the way may
// be gone.
func change(before, set map[string]string) (changes map[string]*string, after map[string]string) {
	changes, after = map[string]*string{}, map[string]string{}
	maps.Copy(after, before)
	if _, withdrawn := before[annotation.Refused]; withdrawn {
		changes[annotation.Refused] = nil
		delete(after, annotation.Refused)
	}
	if _, all := set[everyAnnotation]; all {
		for key := range before {
			if strings.HasPrefix(key, annotation.Prefix) {
				changes[key] = nil
				delete(after, key)
			}
		}
	}
	for key, value := range set {
		switch {
		case key == everyAnnotation:
		case value == "":
			changes[key] = nil
			delete(after, key)
		default:
			changes[key] = &value
			after[key] = value
		}
	}
	return changes, after
}

// Started is what StartReplay returns. The report has the UID as its id.
type Started struct {
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	UID       types.UID `json:"uid"`
}

// startReplay makes a TrafficReplay, whose rules the API server knows. Fields that it
// does not know are refused, not dropped. So are Secrets: together with a test config and
// a URL, which are the cloud's to choose too, they could be sent anywhere.
func (i *Inspector) startReplay(ctx context.Context, c *cloudv1.StartReplay) ([]byte, error) {
	if err := i.named("TrafficReplay", c.GetNamespace(), c.GetName()); err != nil {
		return nil, err
	}
	var spec map[string]any
	if err := json.Unmarshal(c.GetSpec(), &spec); err != nil {
		return nil, fmt.Errorf("TrafficReplay %q: spec: want a JSON object: %w", c.GetName(), err)
	}
	if spec["secretRefs"] != nil {
		return nil, fmt.Errorf("TrafficReplay %q: spec.secretRefs: not by remote control: start a replay that reads Secrets by speedctl replay or kubectl", c.GetName())
	}
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": speedscalev1.Group + "/" + speedscalev1.Version, "kind": "TrafficReplay",
		"metadata": map[string]any{"namespace": c.GetNamespace(), "name": c.GetName()},
		"spec":     spec,
	}}
	made, err := i.replays(c.GetNamespace()).Create(ctx, object, metav1.CreateOptions{
		FieldManager: fieldManager, FieldValidation: metav1.FieldValidationStrict,
	})
	if err != nil {
		return nil, fmt.Errorf("TrafficReplay %s/%s: %w", c.GetNamespace(), c.GetName(), err)
	}
	return json.Marshal(Started{made.GetNamespace(), made.GetName(), made.GetUID()})
}

// cancelReplay deletes the TrafficReplay of a name, or of its report's id.
func (i *Inspector) cancelReplay(ctx context.Context, c *cloudv1.CancelReplay) ([]byte, error) {
	if err := i.named("TrafficReplay", c.GetNamespace(), c.GetName()); err != nil {
		return nil, err
	}
	name := c.GetName()
	if uuid.Validate(name) == nil {
		var err error
		if name, err = i.replayOf(ctx, c.GetNamespace(), types.UID(name)); err != nil {
			return nil, err
		}
	}
	if err := i.replays(c.GetNamespace()).Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		return nil, fmt.Errorf("TrafficReplay %s/%s: %w", c.GetNamespace(), name, err)
	}
	return json.Marshal(Started{Namespace: c.GetNamespace(), Name: name})
}

// replayOf returns the name of the TrafficReplay whose report has that id.
func (i *Inspector) replayOf(ctx context.Context, namespace string, id types.UID) (string, error) {
	for o := (metav1.ListOptions{Limit: page}); ; {
		list, err := i.replays(namespace).List(ctx, o)
		if err != nil {
			return "", fmt.Errorf("TrafficReplays of namespace %q: %w", namespace, err)
		}
		for _, r := range list.Items {
			if r.GetUID() == id {
				return r.GetName(), nil
			}
		}
		if o.Continue = list.GetContinue(); o.Continue == "" {
			return "", fmt.Errorf("namespace %q has no TrafficReplay whose report is %q", namespace, id)
		}
	}
}

func (i *Inspector) replays(namespace string) dynamic.ResourceInterface {
	resource := schema.GroupVersionResource{Group: speedscalev1.Group, Version: speedscalev1.Version, Resource: "trafficreplays"}
	return i.o.Dynamic.Resource(resource).Namespace(namespace)
}
