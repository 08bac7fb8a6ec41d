package printer

import (
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"time"

	"k8s.io/client-go/util/jsonpath"
)

// List is a list in every form: its objects for JSON and YAML, and a row and a name of
// each. Rows begin with a head.
type List struct {
	// Objects is a slice, with an object for each row where sorting by JSONPath is
	// wanted.
	Objects any
	Rows    [][]string
	Names   []string
}

// Write writes the list in the form that -o asks for.
func (l List) Write(w io.Writer, f *Flag) error {
	if done, err := f.Encode(w, l.Objects); done {
		return err
	}
	if f.Format != Name {
		return Rows(w, l.Rows)
	}
	for _, name := range l.Names {
		if _, err := fmt.Fprintln(w, name); err != nil {
			return err
		}
	}
	return nil
}

// Sort sorts by a column, such as name or "last seen", or by a JSONPath of the objects,
// such as .spec.mode. Numbers and ages are sorted by what they say; what is equal stays
// in its order.
func (l List) Sort(by string) error {
	keys, err := l.keys(by)
	if err != nil {
		return err
	}
	s := sorted{keys: keys, swaps: []func(int, int){reflect.Swapper(l.Rows[1:])}}
	for _, slice := range []any{l.Objects, l.Names} {
		if v := reflect.ValueOf(slice); v.Kind() == reflect.Slice && v.Len() == len(keys) {
			s.swaps = append(s.swaps, reflect.Swapper(slice))
		}
	}
	sort.Stable(s)
	return nil
}

func (l List) keys(by string) ([]string, error) {
	keys := make([]string, len(l.Rows)-1)
	for column, head := range l.Rows[0] {
		if !strings.EqualFold(head, strings.ReplaceAll(by, "-", " ")) {
			continue
		}
		for i, row := range l.Rows[1:] {
			keys[i] = row[column]
		}
		return keys, nil
	}
	objects := reflect.ValueOf(l.Objects)
	if !strings.ContainsAny(by, ".{") || objects.Len() != len(keys) {
		return nil, fmt.Errorf("--sort-by %q: want a column (%s) or a JSONPath", by, strings.ToLower(strings.Join(l.Rows[0], ", ")))
	}
	path := jsonpath.New("sort-by").AllowMissingKeys(true)
	if err := path.Parse("{" + strings.Trim(by, "{}") + "}"); err != nil {
		return nil, fmt.Errorf("--sort-by %q: %w", by, err)
	}
	for i := range keys {
		object, err := plain(objects.Index(i).Interface())
		if err != nil {
			return nil, err
		}
		var text strings.Builder
		if err := path.Execute(&text, object); err != nil {
			return nil, fmt.Errorf("--sort-by %q: %w", by, err)
		}
		keys[i] = text.String()
	}
	return keys, nil
}

// plain is an object as its JSON has it.
func plain(object any) (v any, err error) {
	text, err := json.Marshal(object)
	if err == nil {
		err = json.Unmarshal(text, &v)
	}
	return v, err
}

type sorted struct {
	keys  []string
	swaps []func(i, j int)
}

func (s sorted) Len() int { return len(s.keys) }

func (s sorted) Swap(i, j int) {
	s.keys[i], s.keys[j] = s.keys[j], s.keys[i]
	for _, swap := range s.swaps {
		swap(i, j)
	}
}

func (s sorted) Less(i, j int) bool {
	a, b := s.keys[i], s.keys[j]
	if x, err := strconv.ParseFloat(a, 64); err == nil {
		if y, err := strconv.ParseFloat(b, 64); err == nil {
			return x < y
		}
	}
	if x, ok := age(a); ok {
		if y, ok := age(b); ok {
			return x < y
		}
	}
	return a < b
}

// age reads what duration.HumanDuration writes, such as 2d3h or 90s ago.
func age(text string) (total time.Duration, ok bool) {
	text = strings.TrimSuffix(text, " ago")
	if !regexp.MustCompile(`^(\d+[ydhms])+$`).MatchString(text) {
		return 0, false
	}
	units := map[byte]time.Duration{'y': 365 * 24 * time.Hour, 'd': 24 * time.Hour, 'h': time.Hour, 'm': time.Minute, 's': time.Second}
	for _, part := range regexp.MustCompile(`\d+[ydhms]`).FindAllString(text, -1) {
		n, err := strconv.Atoi(part[:len(part)-1])
		if err != nil {
			return 0, false
		}
		total += time.Duration(n) * units[part[len(part)-1]]
	}
	return total, true
}

// News returns a list of what is new or different in l since before. That time passed is
// no difference.
func (l List) News(before List) List {
	seen := map[string]bool{}
	for _, row := range before.Rows {
		seen[said(before.Rows[0], row)] = true
	}
	news := List{Rows: l.Rows[:1]}
	for i, row := range l.Rows[1:] {
		if seen[said(l.Rows[0], row)] {
			continue
		}
		news.Rows = append(news.Rows[:len(news.Rows):len(news.Rows)], row)
		if i < len(l.Names) {
			news.Names = append(news.Names, l.Names[i])
		}
	}
	return news
}

// said is a row without how long ago things were.
func said(head, row []string) string {
	var kept []string
	for i, cell := range row {
		if i < len(head) && (head[i] == "AGE" || head[i] == "HEARD" || head[i] == "LAST SEEN") {
			continue
		}
		kept = append(kept, cell)
	}
	return strings.Join(kept, "\t")
}
