package jsondoc

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/speedscale/speedscale/traffic/jsonscan"
)

// Paths are places in documents, in the form of Diff's paths:
// items[0].sku, ['unit price'].net. The zero value is none.
type Paths struct {
	exact    []string
	contains []string
}

// ParsePaths reads what a person wrote. Text that begins with $ is a JSON path
// (RFC 9535: names, indexes and the wildcards [*] and .*) and means that place
// and all below it. Other text means every path that contains it, as the
// documented "ignore" does.
func ParsePaths(texts []string) (Paths, error) {
	var p Paths
	for _, text := range texts {
		switch {
		case text == "":
		case text[0] != '$':
			p.contains = append(p.contains, text)
		default:
			if _, err := jsonscan.ParsePath(text); err != nil {
				return Paths{}, fmt.Errorf("ignored place: %w", err)
			}
			p.exact = append(p.exact, normalPath(text))
		}
	}
	return p, nil
}

// normalPath brings a JSON path into the form that Diff writes.
func normalPath(text string) string {
	text = strings.TrimPrefix(strings.TrimPrefix(text, "$"), ".")
	var out []byte
	for i := 0; i < len(text); {
		if text[i] != '[' || i+1 == len(text) || text[i+1] != '\'' && text[i+1] != '"' {
			out = append(out, text[i])
			i++
			continue
		}
		end := i + 2 + strings.Index(text[i+2:], text[i+1:i+2]+"]")
		out = appendName(out, []byte(text[i+2:end]))
		i = end + 2
	}
	return string(out)
}

// Empty says whether there is no place in it.
func (p Paths) Empty() bool { return len(p.exact) == 0 && len(p.contains) == 0 }

// Match says whether a path is one of the places or below one.
func (p Paths) Match(path string) bool {
	for _, part := range p.contains {
		if strings.Contains(path, part) {
			return true
		}
	}
	for _, pattern := range p.exact {
		if matchPath(pattern, path) {
			return true
		}
	}
	return false
}

// matchPath says whether path is at or below pattern, in which [*] stands for
// any index and a name * for any name.
func matchPath(pattern, path string) bool {
	for pattern != "" {
		switch {
		case path == "":
			return false
		case strings.HasPrefix(pattern, "[*]") && path[0] == '[':
			end := strings.IndexByte(path, ']')
			if end < 0 {
				return false
			}
			pattern, path = pattern[3:], path[end+1:]
		case pattern[0] == '*' && path[0] != '[' && path[0] != '.':
			pattern, path = pattern[1:], path[nameEnd(path):]
		case pattern[0] == path[0]:
			pattern, path = pattern[1:], path[1:]
		default:
			return false
		}
	}
	return path == "" || path[0] == '.' || path[0] == '['
}

func nameEnd(path string) int {
	if i := strings.IndexAny(path, ".["); i >= 0 {
		return i
	}
	return len(path)
}

// AnyIndex replaces every index of a path by [*].
func AnyIndex(path string) string {
	if !strings.Contains(path, "[") {
		return path
	}
	var out []byte
	for i := 0; i < len(path); i++ {
		out = append(out, path[i])
		if path[i] != '[' || i+1 == len(path) || path[i+1] < '0' || path[i+1] > '9' {
			continue
		}
		for i+1 < len(path) && path[i+1] != ']' {
			i++
		}
		out = append(out, '*')
	}
	return string(out)
}

func appendIndex(path []byte, i int) []byte {
	path = append(path, '[')
	path = strconv.AppendInt(path, int64(i), 10)
	return append(path, ']')
}

// appendName appends a member's name; one that would read as several is quoted.
func appendName(path, name []byte) []byte {
	if len(name) == 0 || bytes.ContainsAny(name, ".[]'*") {
		path = append(path, "['"...)
		path = append(path, name...)
		return append(path, "']"...)
	}
	if len(path) > 0 {
		path = append(path, '.')
	}
	return append(path, name...)
}
