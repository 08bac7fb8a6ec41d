package compare

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/speedscale/speedscale/traffic/jsondoc"
)

// Assertion types, as documented.
const (
	AssertStatusCode  = "httpStatusCode"
	AssertHeaders     = "httpHeaders"
	AssertBody        = "httpResponseBody"
	AssertContentType = "httpResponseContentType"
	AssertCookies     = "httpResponseCookies"
)

// Assertion is one documented assertion of a test config. Its JSON is
// {"type": …, "config": {…}}, where lists may also be texts with commas.
type Assertion struct {
	// Type is one of the Assert constants.
	Type string
	// Headers (httpHeaders) are the only header fields compared; none means all.
	Headers []string
	// Ignore (httpResponseBody) leaves out the places that it names, IncludeOnly
	// leaves out all others. Both are as Config.IgnorePaths.
	Ignore      []string
	IncludeOnly []string
	// RefuseNew (httpResponseBody, the documented allowNew turned round) makes it a
	// difference where an object has a member that was not recorded. An array that
	// is longer or shorter always differs.
	RefuseNew bool
}

// UnmarshalJSON reads the documented form.
func (a *Assertion) UnmarshalJSON(b []byte) error {
	var doc struct {
		Type   string `json:"type"`
		Config struct {
			Headers     texts `json:"headers"`
			Ignore      texts `json:"ignore"`
			IncludeOnly texts `json:"includeOnly"`
			AllowNew    *flag `json:"allowNew"`
		} `json:"config"`
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		return fmt.Errorf("assertion: %w", err)
	}
	*a = Assertion{
		Type: doc.Type, Headers: doc.Config.Headers, Ignore: doc.Config.Ignore, IncludeOnly: doc.Config.IncludeOnly,
		RefuseNew: doc.Config.AllowNew != nil && !bool(*doc.Config.AllowNew),
	}
	return a.check()
}

func (a *Assertion) check() error {
	switch a.Type {
	case AssertStatusCode, AssertHeaders, AssertBody, AssertContentType, AssertCookies:
	default:
		return fmt.Errorf("assertion type %q is not one of %s, %s, %s, %s, %s", a.Type,
			AssertStatusCode, AssertHeaders, AssertBody, AssertContentType, AssertCookies)
	}
	for _, list := range [][]string{a.Ignore, a.IncludeOnly} {
		if _, err := jsondoc.ParsePaths(list); err != nil {
			return fmt.Errorf("assertion %s: %w", a.Type, err)
		}
	}
	return nil
}

// texts is a list, or one text with commas.
type texts []string

func (t *texts) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '[' {
		return json.Unmarshal(b, (*[]string)(t))
	}
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			*t = append(*t, part)
		}
	}
	return nil
}

// flag is a boolean, in quotes or not.
type flag bool

func (f *flag) UnmarshalJSON(b []byte) error {
	return json.Unmarshal([]byte(strings.Trim(string(b), `"`)), (*bool)(f))
}

// rules are what a comparer holds responses to.
type rules struct {
	status, headers, contentType, cookies bool
	only                                  map[string]bool // header fields, in lower case; nil means all
	body                                  *bodyRules      // nil where bodies are not compared
}

type bodyRules struct {
	ignore, include jsondoc.Paths
	refuseNew       bool
}

func rulesOf(cfg Config) rules {
	if cfg.StatusOnly {
		return rules{status: true}
	}
	list := cfg.Assertions
	if len(list) == 0 {
		list = []Assertion{{Type: AssertStatusCode}, {Type: AssertHeaders}, {Type: AssertBody}, {Type: AssertContentType}, {Type: AssertCookies}}
	}
	var r rules
	for _, a := range list {
		switch a.Type {
		case AssertStatusCode:
			r.status = true
		case AssertHeaders:
			r.headers = true
			for _, name := range a.Headers {
				if r.only == nil {
					r.only = map[string]bool{}
				}
				r.only[strings.ToLower(name)] = true
			}
		case AssertBody:
			r.body = &bodyRules{refuseNew: a.RefuseNew}
			r.body.ignore, _ = jsondoc.ParsePaths(a.Ignore)
			r.body.include, _ = jsondoc.ParsePaths(a.IncludeOnly)
		case AssertContentType:
			r.contentType = true
		case AssertCookies:
			r.cookies = true
		}
	}
	return r
}
