package printer_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/speedscale/speedscale/speedctl/printer"
)

type object struct {
	Spec struct {
		Mode string `json:"mode"`
		Size int    `json:"size"`
	} `json:"spec"`
}

func list(t *testing.T) printer.List {
	t.Helper()
	l := printer.List{Rows: [][]string{{"NAME", "AGE", "PAIRS IN"}, {"b", "2d3h", "9"}, {"a", "90s", "100"}, {"c", "5m", "-"}}, Names: []string{"b", "a", "c"}}
	objects := make([]object, 3)
	objects[0].Spec.Mode, objects[1].Spec.Mode, objects[2].Spec.Mode = "y", "z", "x"
	objects[0].Spec.Size, objects[1].Spec.Size, objects[2].Spec.Size = 10, 9, 100
	l.Objects = objects
	return l
}

func TestSort(t *testing.T) {
	for by, want := range map[string]string{
		"name": "abc", "AGE": "acb", "pairs-in": "cba", ".spec.mode": "cba", "{.spec.size}": "abc", "{.spec.none}": "bac",
	} {
		l := list(t)
		if err := l.Sort(by); err != nil {
			t.Errorf("%s: %v", by, err)
			continue
		}
		got := ""
		for i, row := range l.Rows[1:] {
			got += row[0]
			if l.Names[i] != row[0] {
				t.Errorf("%s: names are %v beside %v", by, l.Names, l.Rows)
			}
		}
		if got != want {
			t.Errorf("by %s: %s, want %s", by, got, want)
		}
	}
	for _, by := range []string{"nam", ".spec["} {
		if err := list(t).Sort(by); err == nil || !strings.Contains(err.Error(), "--sort-by") {
			t.Errorf("%s: %v", by, err)
		}
	}
	if err := list(t).Sort("size"); !strings.Contains(err.Error(), "name, age, pairs in") {
		t.Error(err)
	}
}

func TestNews(t *testing.T) {
	before, now := list(t), list(t)
	now.Rows[1][1] = "2d4h" // time passed
	now.Rows[2][2] = "101"
	now.Rows = append(now.Rows, []string{"d", "1s", "0"})
	now.Names = append(now.Names, "d")
	news := now.News(before)
	if len(news.Rows) != 3 || news.Rows[1][0] != "a" || news.Rows[2][0] != "d" || !slices.Equal(news.Names, []string{"a", "d"}) {
		t.Errorf("%v %v", news.Rows, news.Names)
	}
	if news := now.News(now); len(news.Rows) != 1 {
		t.Errorf("%v", news.Rows)
	}
}
