package replay

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/speedscale/speedscale/speedctl/tui/style"
	"github.com/speedscale/speedscale/traffic/report"
)

// maxListed is how many differences stand above the two responses.
const maxListed = 4

// failing is the failure that is shown.
func (m *Model) failing() *failure {
	if list := m.shown().failures; m.pair < len(list) {
		return &list[m.pair]
	}
	return nil
}

// pairRows is how many rows of the two responses there is room for.
func (m *Model) pairRows() int { return max(m.bodyRows()-len(m.pairHead()), 1) }

func (m *Model) viewPair() []string {
	f := m.failing()
	if f == nil {
		return []string{"no such pair"}
	}
	lines := m.pairHead()
	rows := m.theme.SideBySide(m.rows(), m.width)
	from := min(m.scroll, len(rows))
	to := min(from+m.pairRows(), len(rows))
	if more := len(rows) - to; more > 0 {
		last := &lines[len(lines)-1]
		*last = style.Ends(*last, m.theme.Faint.Render("  ↓ "+plural(int64(more), "line", "lines")), m.width)
	}
	return append(lines, rows[from:to]...)
}

// pairHead says which pair it is, and what differs.
func (m *Model) pairHead() []string {
	f := m.failing()
	if f == nil {
		return nil
	}
	at := ""
	if !f.At.IsZero() {
		at = "sent at " + f.At.In(m.now.Location()).Format("15:04:05")
	}
	lines := []string{
		m.theme.Rule(fmt.Sprintf("Failing pair %d of %d", m.pair+1, len(m.shown().failures)), m.width),
		style.Ends(m.theme.Title.Render(style.Clean(f.Method+" "+f.URL)), "  "+at, m.width),
	}
	if f.Error != "" {
		lines = append(lines, m.theme.Bad.Render("✗ ")+style.Cut(style.Clean(f.Error), m.width-2))
	}
	for i, d := range f.Differences {
		if i == maxListed-1 && len(f.Differences) > maxListed {
			lines = append(lines, m.theme.Faint.Render(fmt.Sprintf("  … and %d more", len(f.Differences)-i)))
			break
		}
		lines = append(lines, m.theme.Bad.Render("≠ ")+style.Cut(difference(d), m.width-2))
	}
	left := (m.width - 3) / 2
	return append(lines, m.theme.Head.Render(style.Fit("Recorded", left))+" "+m.theme.Faint.Render("│")+" "+m.theme.Head.Render("Observed"))
}

// rows are the two responses side by side. Where they differ and it does not count, by
// the test config or by noise that was found, it is marked so.
func (m *Model) rows() []style.Row {
	f := m.failing()
	if f == nil {
		return nil
	}
	left, leftPlaces := document(f.Recorded, "nothing is recorded")
	right, rightPlaces := document(f.Observed, "there was no response")
	rows := style.Compare(left, right)
	if f.Observed == nil || f.Recorded == nil {
		return style.WrapRows(rows, m.width)
	}
	l, r := 0, 0
	for i := range rows {
		inLeft, inRight := rows[i].Mark != style.Added, rows[i].Mark != style.Removed
		matters := inLeft && counts(f.Failure, leftPlaces[l]) || inRight && counts(f.Failure, rightPlaces[r])
		if rows[i].Mark != style.Same && !matters {
			rows[i].Mark = style.Ignored
		}
		if inLeft {
			l++
		}
		if inRight {
			r++
		}
	}
	return style.WrapRows(rows, m.width)
}

// counts says that a failure's differences have a place, or one in it.
func counts(f report.Failure, place string) bool {
	for _, d := range f.Differences {
		loc := strings.TrimPrefix(d.Location, "http.res.")
		if strings.EqualFold(loc, place) || inside(loc, place) || inside(place, loc) {
			return true
		}
	}
	return false
}

// inside says that a place is a part of another one.
func inside(place, outer string) bool {
	rest, ok := strings.CutPrefix(place, outer)
	return ok && outer != "" && (strings.HasPrefix(rest, ".") || strings.HasPrefix(rest, "["))
}

// document is a response as lines, and the place of each, as differences name it.
func document(msg *report.Message, none string) (lines, places []string) {
	if msg == nil {
		return []string{none}, []string{""}
	}
	add := func(line, place string) { lines, places = append(lines, line), append(places, place) }
	add("status "+strconv.Itoa(msg.Status), "statusCode")
	for _, h := range msg.Headers {
		name, _, _ := strings.Cut(h, ":")
		add(style.Clean(h), "headers."+name)
	}
	add("", "")
	body := style.Lines(msg.Body)
	lines = append(lines, body...)
	places = append(places, bodyPlaces(body)...)
	if msg.Cut {
		add("… and more, which is not kept", "body")
	}
	return lines, places
}

// bodyPlaces are the places of the lines of indented JSON; those of another text are all
// the body.
func bodyPlaces(lines []string) []string {
	type level struct {
		place string
		index int // of the next element, -1 in an object
	}
	var open []level
	places := make([]string, len(lines))
	for i, text := range lines {
		text = strings.TrimSuffix(strings.TrimSpace(text), ",")
		place := "body"
		if text == "}" || text == "]" {
			if len(open) > 0 {
				place = open[len(open)-1].place
				open = open[:len(open)-1]
			}
			places[i] = place
			continue
		}
		if len(open) > 0 {
			in := &open[len(open)-1]
			place = in.place
			if in.index >= 0 {
				place += "[" + strconv.Itoa(in.index) + "]"
				in.index++
			} else if name, err := strconv.QuotedPrefix(text); err == nil {
				text = strings.TrimSpace(strings.TrimPrefix(text[len(name):], ":"))
				place += member(name)
			}
		}
		places[i] = place
		switch text {
		case "{":
			open = append(open, level{place, -1})
		case "[":
			open = append(open, level{place, 0})
		}
	}
	return places
}

// member is a name in a path, as package jsondoc writes it.
func member(quoted string) string {
	name, err := strconv.Unquote(quoted)
	if err != nil {
		name = strings.Trim(quoted, `"`)
	}
	if name == "" || strings.ContainsAny(name, ".[]'*") {
		return "['" + name + "']"
	}
	return "." + name
}
