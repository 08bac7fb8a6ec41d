package mask

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/speedscale/speedscale/traffic/jsonscan"
)

// Config is the rules, without the key. Its JSON has the documented names;
// patterns and opaqueTypes, and the places beyond all and http.req.body, are
// this project's own.
type Config struct {
	ID   string `json:"id"`
	Name string `json:"name,omitempty"`
	// DiscoverPatterns looks for secrets by their form.
	DiscoverPatterns bool `json:"discoverPatterns"`
	// Patterns are the categories to look for; all where it is empty.
	Patterns   []string   `json:"patterns,omitempty"`
	RedactList RedactList `json:"redactlist"`
	// OpaqueTypes are further media types (application/pdf, or application/ for
	// all of a kind) whose binary bodies are kept without being read.
	OpaqueTypes []string `json:"opaqueTypes,omitempty"`
}

// RedactList names what is masked.
type RedactList struct {
	// Entries are keys by place: all, http.req.headers, http.req.cookies,
	// http.req.queryparams, http.req.body, http.req.trailers, http.res.headers,
	// http.res.cookies, http.res.body, http.res.trailers, session or tags.
	//
	// A key is compared without regard to case, and to _ and -. A star before or
	// after it stands for any text, and one alone for everything in that place.
	// In a body, a key that starts with $ is a JSON path; in gRPC its names are
	// field numbers.
	Entries map[string][]string `json:"entries"`
}

var placeNames = map[string]place{
	"all":                  everywhere,
	"http.req.headers":     inReqHeader,
	"http.req.cookies":     inReqCookie,
	"http.req.queryparams": inReqQuery,
	"http.req.body":        inReqBody,
	"http.req.trailers":    inReqTrailer,
	"http.res.headers":     inResHeader,
	"http.res.cookies":     inResCookie,
	"http.res.body":        inResBody,
	"http.res.trailers":    inResTrailer,
	"session":              inSession,
	"tags":                 inTags,
}

// Standard returns the documented default configuration, "standard": what
// authenticates, wherever it stands, and all patterns.
func Standard() *Config {
	return &Config{
		ID: "standard", Name: "standard", DiscoverPatterns: true,
		RedactList: RedactList{Entries: map[string][]string{
			"all": {
				"*authorization", "*password*", "*passwd*", "passphrase", "pwd", "pin", "otp", "*secret*", "*token", "jwt",
				"credential", "credentials", "x-amz-credential", "x-amz-signature", "x-goog-signature", "sig",
				"*apikey*", "accesskeyid", "*accesskey", "accountkey", "*subscriptionkey", "privatekey", "*signingkey", "encryptionkey",
				"x-auth-key", "connectionstring", "authenticationinfo", "*sessionid", "session", "phpsessid", "connect.sid", "sid",
				"samlresponse", "samlrequest", "assertion", "codeverifier", "*csrf*", "*xsrf*",
				"ssn", "socialsecuritynumber", "cardnumber", "creditcard", "creditcardnumber", "cvv", "cvv2", "cvc", "iban",
			},
			"http.req.headers": {"cookie", "x-forwarded-client-cert"},
			"http.res.headers": {"set-cookie"},
			"session":          {"*"},
		}},
	}
}

// ParseSetting reads what a forwarder is told to mask: "standard", or rules in JSON.
// Where it is told nothing it returns nil.
func ParseSetting(text string) (*Config, error) {
	switch text {
	case "":
		return nil, nil
	case "standard":
		return Standard(), nil
	}
	return ParseConfig([]byte(text))
}

// ParseConfig reads the JSON form and checks the rules. Its errors name the
// member that is wrong.
func ParseConfig(data []byte) (*Config, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	cfg := &Config{}
	if err := d.Decode(cfg); err != nil {
		msg := strings.TrimPrefix(err.Error(), "json: ")
		if msg == `unknown field "transforms"` {
			msg = "transforms: not supported, name the keys in redactlist"
		}
		return nil, fmt.Errorf("masking rules: %s", msg)
	}
	if d.More() {
		return nil, fmt.Errorf("masking rules: there is more after the value, at offset %d", d.InputOffset())
	}
	if err := (&Masker{cfg: cfg}).compile(); err != nil {
		return nil, err
	}
	return cfg, nil
}

// ConfigJSON returns the rules as JSON, without the key.
func (m *Masker) ConfigJSON() []byte {
	b, err := json.Marshal(m.cfg)
	if err != nil {
		panic(err) // strings and lists always marshal
	}
	return b
}

// maxNames bounds the keys of all entries together, in bytes: with the marks at
// their ends, which are no more than they are themselves, there are as many
// states to number in 16 bits.
const maxNames = 20_000

// maxPaths is how many JSON paths a place can have.
const maxPaths = 64

// compile turns the rules into what masking reads.
func (m *Masker) compile() error {
	if m.cfg.ID == "" {
		return errors.New("masking rules: id: is empty, want a name for the rules")
	}
	var list []name
	entries := m.cfg.RedactList.Entries
	length := 0
	for _, where := range slices.Sorted(maps.Keys(entries)) {
		places, ok := placeNames[where]
		if !ok {
			return fmt.Errorf("masking rules: redactlist.entries[%q]: not a place, want one of %s", where,
				strings.Join(slices.Sorted(maps.Keys(placeNames)), ", "))
		}
		for i, key := range entries[where] {
			nm, err := m.entry(key, places)
			if err != nil {
				return fmt.Errorf("masking rules: redactlist.entries[%q][%d]: %w", where, i, err)
			}
			if nm.text != "" {
				list = append(list, nm)
			}
			m.named |= places
			if length += len(key); length > maxNames {
				return fmt.Errorf("masking rules: redactlist.entries: the keys are longer than %d bytes together", maxNames)
			}
		}
	}
	m.names = newNames(list)
	m.opaque = append([]string{"image/", "audio/", "video/", "font/"}, m.cfg.OpaqueTypes...)
	m.discover = m.cfg.DiscoverPatterns
	return m.compilePatterns()
}

// entry compiles one key; a path and a lone star leave the name empty.
func (m *Masker) entry(key string, places place) (name, error) {
	if strings.HasPrefix(key, "$") {
		return name{}, m.path(key, places)
	}
	nm := name{text: strings.ToLower(key), places: places}
	if key == "*" {
		m.all |= places
		return name{}, nil
	}
	nm.text, nm.open = strings.CutPrefix(nm.text, "*")
	nm.text, nm.left = strings.CutSuffix(nm.text, "*")
	if strings.Trim(nm.text, "_- ") == "" {
		return nm, fmt.Errorf("%q names nothing", key)
	}
	if strings.Contains(nm.text, "*") {
		return nm, fmt.Errorf("%q: a star can stand at the start and at the end only", key)
	}
	return nm, nil
}

func (m *Masker) path(key string, places place) error {
	if places&(inReqBody|inResBody) == 0 {
		return fmt.Errorf("%q: a JSON path is for a body only", key)
	}
	p, err := jsonscan.ParsePath(key)
	if err != nil {
		return err
	}
	for i, in := range [...]place{inReqBody, inResBody} {
		if places&in != 0 {
			m.paths[i] = append(m.paths[i], p)
		}
		if len(m.paths[i]) > maxPaths {
			return fmt.Errorf("%q: a body can have %d paths", key, maxPaths)
		}
	}
	return nil
}

func (m *Masker) compilePatterns() error {
	if len(m.cfg.Patterns) == 0 {
		for c := range m.patterns {
			m.patterns[c] = true
		}
		return nil
	}
	for i, p := range m.cfg.Patterns {
		c := slices.Index(categories[:], strings.TrimPrefix(strings.ToUpper(p), "DATA_PATTERN_"))
		if c <= 0 {
			return fmt.Errorf("masking rules: patterns[%d]: %q is not a pattern, want one of %s", i, p,
				strings.Join(categories[1:], ", "))
		}
		m.patterns[c] = true
	}
	return nil
}
