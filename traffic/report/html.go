package report

import (
	"cmp"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"slices"
	"strconv"
	"time"
)

//go:embed report.html
var page string

// WriteHTML writes one page that needs nothing else: styles and drawings are in
// it, and no script. All text from the traffic is escaped.
func (r *Report) WriteHTML(w io.Writer) error {
	t, err := template.New("report").Funcs(template.FuncMap{
		"ms": number, "status": strconv.Itoa, "mib": mebibytes,
		"time":    func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
		"percent": func(f float64) string { return number(math.Floor(f*100)/100) + " %" },
	}).Parse(page)
	if err != nil {
		return fmt.Errorf("report page: %w", err)
	}
	return t.Execute(w, view{
		Report: r, Elapsed: r.Finished.Sub(r.Started).Round(time.Millisecond).String(),
		Distribution: r.distributionChart(), Timeline: r.timelineChart(),
		Usages: r.usageViews(),
		Latencies: []row{
			{"from the planned time", r.Latency.Planned}, {"from the send", r.Latency.Sent}, {"recorded", r.Latency.Recorded},
		},
	})
}

// view is what the page is made from.
type view struct {
	*Report
	Elapsed                string
	Latencies              []row
	Distribution, Timeline *chart
	Usages                 []usageView
}

// usageView is a container's usage with its CPU over time.
type usageView struct {
	Usage
	Chart *chart
}

func (r *Report) usageViews() []usageView {
	var views []usageView
	for _, u := range r.Usage {
		s := u.Samples
		var c *chart
		if len(s) > 1 {
			most := slices.MaxFunc(s, func(a, b UsageSample) int { return cmp.Compare(a.CPU, b.CPU) }).CPU
			end := s[len(s)-1].Time.Sub(s[0].Time).Round(time.Second).String()
			c = newChart(len(s), most, "0 s", end, func(i int) (int64, int64, string) {
				return s[i].CPU, 0, fmt.Sprintf("at %s: %d millicores, %s MiB", s[i].Time.Sub(s[0].Time).Round(time.Second), s[i].CPU, mebibytes(s[i].Memory))
			})
		}
		views = append(views, usageView{u, c})
	}
	return views
}

type row struct {
	Name string
	Summary
}

// Passed says whether the page is green.
func (v view) Passed() bool { return v.Status == Passed }

// chart is a bar chart in units of the drawing.
type chart struct {
	Width, Height int
	Bars          []bar
	// Left, Right and Top label the axes.
	Left, Right, Top string
}

type bar struct {
	X, Y, W, H float64
	// Bad is the height of the part that failed, from below.
	Bad, BadY float64
	Title     string
}

const (
	chartWidth  = 640
	chartHeight = 140
)

func newChart(n int, most int64, left, right string, at func(i int) (count, bad int64, title string)) *chart {
	if n == 0 || most == 0 {
		return nil
	}
	c := &chart{Width: chartWidth, Height: chartHeight, Left: left, Right: right, Top: fmt.Sprint(most)}
	step := float64(chartWidth) / float64(n)
	for i := range n {
		count, bad, title := at(i)
		h := chartHeight * float64(count) / float64(most)
		badH := chartHeight * float64(bad) / float64(most)
		c.Bars = append(c.Bars, bar{
			X: tenth(float64(i) * step), W: tenth(max(step-1, 0.5)), H: tenth(h), Y: tenth(chartHeight - h),
			Bad: tenth(badH), BadY: tenth(chartHeight - badH), Title: title,
		})
	}
	return c
}

func tenth(f float64) float64 { return math.Round(f*10) / 10 }

func (r *Report) distributionChart() *chart {
	list := r.Latency.Distribution
	if len(list) == 0 {
		return nil
	}
	most := int64(0)
	for _, b := range list {
		most = max(most, b.Count)
	}
	return newChart(len(list), most, "≤ "+number(list[0].To)+" ms", "≤ "+number(list[len(list)-1].To)+" ms", func(i int) (int64, int64, string) {
		return list[i].Count, 0, fmt.Sprintf("up to %s ms: %d", number(list[i].To), list[i].Count)
	})
}

func (r *Report) timelineChart() *chart {
	t := r.Throughput
	most := int64(0)
	for _, tick := range t.Timeline {
		most = max(most, tick.Requests)
	}
	end := number(t.Interval*float64(len(t.Timeline))) + " s"
	return newChart(len(t.Timeline), most, "0 s", end, func(i int) (int64, int64, string) {
		tick := t.Timeline[i]
		return tick.Requests, tick.Failed, fmt.Sprintf("at %s s: %d requests, %d failed", number(t.Interval*float64(i)), tick.Requests, tick.Failed)
	})
}
