package style

import "strings"

// sparks are the eighths of a cell.
const sparks = "▁▂▃▄▅▆▇█"

// Spark draws the last values, one in a cell, from 0 to the largest of them. A value
// below 0 is a gap.
func Spark(values []float64, width int) string {
	values = values[max(len(values)-max(width, 0), 0):]
	most := 0.0
	for _, v := range values {
		most = max(most, v)
	}
	levels := []rune(sparks)
	var b strings.Builder
	for _, v := range values {
		switch {
		case v < 0:
			b.WriteByte(' ')
		case most == 0:
			b.WriteRune(levels[0])
		default:
			b.WriteRune(levels[min(int(v/most*float64(len(levels))), len(levels)-1)])
		}
	}
	return b.String()
}

// Bar draws a share, from 0 to 1, of a width.
func (t Theme) Bar(share float64, width int) string {
	n := int(min(max(share, 0), 1) * float64(max(width, 0)))
	return strings.Repeat("█", n) + t.Faint.Render(strings.Repeat("░", max(width, 0)-n))
}
