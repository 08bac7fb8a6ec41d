package filter

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/speedscale/speedscale/traffic/jsonscan"
)

// key says what of a pair a rule is about.
type key uint8

const (
	keyCluster key = iota
	keyCommand
	keyDirection
	keyHeader
	keyHost
	keyL7Protocol
	keyLocation
	keyNamespace
	keyNetworkAddr
	keyReqBodyHash
	keyReqJSON
	keyReqXML
	keyRespJSON
	keySample
	keyService
	keySession
	keySource
	keyStatus
	keyTag
	keyTech
	keyText
	keyTimeRange
	keyURL
	keyUUID
	keyCount
)

// keys describes each key: its name in a query, the criterion in JSON, what
// stands in its brackets, whether IS ignores case, and whether the head of a
// request decides it.
var keys = [keyCount]struct {
	name, json, param string
	fold, head        bool
}{
	keyCluster:     {name: "cluster", json: "cluster", head: true},
	keyCommand:     {name: "command", json: "detectedCommand", head: true},
	keyDirection:   {name: "direction", json: "direction", fold: true, head: true},
	keyHeader:      {name: "header", json: "header", param: "the name of a header", head: true},
	keyHost:        {name: "host", json: "host", fold: true, head: true},
	keyL7Protocol:  {name: "l7protocol", json: "l7protocol", fold: true, head: true},
	keyLocation:    {name: "location", json: "detectedLocation", head: true},
	keyNamespace:   {name: "namespace", json: "namespace", head: true},
	keyNetworkAddr: {name: "networkaddr", json: "network_address", head: true},
	keyReqBodyHash: {name: "req_body_hash", json: "requestBodyHash", fold: true},
	keyReqJSON:     {name: "req_json", json: "reqFilter", param: "a JSON path"},
	keyReqXML:      {name: "req_xml", json: "reqFilter", param: "a path of elements"},
	keyRespJSON:    {name: "resp_json", json: "respFilter", param: "a JSON path"},
	keySample:      {name: "sample", json: "sample"},
	keyService:     {name: "service", json: "service", head: true},
	keySession:     {name: "session", json: "session"},
	keySource:      {name: "source", json: "source", head: true},
	keyStatus:      {name: "status", json: "detectedStatus"},
	keyTag:         {name: "tag", json: "tag", param: "the name of a tag"},
	keyTech:        {name: "tech", json: "tech", fold: true},
	keyText:        {name: "text", json: "text"},
	keyTimeRange:   {name: "timerange", json: "timeRange", head: true},
	keyURL:         {name: "url", json: "optUrl", head: true},
	keyUUID:        {name: "uuid", json: "uuid"},
}

// refused are documented keys that mean nothing here, with what to do instead.
var refused = map[string]string{
	"snapshot":      "a pair does not know its snapshot: name the snapshot that is searched instead",
	"req_xpath":     "XPath is not supported: use req_xml[/path/of/elements]",
	"req_soapxpath": "XPath is not supported: use req_xml[/Envelope/Body/element], whose names are compared without prefix",
	"snapshotId":    "a pair does not know its snapshot: name the snapshot that is searched instead",
	"httpReqXPath":  `XPath is not supported: use reqFilter with type "REQ_FILTER_TYPE_XML"`,
	"httpReqSoapXPath": `XPath is not supported: use reqFilter with type "REQ_FILTER_TYPE_XML", ` +
		"whose names are compared without prefix",
}

type operator uint8

const (
	opIs operator = iota
	opContains
	opRegex
)

// rule is one comparison, compiled.
type rule struct {
	key    key
	op     operator
	negate bool
	param  string
	value  string
	bytes  []byte         // value
	re     *regexp.Regexp // for opRegex
	path   jsonscan.Path  // for a JSON path
	steps  []string       // for a path of elements
	uuid   []byte         // for keyUUID with opIs
	from   int64          // for keyTimeRange, in Unix nanoseconds;
	to     int64          // 0 is open
	rate   rate           // for keySample
}

// compile checks what was written and makes it quick to match. The value is the
// text of the rule; until is the second one of a time range.
func compile(r rule, until string) (rule, error) {
	r.bytes = []byte(r.value)
	var err error
	switch r.key {
	case keyTimeRange:
		return compileTimeRange(r, until)
	case keySample:
		r.rate, err = parseRate(r.value)
		if err == nil && r.param != "" && r.param != "rrpair" {
			err = fmt.Errorf("sample[%s]: want sample or sample[rrpair]", r.param)
		}
		return r, err
	case keyReqJSON, keyRespJSON:
		r.path, err = jsonscan.ParsePath(r.param)
	case keyReqXML:
		r.steps, err = parseElements(r.param)
	case keyDirection:
		if r.op == opIs && !strings.EqualFold(r.value, "IN") && !strings.EqualFold(r.value, "OUT") {
			err = fmt.Errorf("direction %q: want IN or OUT", r.value)
		}
	case keyUUID:
		if r.op == opIs {
			r.uuid, err = parseUUID(r.value)
		}
	}
	if err == nil && r.op == opRegex {
		r.re, err = regexp.Compile(r.value)
	}
	return r, err
}

func compileTimeRange(r rule, until string) (rule, error) {
	var err error
	if r.from, err = parseTime(r.value); err != nil {
		return r, err
	}
	if r.to, err = parseTime(until); err != nil {
		return r, err
	}
	if r.to != 0 && r.to < r.from {
		return r, fmt.Errorf("the time range ends (%s) before it starts (%s)", until, r.value)
	}
	return r, nil
}

func parseTime(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.Year() < 1970 || t.Year() > 2261 {
		return 0, fmt.Errorf("time %q: want RFC 3339 from 1970 to 2261, like 2026-01-31T15:04:05Z", s)
	}
	return max(t.UnixNano(), 1), nil // 0 stands for an open end
}

func formatTime(ns int64) string {
	if ns == 0 {
		return ""
	}
	return time.Unix(0, ns).UTC().Format(time.RFC3339Nano)
}

// parseUUID reads the forms that a uuid is written in: base64 of its 16 bytes,
// as in the JSON of a pair, and hex with or without hyphens.
func parseUUID(s string) ([]byte, error) {
	if b, err := base64.StdEncoding.DecodeString(s); err == nil && len(b) == 16 {
		return b, nil
	}
	if b, err := hex.DecodeString(strings.ReplaceAll(s, "-", "")); err == nil && len(b) == 16 {
		return b, nil
	}
	return nil, fmt.Errorf("uuid %q: want 16 bytes in base64 or hex", s)
}

// rate is a sample of n in m.
type rate struct{ n, m uint32 }

func parseRate(s string) (rate, error) {
	num, den, ok := strings.Cut(s, "/")
	n, err := strconv.ParseUint(num, 10, 32)
	m, err2 := strconv.ParseUint(den, 10, 32)
	if !ok || err != nil || err2 != nil || m == 0 || n > m {
		return rate{}, fmt.Errorf("sample %q: want a share like 1/5", s)
	}
	return rate{uint32(n), uint32(m)}, nil
}

func parseElements(s string) ([]string, error) {
	steps := strings.Split(strings.TrimPrefix(s, "/"), "/")
	for _, step := range steps {
		if step == "" || strings.ContainsAny(step, "@[]():*|=") {
			return nil, fmt.Errorf("path %q: want names of elements from the root, like /order/item", s)
		}
	}
	return slices.Clip(steps), nil
}
