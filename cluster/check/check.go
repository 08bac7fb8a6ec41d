// Package check says what is wrong with an installation, or in the way of one, and
// why a pod is captured or not. What it says is made from fetched objects by pure
// functions.
//
// Checks come in categories, both with ids that stay: scripts and the documentation
// refer to them. docs/troubleshooting.md has a section for each.
package check

import "fmt"

// Status is the outcome of a check.
type Status string

// The outcomes.
const (
	OK      Status = "ok"
	Warning Status = "warning" // something may not be what its owner wants
	Failed  Status = "failed"
	Skipped Status = "skipped" // it could not be looked at, or an earlier failure is why
)

// Docs is where each check is explained, at the anchor that is its id.
const Docs = "https://github.com/speedscale/speedscale/blob/main/docs/troubleshooting.md"

// Result is what one check found. A check of many things, such as workloads, has a
// result for each that is not as it should be, with its Subject.
type Result struct {
	// ID is the check's, and Title what should be so.
	ID    string `json:"id"`
	Title string `json:"title"`
	// Subject is the object that it is about, where there are several.
	Subject string `json:"subject,omitempty"`
	Status  Status `json:"result"`
	// Text says what was found, and Hint what can be done.
	Text string `json:"message,omitempty"`
	Hint string `json:"hint,omitempty"`
	// Doc is the address of more about a result that is a warning or a failure.
	Doc string `json:"doc,omitempty"`
}

// Category has the results of checks that belong together.
type Category struct {
	ID      string   `json:"id"`
	Title   string   `json:"title"`
	Results []Result `json:"checks"`
}

// Report is the outcome of all checks, in the order in which they build on each other.
type Report struct {
	// Success says that nothing failed. There may be warnings.
	Success    bool       `json:"success"`
	Categories []Category `json:"categories"`
}

// Count returns how many results have a status.
func (r Report) Count(s Status) (n int) {
	for _, c := range r.Categories {
		for _, result := range c.Results {
			if result.Status == s {
				n++
			}
		}
	}
	return n
}

// All returns the results of all categories.
func (r Report) All() (all []Result) {
	for _, c := range r.Categories {
		all = append(all, c.Results...)
	}
	return all
}

// Before says whether speedscale can be installed.
func Before(f *Facts) Report { return judge(f, before()) }

// After says whether an installation works, and what of it does not.
func After(f *Facts) Report { return judge(f, after()) }

// judge makes the checks. Where the API server does not answer, nothing else is known.
func judge(f *Facts, groups []group) Report {
	if f.VersionError != nil {
		first := groups[0]
		first.checks = first.checks[:1]
		groups = []group{first}
	}
	report := Report{Categories: []Category{}}
	for _, g := range groups {
		c := Category{ID: g.id, Title: g.title, Results: []Result{}}
		for _, one := range g.checks {
			for _, r := range one.judge(f) {
				r.ID, r.Title = one.id, one.title
				if r.Status == Warning || r.Status == Failed {
					r.Doc = Docs + "#" + one.id
				}
				c.Results = append(c.Results, r)
			}
		}
		report.Categories = append(report.Categories, c)
	}
	report.Success = report.Count(Failed) == 0
	return report
}

func ok(format string, args ...any) Result {
	return Result{Status: OK, Text: fmt.Sprintf(format, args...)}
}

func fail(hint, format string, args ...any) Result {
	return Result{Status: Failed, Text: fmt.Sprintf(format, args...), Hint: hint}
}

func warn(hint, format string, args ...any) Result {
	return Result{Status: Warning, Text: fmt.Sprintf(format, args...), Hint: hint}
}

func skip(format string, args ...any) Result {
	return Result{Status: Skipped, Text: fmt.Sprintf(format, args...)}
}

// of is the result about one of several objects.
func (r Result) of(subject string) Result {
	r.Subject = subject
	return r
}

// one is a judge that has a single result.
func one(judge func(*Facts) Result) func(*Facts) []Result {
	return func(f *Facts) []Result { return []Result{judge(f)} }
}

// each are the results about objects that are not as they should be or, where there are
// none, the one that says that all is well.
func each(bad []Result, well Result) []Result {
	if len(bad) == 0 {
		return []Result{well}
	}
	return shorten(bad)
}

// maxNamed bounds the objects that are named for one check.
const maxNamed = 10

// shorten leaves out what is too much to read: the last result counts it.
func shorten(results []Result) []Result {
	if len(results) <= maxNamed {
		return results
	}
	rest := Result{Status: results[maxNamed].Status, Text: fmt.Sprintf("%d more are like these", len(results)-maxNamed)}
	for _, r := range results[maxNamed:] {
		if r.Status == Failed {
			rest.Status = Failed
		}
	}
	return append(results[:maxNamed:maxNamed], rest.of("more"))
}
