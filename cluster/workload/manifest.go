package workload

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/speedscale/speedscale/cluster/argo"
)

// Manifests copies YAML or JSON documents, and has change decide on new annotations
// for each workload in them, those in lists and pods by themselves too. Other documents
// are copied byte by byte. It returns how many workloads there were, and what of the
// others has pods that cannot have a sidecar so, with the reason; its error names the
// document.
func Manifests(in io.Reader, out io.Writer, change func(*Workload) (map[string]*string, error)) (n int, left []string, err error) {
	m := manifests{change: change}
	documents := utilyaml.NewYAMLReader(bufio.NewReader(in))
	for i := 1; ; i++ {
		text, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return m.workloads, m.left, nil
		}
		if err == nil {
			text, err = m.document(text)
		}
		if err != nil {
			return m.workloads, m.left, fmt.Errorf("document %d: %w", i, err)
		}
		if len(bytes.TrimSpace(text)) == 0 {
			continue
		}
		if _, err := fmt.Fprintf(out, "---\n%s\n", bytes.TrimSpace(bytes.TrimPrefix(text, []byte("---\n")))); err != nil {
			return m.workloads, m.left, err
		}
	}
}

// manifests changes documents one after the other.
type manifests struct {
	change    func(*Workload) (map[string]*string, error)
	workloads int
	left      []string
}

// document returns it as it is where no workload is in it.
func (m *manifests) document(text []byte) ([]byte, error) {
	var u unstructured.Unstructured
	if err := yaml.Unmarshal(text, &u.Object); err != nil {
		return nil, err
	}
	if u.Object == nil {
		return text, nil
	}
	before := m.workloads
	if err := m.object(u.Object); err != nil || m.workloads == before {
		return text, err
	}
	return yaml.Marshal(u.Object)
}

func (m *manifests) object(o map[string]any) error {
	u := unstructured.Unstructured{Object: o}
	if items, ok := o["items"].([]any); ok {
		for _, item := range items {
			if inner, ok := item.(map[string]any); ok {
				if err := m.object(inner); err != nil {
					return err
				}
			}
		}
		return nil
	}
	w, err := fromManifest(u)
	if err == nil && w == nil {
		w, err = m.barePod(u)
	}
	if w == nil || err != nil {
		return err
	}
	m.workloads++
	changes, err := m.change(w)
	if err != nil {
		return err
	}
	annotations := u.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	for key, value := range changes {
		if value == nil {
			delete(annotations, key)
		} else {
			annotations[key] = *value
		}
	}
	if len(annotations) == 0 {
		annotations = nil
	}
	u.SetAnnotations(annotations)
	return nil
}

// barePod returns nil for what is no pod by itself, and notes whatever else has pods.
func (m *manifests) barePod(u unstructured.Unstructured) (*Workload, error) {
	isPod := u.GroupVersionKind().GroupKind().String() == "Pod"
	if _, hasPods, _ := unstructured.NestedSlice(u.Object, "spec", "template", "spec", "containers"); !isPod && !hasPods {
		return nil, nil
	}
	r := Ref{u.GetKind(), u.GetNamespace(), u.GetName()}
	switch owners := u.GetOwnerReferences(); {
	case len(owners) > 0:
		m.left = append(m.left, fmt.Sprintf("%s is left as it is: it is of %s %q, and the workload at the end of its owners asks for a sidecar", r, strings.ToLower(owners[0].Kind), owners[0].Name))
	case !isPod:
		m.left = append(m.left, fmt.Sprintf("%s is left as it is: a %s by itself cannot have a sidecar, a deployment can", r, strings.ToLower(r.Kind)))
	default:
		return decode(u, fromPod)
	}
	return nil, nil
}

// fromManifest returns nil for what is no workload.
func fromManifest(u unstructured.Unstructured) (*Workload, error) {
	switch u.GroupVersionKind().GroupKind().String() {
	case "Deployment.apps":
		return decode(u, fromDeployment)
	case "StatefulSet.apps":
		return decode(u, fromStatefulSet)
	case "DaemonSet.apps":
		return decode(u, fromDaemonSet)
	case "CronJob.batch":
		return decode(u, fromCronJob)
	case "Job.batch":
		return decode(u, fromJob)
	case argo.Kind + "." + argo.Group:
		return parseRollout(&u)
	}
	return nil, nil
}

func decode[T appsv1.Deployment | appsv1.StatefulSet | appsv1.DaemonSet | batchv1.CronJob | batchv1.Job | corev1.Pod](u unstructured.Unstructured, from func(*T) *Workload) (*Workload, error) {
	object := new(T)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, object); err != nil {
		return nil, fmt.Errorf("%s %q: %w", u.GetKind(), u.GetName(), err)
	}
	return from(object), nil
}
