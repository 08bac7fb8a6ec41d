package transform

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// layouts that auto knows beside epoch and epoch_ms.
func layouts() []string {
	return []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999", time.DateOnly, time.RFC1123, time.RFC1123Z}
}

// newDate shifts a date. Without an offset it is shifted by the time that lies between
// the recording and now, a multiple of precision.
func newDate(o *options) step {
	layout, offset := o.text("layout", "auto"), o.text("offset", "")
	shift, err := days(offset)
	if err != nil {
		o.fail("offset", err.Error())
	}
	precision, err := days(o.text("precision", "0s"))
	if err != nil || precision < 0 {
		o.fail("precision", "want a duration such as 24h")
	}
	return maker(func(c *call, value string) (string, error) {
		at, write, ok := parseDate(layout, value)
		if !ok {
			return "", failure("not_a_date")
		}
		by := shift
		if offset == "" && c.at > 0 {
			by = c.set.env.Now().Sub(time.Unix(0, c.at))
		}
		if precision > 0 {
			by = by.Truncate(precision)
		}
		return write(at.Add(by)), nil
	})
}

// days reads a duration that may be in days.
func days(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	if n, ok := strings.CutSuffix(text, "d"); ok {
		if f, err := strconv.ParseFloat(n, 64); err == nil && -36500 <= f && f <= 36500 {
			return time.Duration(f * 24 * float64(time.Hour)), nil
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("%q: want a duration such as 36h, -15m or 2d", text)
	}
	return d, nil
}

// parseDate reads a date, and returns what writes another one in its form.
func parseDate(layout, value string) (time.Time, func(time.Time) string, bool) {
	switch layout {
	case "epoch", "epoch_ms":
		return epoch(value, layout == "epoch_ms")
	case "auto":
		if len(value) == 10 || len(value) == 13 {
			if at, write, ok := epoch(value, len(value) == 13); ok {
				return at, write, true
			}
		}
		for _, l := range layouts() {
			if at, write, ok := written(l, value); ok {
				return at, write, true
			}
		}
		return time.Time{}, nil, false
	}
	return written(layout, value)
}

func epoch(value string, ms bool) (time.Time, func(time.Time) string, bool) {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < 0 || n > 1<<43 {
		return time.Time{}, nil, false
	}
	if ms {
		return time.UnixMilli(n), func(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }, true
	}
	return time.Unix(n, 0), func(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) }, true
}

// written reads a date of a layout. One with a fraction is written with as many digits.
func written(layout, value string) (time.Time, func(time.Time) string, bool) {
	at, err := time.Parse(layout, value)
	if err != nil {
		return time.Time{}, nil, false
	}
	if strings.Contains(layout, ".999999999") {
		digits := 0
		if i := strings.IndexByte(value, '.'); i >= 0 {
			for i++; i < len(value) && '0' <= value[i] && value[i] <= '9'; i++ {
				digits++
			}
		}
		fraction := ""
		if digits > 0 {
			fraction = "." + strings.Repeat("0", digits)
		}
		layout = strings.Replace(layout, ".999999999", fraction, 1)
	}
	return at, func(t time.Time) string { return t.In(at.Location()).Format(layout) }, true
}
