package transform

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/speedscale/speedscale/traffic/jsondoc"
	"github.com/speedscale/speedscale/traffic/jsonscan"
)

// step is one transform. forward leads a value on, and says how what comes of it is
// led back; back is nil where it goes back as it is.
type step interface {
	forward(c *call, value string) (next string, back func(inner string) (string, error), err error)
}

// finder is a step that finds a value in another one and makes none.
type finder func(value string) (next string, back func(inner string) (string, error), err error)

func (f finder) forward(_ *call, value string) (string, func(string) (string, error), error) {
	return f(value)
}

// maker is a step that makes a value of another one.
type maker func(c *call, value string) (string, error)

func (m maker) forward(c *call, value string) (string, func(string) (string, error), error) {
	next, err := m(c, value)
	return next, nil, err
}

func steps() map[string]func(o *options) step {
	return map[string]func(o *options) step{
		"json_path":     newJSONPath,
		"regex":         newRegex,
		"split":         newSplit,
		"trim":          newTrim,
		"replace":       newReplace,
		"constant":      newConstant,
		"one_of":        newOneOf,
		"rand_string":   newRandString,
		"date":          newDate,
		"base64":        newBase64,
		"gzip":          func(*options) step { return finder(gzipped) },
		"url_encode":    func(*options) step { return finder(urlEncoded) },
		"url_decode":    func(*options) step { return finder(urlDecoded) },
		"jwt_resign":    newJWT,
		"var_store":     newStore,
		"var_load":      newLoad,
		"smart_replace": newSmartReplace,
		"scrub":         newScrub,
	}
}

func newStep(doc Step, env *Environment) (step, error) {
	known := steps()
	make, ok := known[doc.Type]
	if !ok {
		return nil, unknown(doc.Type, known)
	}
	o := &options{doc: doc, env: env}
	s := make(o)
	return s, o.end()
}

func newJSONPath(o *options) step {
	path, err := jsonscan.ParsePath(o.needed("path"))
	if err != nil && o.err == nil {
		o.fail("path", err.Error())
	}
	return finder(func(value string) (string, func(string) (string, error), error) {
		doc := []byte(value)
		if !jsonscan.Valid(doc) {
			return "", nil, ReasonNotJSON
		}
		var leaf []byte
		if !path.Any(doc, func(v []byte) bool { leaf = v; return true }) {
			return "", nil, ReasonNoValue
		}
		from := cap(doc) - cap(leaf)
		to := from + len(leaf)
		return jsondoc.LeafText(leaf), func(inner string) (string, error) {
			if leaf[0] == '"' || !jsonscan.Valid([]byte(inner)) {
				inner = string(jsonscan.AppendString(nil, []byte(inner)))
			}
			return value[:from] + inner + value[to:], nil
		}, nil
	})
}

// number is a config value that is a whole number.
func (o *options) number(name string, def int) int {
	text := o.text(name, strconv.Itoa(def))
	n, err := strconv.Atoi(text)
	if err != nil {
		o.fail(name, fmt.Sprintf("%q: want a whole number", text))
	}
	return n
}

func newRegex(o *options) step {
	re, err := regexp.Compile(o.needed("pattern"))
	if err != nil {
		o.fail("pattern", err.Error())
		return nil
	}
	group := o.number("captureGroup", min(1, re.NumSubexp()))
	if group < 0 || group > re.NumSubexp() {
		o.fail("captureGroup", fmt.Sprintf("%d: the pattern has groups 0 to %d", group, re.NumSubexp()))
	}
	return finder(func(value string) (string, func(string) (string, error), error) {
		m := re.FindStringSubmatchIndex(value)
		if m == nil || m[2*group] < 0 {
			return "", nil, ReasonNoValue
		}
		from, to := m[2*group], m[2*group+1]
		return value[from:to], func(inner string) (string, error) { return value[:from] + inner + value[to:], nil }, nil
	})
}

func newSplit(o *options) step {
	separator, index := o.needed("separator"), o.number("index", 0)
	return finder(func(value string) (string, func(string) (string, error), error) {
		parts := strings.Split(value, separator)
		i := index
		if i < 0 {
			i += len(parts) // from the end
		}
		if i < 0 || i >= len(parts) {
			return "", nil, ReasonNoValue
		}
		return parts[i], func(inner string) (string, error) {
			parts[i] = inner
			return strings.Join(parts, separator), nil
		}, nil
	})
}

// newTrim takes white space, or a given text, off an end; it is put back.
func newTrim(o *options) step {
	kind, text := o.text("type", "both"), o.text("value", "")
	if kind != "both" && kind != "prefix" && kind != "suffix" {
		o.fail("type", fmt.Sprintf("%q: want prefix, suffix or both", kind))
	}
	return finder(func(value string) (string, func(string) (string, error), error) {
		inner, before, after := value, "", ""
		if kind != "suffix" {
			rest := strings.TrimLeft(inner, " \t\r\n")
			if text != "" {
				rest = strings.TrimPrefix(inner, text)
			}
			before, inner = inner[:len(inner)-len(rest)], rest
		}
		if kind != "prefix" {
			rest := strings.TrimRight(inner, " \t\r\n")
			if text != "" {
				rest = strings.TrimSuffix(inner, text)
			}
			inner, after = rest, inner[len(rest):]
		}
		return inner, func(inner string) (string, error) { return before + inner + after, nil }, nil
	})
}

func newReplace(o *options) step {
	from, to, count := o.template("old", ""), o.template("new", ""), o.number("count", -1)
	if o.needed("old") == "" {
		return nil
	}
	return maker(func(c *call, value string) (string, error) {
		old := from.fill(c.vars)
		if old == "" {
			return "", ReasonNoValue
		}
		return strings.Replace(value, old, to.fill(c.vars), count), nil
	})
}

func newConstant(o *options) step {
	text := o.template("new", "")
	return maker(func(c *call, _ string) (string, error) { return text.fill(c.vars), nil })
}

// newOneOf takes options that commas divide, or a JSON list of texts.
func newOneOf(o *options) step {
	text, strategy := o.needed("options"), o.text("strategy", "random")
	var list []string
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		for part := range strings.SplitSeq(text, ",") {
			list = append(list, strings.TrimSpace(part))
		}
	}
	if len(list) == 0 {
		o.fail("options", "is empty")
		return nil
	}
	if strategy != "random" && strategy != "sequential" {
		o.fail("strategy", fmt.Sprintf("%q: want sequential or random", strategy))
	}
	var templates []template
	for _, item := range list {
		t, err := parseTemplate(item, o.env)
		if err != nil {
			o.fail("options", err.Error())
		}
		templates = append(templates, t)
	}
	key := new(byte) // counts by itself in each pass
	return maker(func(c *call, _ string) (string, error) {
		i := rand.IntN(len(templates))
		if strategy == "sequential" {
			i = c.vars.count(key) % len(templates)
		}
		return templates[i].fill(c.vars), nil
	})
}

func newRandString(o *options) step {
	re, err := parsePattern(o.needed("pattern"))
	if err != nil && o.err == nil {
		o.fail("pattern", err.Error())
	}
	return maker(func(*call, string) (string, error) { return generate(re), nil })
}

func newBase64(o *options) step {
	pad := o.text("pad", "")
	if pad != "" && pad != "true" && pad != "false" {
		o.fail("pad", fmt.Sprintf("%q: want true or false", pad))
	}
	return finder(func(value string) (string, func(string) (string, error), error) {
		enc := base64.RawStdEncoding
		if strings.ContainsAny(value, "-_") {
			enc = base64.RawURLEncoding
		}
		b, err := enc.Strict().DecodeString(strings.TrimRight(value, "="))
		if err != nil {
			return "", nil, ReasonEncoding
		}
		if pad == "true" || pad == "" && strings.HasSuffix(value, "=") {
			enc = enc.WithPadding(base64.StdPadding)
		}
		return string(b), func(inner string) (string, error) { return enc.EncodeToString([]byte(inner)), nil }, nil
	})
}

func gzipped(value string) (string, func(string) (string, error), error) {
	r, err := gzip.NewReader(strings.NewReader(value))
	if err != nil {
		return "", nil, ReasonEncoding
	}
	const most = 32 << 20
	plain, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil || len(plain) > most {
		return "", nil, ReasonEncoding
	}
	return string(plain), func(inner string) (string, error) {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		if _, err := io.WriteString(w, inner); err != nil {
			return "", err
		}
		return b.String(), w.Close()
	}, nil
}

func urlDecoded(value string) (string, func(string) (string, error), error) {
	plain, err := url.QueryUnescape(value)
	if err != nil {
		return "", nil, ReasonEncoding
	}
	return plain, func(inner string) (string, error) { return url.QueryEscape(inner), nil }, nil
}

func urlEncoded(value string) (string, func(string) (string, error), error) {
	return url.QueryEscape(value), func(inner string) (string, error) {
		plain, err := url.QueryUnescape(inner)
		if err != nil {
			return "", ReasonEncoding
		}
		return plain, nil
	}, nil
}

func newStore(o *options) step {
	name := o.variable()
	return maker(func(c *call, value string) (string, error) {
		if !c.dry {
			c.vars.store(name, value)
		}
		return value, nil
	})
}

func newLoad(o *options) step {
	name := o.variable()
	return maker(func(c *call, _ string) (string, error) {
		value, ok := c.vars.load(name)
		if !ok {
			return "", failure("no_variable_" + name)
		}
		return value, nil
	})
}

func (o *options) variable() string {
	name := o.needed("name")
	if o.err == nil && !isName(name) {
		o.fail("name", fmt.Sprintf("%q: want letters, digits, - and _", name))
	}
	return name
}

// smartReplace learns that the recorded value is another one in this pass.
type smartReplace struct{ overwrite bool }

func newSmartReplace(o *options) step {
	overwrite := o.text("overwrite", "true")
	if overwrite != "true" && overwrite != "false" {
		o.fail("overwrite", fmt.Sprintf("%q: want true or false", overwrite))
	}
	return smartReplace{overwrite == "true"}
}

func (s smartReplace) forward(c *call, value string) (string, func(string) (string, error), error) {
	if !c.dry && c.recorded != "" {
		c.vars.learn(c.recorded, value, s.overwrite)
	}
	return value, nil, nil
}

// newScrub puts a text in the place of every text and number of a JSON document,
// and of anything else as a whole.
func newScrub(o *options) step {
	text, ignore := o.template("new", "SCRUBBED"), o.text("ignorePaths", "")
	var list []string
	if ignore != "" {
		list = strings.Split(ignore, ",")
	}
	paths, err := jsondoc.ParsePaths(list)
	if err != nil {
		o.fail("ignorePaths", err.Error())
	}
	return maker(func(c *call, value string) (string, error) {
		scrubbed := text.fill(c.vars)
		if !utf8.ValidString(value) || !strings.ContainsAny(value, "{[") || !jsonscan.Valid([]byte(value)) {
			return scrubbed, nil
		}
		quoted := jsonscan.AppendString(nil, []byte(scrubbed))
		var out []byte
		at := 0
		jsondoc.Leaves([]byte(value), func(path []byte, from, to int) bool {
			if k := value[from]; k != 't' && k != 'f' && k != 'n' && !paths.Match(string(path)) {
				out = append(append(out, value[at:from]...), quoted...)
				at = to
			}
			return true
		})
		return string(append(out, value[at:]...)), nil
	})
}
