package workload

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"

	"github.com/speedscale/speedscale/cluster/argo"
)

// Manifests copies YAML or JSON documents, and has change decide on new annotations
// for each workload in them, those in lists too. Other documents are copied byte by
// byte. It returns how many workloads there were; its error names the document.
func Manifests(in io.Reader, out io.Writer, change func(*Workload) (map[string]*string, error)) (n int, err error) {
	documents := utilyaml.NewYAMLReader(bufio.NewReader(in))
	for i := 1; ; i++ {
		text, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err == nil {
			var found int
			text, found, err = document(text, change)
			n += found
		}
		if err != nil {
			return n, fmt.Errorf("document %d: %w", i, err)
		}
		if len(bytes.TrimSpace(text)) == 0 {
			continue
		}
		if _, err := fmt.Fprintf(out, "---\n%s\n", bytes.TrimSpace(bytes.TrimPrefix(text, []byte("---\n")))); err != nil {
			return n, err
		}
	}
}

// document returns it as it is where no workload is in it.
func document(text []byte, change func(*Workload) (map[string]*string, error)) ([]byte, int, error) {
	var u unstructured.Unstructured
	if err := yaml.Unmarshal(text, &u.Object); err != nil {
		return nil, 0, err
	}
	if u.Object == nil {
		return text, 0, nil
	}
	n, err := object(u.Object, change)
	if n == 0 || err != nil {
		return text, n, err
	}
	text, err = yaml.Marshal(u.Object)
	return text, n, err
}

func object(o map[string]any, change func(*Workload) (map[string]*string, error)) (n int, err error) {
	u := unstructured.Unstructured{Object: o}
	if items, ok := o["items"].([]any); ok {
		for _, item := range items {
			if m, ok := item.(map[string]any); ok {
				found, err := object(m, change)
				if n += found; err != nil {
					return n, err
				}
			}
		}
		return n, nil
	}
	w, err := fromManifest(u)
	if w == nil || err != nil {
		return 0, err
	}
	changes, err := change(w)
	if err != nil {
		return 1, err
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
	return 1, nil
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

func decode[T appsv1.Deployment | appsv1.StatefulSet | appsv1.DaemonSet | batchv1.CronJob | batchv1.Job](u unstructured.Unstructured, from func(*T) *Workload) (*Workload, error) {
	object := new(T)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, object); err != nil {
		return nil, fmt.Errorf("%s %q: %w", u.GetKind(), u.GetName(), err)
	}
	return from(object), nil
}
