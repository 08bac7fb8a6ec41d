package report

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/signature"
)

// maxBody bounds a body in a report.
const maxBody = 4096

// messageOf makes a response readable. It is nil where there is none.
func messageOf(p *traffic.RRPair) *Message {
	res := p.GetHttp().GetRes()
	if res == nil {
		return nil
	}
	m := &Message{Status: int(res.StatusCode), Cut: p.ResponseCut()}
	for _, h := range res.Headers {
		if len(m.Headers) == 50 {
			m.Cut = true
			break
		}
		m.Headers = append(m.Headers, signature.Printable(h.GetName()+": "+h.GetValue()))
	}
	body := signature.Decoded(res.Headers, res.Body)
	if signature.IsGRPC(res.Headers) {
		if messages, ok := signature.AppendGRPC(nil, res.Headers, body); ok {
			body = messages
		}
	}
	if len(body) > maxBody {
		body, m.Cut = body[:maxBody], true
	}
	m.Body = readable(body)
	return m
}

// readable shows text as it is and other bytes as escapes.
func readable(body []byte) string {
	text := string(body)
	for range utf8.UTFMax - 1 { // a cut may have left a part of a character
		if r, n := utf8.DecodeLastRuneInString(text); r == utf8.RuneError && n == 1 && len(body) == maxBody {
			text = text[:len(text)-1]
		}
	}
	binary := func(r rune) bool {
		return r == utf8.RuneError || unicode.IsControl(r) && r != '\n' && r != '\r' && r != '\t'
	}
	if !strings.ContainsFunc(text, binary) {
		return text
	}
	return fmt.Sprintf("%d bytes: %q", len(body), body[:min(len(body), 256)])
}

// WriteJSON writes the report as indented JSON.
func (r *Report) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(r)
}

// Parse reads a report that WriteJSON wrote.
func Parse(data []byte) (*Report, error) {
	r := new(Report)
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	if r.Version < 1 || r.Version > Version {
		return nil, fmt.Errorf("report: version %d is not known, this program knows up to %d", r.Version, Version)
	}
	return r, nil
}

// Summary returns a report without its endpoints, failures and misses, for lists.
func (r *Report) Summary() *Report {
	s := *r
	s.Endpoints, s.Failures, s.Noise, s.Carried, s.Usage, s.ClusterEvents = nil, nil, nil, nil, nil, nil
	s.Latency.Distribution, s.Throughput.Timeline = nil, nil
	if r.Mocks != nil {
		m := *r.Mocks
		m.Misses = nil
		s.Mocks = &m
	}
	return &s
}

// The elements of JUnit XML that CI systems read.
type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Name     string       `xml:"name,attr"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Errors   int          `xml:"errors,attr"`
		Time     string       `xml:"time,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name      string      `xml:"name,attr"`
		Tests     int         `xml:"tests,attr"`
		Failures  int         `xml:"failures,attr"`
		Errors    int         `xml:"errors,attr"`
		Timestamp string      `xml:"timestamp,attr"`
		Cases     []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Name    string        `xml:"name,attr"`
		Class   string        `xml:"classname,attr"`
		Time    string        `xml:"time,attr"`
		Failure *junitProblem `xml:"failure"`
		Error   *junitProblem `xml:"error"`
	}
	junitProblem struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

func (s *junitSuite) add(c junitCase) {
	s.Tests++
	if c.Failure != nil {
		s.Failures++
	}
	if c.Error != nil {
		s.Errors++
	}
	s.Cases = append(s.Cases, c)
}

// WriteJUnit writes JUnit XML: a test case for each endpoint, each goal and,
// where there is an error, the replay itself.
func (r *Report) WriteJUnit(w io.Writer) error {
	newSuite := func(name string) junitSuite {
		return junitSuite{Name: name, Timestamp: r.Started.UTC().Format("2006-01-02T15:04:05")}
	}
	endpoints, goals, replay := newSuite("endpoints"), newSuite("goals"), newSuite("replay")
	for _, e := range r.Endpoints {
		c := junitCase{Name: strings.TrimSpace(e.Method + " " + e.Path), Class: r.Name, Time: seconds(e.Latency.Avg * float64(e.Latency.Count))}
		switch {
		case e.Failed > 0:
			c.Failure = &junitProblem{
				Message: fmt.Sprintf("%d of %d responses differ: %s", e.Failed, e.Requests, e.First),
				Text:    r.failureText(e),
			}
		case e.Errors > 0:
			c.Error = &junitProblem{Message: fmt.Sprintf("%d of %d requests got no response: %s", e.Errors, e.Requests, e.Error)}
		}
		endpoints.add(c)
	}
	for _, g := range r.Goals {
		c := junitCase{Name: "fail if " + g.Goal.String(), Class: r.Name, Time: "0"}
		if g.Status == Fail {
			c.Failure = &junitProblem{Message: fmt.Sprintf("%s is %s", g.Metric, number(g.Actual))}
		}
		goals.add(c)
	}
	if r.Status == Error || r.Status == Canceled {
		replay.add(junitCase{Name: "replay", Class: r.Name, Time: "0", Error: &junitProblem{Message: string(r.Status) + ": " + r.Error}})
	}
	all := junitSuites{Name: r.Name, Time: seconds(1000 * r.Finished.Sub(r.Started).Seconds())}
	for _, s := range []junitSuite{endpoints, goals, replay} {
		if s.Tests > 0 {
			all.Tests, all.Failures, all.Errors = all.Tests+s.Tests, all.Failures+s.Failures, all.Errors+s.Errors
			all.Suites = append(all.Suites, s)
		}
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// failureText lists the differences of an endpoint's failures.
func (r *Report) failureText(e Endpoint) string {
	var text strings.Builder
	for _, f := range r.Failures {
		if f.Method != e.Method || f.Path != e.Path {
			continue
		}
		fmt.Fprintf(&text, "%s %s\n", f.Method, f.URL)
		for _, d := range f.Differences {
			fmt.Fprintf(&text, "  %s\n", d)
		}
	}
	return text.String()
}

func seconds(ms float64) string { return fmt.Sprintf("%.3f", ms/1000) }

func number(f float64) string {
	return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.3f", f), "0"), ".")
}
