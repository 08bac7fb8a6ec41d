package testconfig

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/speedscale/speedscale/traffic/compare"
)

// Field is a member of a test config's JSON form.
type Field struct {
	Name string
	// Type is string, integer, number, boolean, duration, object, or [] and one of
	// them.
	Type string
	// Values are those that it may have, where there are some only.
	Values []string
	// Required says that it cannot be left out.
	Required bool
	About    string
	// Fields are the members of an object, or of each object of a list.
	Fields []Field
}

// Fields are the members of a test config, in the order of the documentation.
func Fields() []Field { return fieldsOf(reflect.TypeFor[document](), "") }

// values are those of fields that may have some only.
func values() map[string][]string {
	return map[string][]string{
		"assertionGroups.configs.type": {compare.AssertStatusCode, compare.AssertHeaders, compare.AssertBody, compare.AssertContentType, compare.AssertCookies},
		"rules.metricName":             slices.Sorted(maps.Keys(metricNames())),
		"rules.type":                   {tooLow, tooHigh},
		"responder.responseDelay.mode": {delayNone, delayRecorded, delayMultiple, delayConstant},
	}
}

func fieldsOf(t reflect.Type, path string) (list []Field) {
	for i := range t.NumField() {
		member := t.Field(i)
		about, explained := member.Tag.Lookup("doc")
		if !explained {
			continue // a transform's own form
		}
		name, options, _ := strings.Cut(member.Tag.Get("json"), ",")
		at := strings.TrimPrefix(path+"."+name, ".")
		kind, inner := kindOf(member.Type)
		f := Field{Name: name, Type: kind, Values: values()[at], Required: options == "", About: about}
		if inner != nil {
			f.Fields = fieldsOf(inner, at)
		}
		list = append(list, f)
	}
	return list
}

// kindOf is how a type is written in JSON, and the struct whose members are there.
func kindOf(t reflect.Type) (kind string, inner reflect.Type) {
	if t == reflect.TypeFor[duration]() {
		return "duration", nil
	}
	switch t.Kind() {
	case reflect.Pointer:
		return kindOf(t.Elem())
	case reflect.Slice:
		kind, inner = kindOf(t.Elem())
		return "[]" + kind, inner
	case reflect.Struct:
		return "object", t
	case reflect.Map:
		return "object", nil
	case reflect.Int:
		return "integer", nil
	case reflect.Float64:
		return "number", nil
	case reflect.Bool:
		return "boolean", nil
	}
	return "string", nil
}
