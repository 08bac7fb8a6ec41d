// Package printer writes data to standard output in the form that -o asks for.
package printer

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"sigs.k8s.io/yaml"
)

// Format is the value of a -o flag. It implements pflag.Value.
type Format string

// The formats. A command offers those that make sense for it.
const (
	Table Format = "table"
	Wide  Format = "wide"
	JSON  Format = "json"
	YAML  Format = "yaml"
	Name  Format = "name"
	// JSONL is a stream, an object a line.
	JSONL Format = "jsonl"
)

// Flag is a Format with the formats that are allowed.
type Flag struct {
	Format  Format
	allowed []Format
}

// NewFlag returns a flag whose default is the first of the allowed formats.
func NewFlag(allowed ...Format) *Flag { return &Flag{Format: allowed[0], allowed: allowed} }

// String returns the format.
func (f *Flag) String() string { return string(f.Format) }

// Set takes one of the allowed formats.
func (f *Flag) Set(s string) error {
	if !slices.Contains(f.allowed, Format(s)) {
		return fmt.Errorf("want %s", strings.ReplaceAll(f.Type(), "|", ", "))
	}
	f.Format = Format(s)
	return nil
}

// Type lists the allowed formats.
func (f *Flag) Type() string { return strings.Join(f.Allowed(), "|") }

// Allowed are the formats that Set takes.
func (f *Flag) Allowed() []string {
	names := make([]string, len(f.allowed))
	for i, a := range f.allowed {
		names[i] = string(a)
	}
	return names
}

// Encode writes v as JSON or YAML. It reports false for other formats.
func (f *Flag) Encode(w io.Writer, v any) (bool, error) {
	switch f.Format {
	case JSON:
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return true, enc.Encode(v)
	case YAML:
		b, err := yaml.Marshal(v)
		if err != nil {
			return true, err
		}
		_, err = w.Write(b)
		return true, err
	}
	return false, nil
}

// Rows writes a table; the first row is its head. Cells are separated by
// spaces, as kubectl does.
func Rows(w io.Writer, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	for _, r := range rows {
		fmt.Fprintln(t, strings.Join(r, "\t"))
	}
	return t.Flush()
}
