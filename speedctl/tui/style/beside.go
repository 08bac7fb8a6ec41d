package style

import (
	"bytes"
	"encoding/json"
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

// pair puts lines opposite one another that have nothing in common.
func pair(left, right []string) []Row {
	var rows []Row
	for i := range max(len(left), len(right)) {
		switch {
		case i >= len(left):
			rows = append(rows, Row{"", right[i], Added})
		case i >= len(right):
			rows = append(rows, Row{left[i], "", Removed})
		case left[i] == right[i]:
			rows = append(rows, Row{left[i], right[i], Same})
		default:
			rows = append(rows, Row{left[i], right[i], Changed})
		}
	}
	return rows
}

// SideBySide draws rows in a width: the sides alike wide, a mark between them, long
// lines cut.
func (t Theme) SideBySide(rows []Row, width int) []string {
	left := (width - 3) / 2
	right := width - 3 - left
	lines := make([]string, len(rows))
	for i, r := range rows {
		l, rt, mark := Fit(r.Left, left), Fit(r.Right, right), string(r.Mark)
		switch r.Mark {
		case Same:
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
