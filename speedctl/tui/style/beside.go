package style

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// maxCompared bounds the lines of each document that are aligned: aligning takes the
// square of their number. Those beyond stand opposite one another as they come.
const maxCompared = 600

// Row is a line of two documents side by side.
type Row struct {
	// Left and Right are what stands there; Mark is one of the marks.
	Left, Right string
	Mark        Mark
}

// Mark says how the two sides of a row differ.
type Mark rune

// The marks, as they are shown between the sides.
const (
	Same    Mark = '│'
	Changed Mark = '≠'
	Removed Mark = '-'
	Added   Mark = '+'
	// Ignored is set by those who know that a difference does not count.
	Ignored Mark = '~'
)

// Lines are those of a document: JSON is indented, all else stays as it is.
func Lines(document string) []string {
	var b bytes.Buffer
	if trimmed := strings.TrimSpace(document); strings.HasPrefix(trimmed, "{") || strings.HasPrefix(trimmed, "[") {
		if json.Indent(&b, []byte(trimmed), "", "  ") == nil {
			document = b.String()
		}
	}
	if document == "" {
		return nil
	}
	lines := strings.Split(strings.TrimRight(document, "\n"), "\n")
	for i, l := range lines {
		lines[i] = Clean(strings.TrimRight(l, "\r"))
	}
	return lines
}

// Compare aligns the lines of two documents, so that equal ones stand opposite one
// another. Lines that differ in the comma at their end only are equal: one that was
// added behind them is no change of them.
func Compare(left, right []string) []Row {
	n, m := min(len(left), maxCompared), min(len(right), maxCompared)
	rows := align(left[:n], right[:m])
	return append(rows, pair(left[n:], right[m:])...)
}

func align(left, right []string) []Row {
	same := func(i, j int) bool { return strings.TrimSuffix(left[i], ",") == strings.TrimSuffix(right[j], ",") }
	// longest[i][j] is the length of the longest common subsequence of what follows.
	longest := make([][]int, len(left)+1)
	for i := range longest {
		longest[i] = make([]int, len(right)+1)
	}
	for i := len(left) - 1; i >= 0; i-- {
		for j := len(right) - 1; j >= 0; j-- {
			if same(i, j) {
				longest[i][j] = longest[i+1][j+1] + 1
			} else {
				longest[i][j] = max(longest[i+1][j], longest[i][j+1])
			}
		}
	}
	var rows []Row
	fromL, fromR, i, j := 0, 0, 0, 0
	for i < len(left) && j < len(right) {
		switch {
		case same(i, j):
			rows = append(rows, pair(left[fromL:i], right[fromR:j])...)
			rows = append(rows, Row{left[i], right[j], Same})
			i, j = i+1, j+1
			fromL, fromR = i, j
		case longest[i+1][j] >= longest[i][j+1]:
			i++
		default:
			j++
		}
	}
	return append(rows, pair(left[fromL:], right[fromR:])...)
}

// pair puts lines opposite one another that are not equal: members of JSON objects where
// they have the same name, other lines as they come.
func pair(left, right []string) (rows []Row) {
	for len(left) > 0 || len(right) > 0 {
		switch {
		case len(left) == 0 || len(right) > 0 && name(left[0]) != name(right[0]) && slices.ContainsFunc(right, named(name(left[0]))):
			rows, right = append(rows, Row{"", right[0], Added}), right[1:]
		case len(right) == 0 || name(left[0]) != name(right[0]):
			rows, left = append(rows, Row{left[0], "", Removed}), left[1:]
		default:
			mark := Changed
			if left[0] == right[0] {
				mark = Same
			}
			rows, left, right = append(rows, Row{left[0], right[0], mark}), left[1:], right[1:]
		}
	}
	return rows
}

// name is that of a member of an indented JSON object, "" where a line is none.
func name(line string) string {
	quoted, err := strconv.QuotedPrefix(strings.TrimSpace(line))
	if err != nil || !strings.HasPrefix(strings.TrimSpace(line)[len(quoted):], ":") {
		return ""
	}
	return quoted
}

func named(want string) func(string) bool {
	return func(line string) bool { return name(line) == want }
}

// WrapRows breaks the rows that differ where they are too long for a width, so that the
// difference is not what is cut off. Those that are alike stay as they are.
func WrapRows(rows []Row, width int) []Row {
	left, right := sides(width)
	var list []Row
	for _, r := range rows {
		if r.Mark == Same {
			list = append(list, r)
			continue
		}
		l, rt := Break(r.Left, left), Break(r.Right, right)
		for i := range max(len(l), len(rt)) {
			part := Row{Mark: r.Mark}
			if i < len(l) {
				part.Left = l[i]
			}
			if i < len(rt) {
				part.Right = rt[i]
			}
			list = append(list, part)
		}
	}
	return list
}

// sides are the widths of the sides, with " │ " between them.
func sides(width int) (left, right int) {
	left = max(width-3, 0) / 2
	return left, max(width-3, 0) - left
}

// SideBySide draws rows in a width: the sides alike wide, a mark between them, long
// lines cut.
func (t Theme) SideBySide(rows []Row, width int) []string {
	left, right := sides(width)
	lines := make([]string, len(rows))
	for i, r := range rows {
		l, rt, mark := Fit(r.Left, left), Fit(r.Right, right), string(r.Mark)
		switch r.Mark {
		case Same, Ignored:
			mark = t.Faint.Render(mark)
		case Changed:
			l, mark, rt = t.Bad.Render(l), t.Warn.Render(mark), t.Good.Render(rt)
		case Removed:
			l, mark = t.Bad.Render(l), t.Bad.Render(mark)
		case Added:
			rt, mark = t.Good.Render(rt), t.Good.Render(mark)
		}
		lines[i] = l + " " + mark + " " + rt
	}
	return lines
}
