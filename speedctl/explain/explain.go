// Package explain says what may stand in annotations, TrafficReplays and test configs,
// from what reads them: the annotations' own table, the TrafficReplay's schema and the
// test config's form.
package explain

import (
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/speedscale/speedscale/charts"
	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/traffic/testconfig"
)

// Field is an annotation, or a member of an object.
type Field struct {
	Name string `json:"name"`
	// Type is that of JSON or, of an annotation, what values it has.
	Type     string   `json:"type"`
	Default  string   `json:"default,omitempty"`
	Values   []string `json:"values,omitempty"`
	Required bool     `json:"required,omitempty"`
	// Modes are the proxy types with which an annotation has an effect, where it does
	// not have one with all.
	Modes []string `json:"modes,omitempty"`
	About string   `json:"about,omitempty"`
	// Fields are the members of an object, or of each object of a list.
	Fields []Field `json:"fields,omitempty"`
}

// Names of what is explained.
const (
	annotations   = "annotations"
	trafficReplay = "trafficreplay"
	testConfig    = "testconfig"
)

// Topics are all that is explained.
func Topics() ([]Field, error) {
	replay, err := replayField()
	if err != nil {
		return nil, err
	}
	return []Field{annotationsField(), replay, testConfigField()}, nil
}

// Find returns what a path names: a topic, a field below one (trafficreplay.spec.mode),
// or an annotation by its key or the last part of it (tls-out).
func Find(path string) (Field, error) {
	topics, err := Topics()
	if err != nil {
		return Field{}, err
	}
	if f, ok := annotationOf(topics[0], strings.TrimPrefix(strings.TrimPrefix(path, annotations+"."), "annotation.")); ok {
		return f, nil
	}
	steps := strings.Split(path, ".")
	at := Field{Fields: topics}
	for i, step := range steps {
		if i == 0 {
			step = topicOf(step)
		}
		next, ok := at.field(step)
		if !ok {
			return Field{}, &NotFoundError{Path: path, Parent: strings.Join(steps[:i], "."), Step: step, There: at.names()}
		}
		at = next
	}
	return at, nil
}

// NotFoundError names the part of a path that is not there, and what is.
type NotFoundError struct {
	Path, Parent, Step string
	There              []string
}

// Error names the part.
func (e *NotFoundError) Error() string {
	if e.Parent == "" {
		return fmt.Sprintf("nothing is called %q", e.Path)
	}
	return fmt.Sprintf("%q has no field %q", e.Parent, e.Step)
}

// topicOf is the topic that is meant by another name of it.
func topicOf(name string) string {
	switch name = strings.ToLower(name); name {
	case "annotation":
		return annotations
	case "trafficreplays", "replay", "replays":
		return trafficReplay
	case "testconfigs", "test-config", "test-configs":
		return testConfig
	}
	return name
}

func annotationOf(all Field, name string) (Field, bool) {
	if f, ok := all.field(name); ok {
		return f, true
	}
	return all.field(annotation.Prefix + name)
}

func (f Field) field(name string) (Field, bool) {
	i := slices.IndexFunc(f.Fields, func(f Field) bool { return strings.EqualFold(f.Name, name) })
	if i < 0 {
		return Field{}, false
	}
	return f.Fields[i], true
}

func (f Field) names() (names []string) {
	for _, sub := range f.Fields {
		names = append(names, sub.Name)
	}
	return names
}

func annotationsField() Field {
	all := Field{Name: annotations, Type: "annotations of a workload", About: "What the owner of a workload asks of the sidecar in its pods. Unknown annotations, and those without an effect, are refused."}
	modes := 0
	for _, e := range annotation.Explanations() {
		f := Field{Name: e.Key, Type: e.Wants, Default: e.Default, Modes: e.Modes, About: e.About}
		modes = max(modes, len(e.Modes))
		all.Fields = append(all.Fields, f)
	}
	for i := range all.Fields {
		if len(all.Fields[i].Modes) == modes {
			all.Fields[i].Modes = nil
		}
	}
	return all
}

func testConfigField() Field {
	return Field{
		Name: testConfig, Type: "object", About: "How a replay is run: the load, what of responses must hold, the goals, and how the responder answers.",
		Fields: ofTestConfig(testconfig.Fields()),
	}
}

func ofTestConfig(list []testconfig.Field) (fields []Field) {
	for _, f := range list {
		fields = append(fields, Field{Name: f.Name, Type: f.Type, Values: f.Values, Required: f.Required, About: f.About, Fields: ofTestConfig(f.Fields)})
	}
	return fields
}

// crdFile is the definition of TrafficReplay, which is generated from its Go types.
const crdFile = "speedscale-operator/templates/crds/speedscale.com_trafficreplays.yaml"

// schema is what is read of an OpenAPI v3 schema.
type schema struct {
	Type        string            `json:"type"`
	Description string            `json:"description"`
	Default     any               `json:"default"`
	Enum        []any             `json:"enum"`
	Required    []string          `json:"required"`
	Properties  map[string]schema `json:"properties"`
	Items       *schema           `json:"items"`
}

func replayField() (Field, error) {
	text, err := fs.ReadFile(charts.Files(), crdFile)
	if err != nil {
		return Field{}, err
	}
	var crd struct {
		Spec struct {
			Versions []struct {
				Schema struct {
					OpenAPIV3Schema schema `json:"openAPIV3Schema"`
				} `json:"schema"`
			} `json:"versions"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(text, &crd); err != nil {
		return Field{}, fmt.Errorf("%s: %w", crdFile, err)
	}
	if len(crd.Spec.Versions) == 0 {
		return Field{}, fmt.Errorf("%s: it has no version", crdFile)
	}
	return crd.Spec.Versions[0].Schema.OpenAPIV3Schema.field(trafficReplay, false), nil
}

func (s schema) field(name string, required bool) Field {
	f := Field{Name: name, Type: s.Type, Required: required, About: strings.Join(strings.Fields(s.Description), " ")}
	inner := s
	for inner.Items != nil {
		inner, f.Type = *inner.Items, "[]"+inner.Items.Type
	}
	switch s.Default.(type) {
	case nil, map[string]any, []any: // an object's is that of its fields
	default:
		f.Default = fmt.Sprint(s.Default)
	}
	for _, v := range inner.Enum {
		f.Values = append(f.Values, fmt.Sprint(v))
	}
	for _, member := range slices.Sorted(maps.Keys(inner.Properties)) {
		f.Fields = append(f.Fields, inner.Properties[member].field(member, slices.Contains(inner.Required, member)))
	}
	return f
}
