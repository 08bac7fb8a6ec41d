package transform

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp/syntax"
	"strings"
)

// maxFile bounds a secret and any other file that is read, in bytes.
const maxFile = 1 << 20

// template is a text with places that are filled in:
//
//	${{NAME}}               a variable; as it stands while there is none of the name
//	${{secret:NAME/KEY}}    a file of the secrets
//	${{env_var:NAME}}       a variable of the environment
//	${{file:PATH}}          a file
//	${{rand_string:"RE"}}   a text that a regular expression matches, each time another
type template []piece

type piece struct {
	literal  string
	variable string
	random   *syntax.Regexp
}

const open, closing = "${{", "}}"

func parseTemplate(text string, env *Environment) (template, error) {
	var t template
	for {
		before, rest, found := strings.Cut(text, open)
		if before != "" {
			t = append(t, piece{literal: before})
		}
		if !found {
			return t, nil
		}
		inside, after, found := strings.Cut(rest, closing)
		if !found {
			return nil, fmt.Errorf("%s without %s", open, closing)
		}
		p, err := parsePiece(strings.TrimSpace(inside), env)
		if err != nil {
			return nil, err
		}
		t = append(t, p)
		text = after
	}
}

func parsePiece(inside string, env *Environment) (p piece, err error) {
	kind, arg, found := strings.Cut(inside, ":")
	if !found {
		if !isName(inside) {
			return p, fmt.Errorf("%q in %s%s is no name of a variable", inside, open, closing)
		}
		return piece{variable: inside}, nil
	}
	switch kind {
	case "secret":
		b, err := readSecret(arg, env)
		return piece{literal: strings.TrimRight(string(b), "\r\n")}, err
	case "file":
		b, err := readFile(arg, env)
		return piece{literal: strings.TrimRight(string(b), "\r\n")}, err
	case "env_var":
		if env == nil {
			return p, nil
		}
		value, ok := env.Getenv(arg)
		if !ok {
			return p, fmt.Errorf("the environment has no variable %q", arg)
		}
		return piece{literal: value}, nil
	case "rand_string":
		p.random, err = parsePattern(strings.Trim(arg, `"`))
		return p, err
	}
	return p, fmt.Errorf("%q is not supported in %s%s: use a variable, or one of secret:, env_var:, file: and rand_string: with what they are about", kind, open, closing)
}

// readSecret reads name/key. Its errors never have what is in it.
func readSecret(path string, env *Environment) ([]byte, error) {
	name, key, ok := strings.Cut(path, "/")
	if !ok || name == "" || key == "" || !filepath.IsLocal(name) || !filepath.IsLocal(key) || strings.Contains(key, "/") {
		return nil, fmt.Errorf("secret %q: want NAME/KEY", path)
	}
	if env == nil {
		return nil, nil
	}
	b, err := bounded(filepath.Join(env.Secrets, name, key))
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("secret %q is not at %s: name it in secretRefs of the TrafficReplay", path, env.Secrets)
	case err != nil:
		return nil, fmt.Errorf("secret %q: %w", path, err)
	}
	return b, nil
}

func readFile(path string, env *Environment) ([]byte, error) {
	if path == "" || strings.Contains(path, "://") || strings.HasPrefix(path, "dataframe:") {
		return nil, fmt.Errorf("file %q: want the path of a file", path)
	}
	if env == nil {
		return nil, nil
	}
	return bounded(path)
}

func bounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = fmt.Errorf("%s is longer than %d bytes", path, maxFile)
	}
	return b, err
}

// fill writes the text.
func (t template) fill(v *Vars) string {
	if len(t) == 1 && t[0].variable == "" && t[0].random == nil {
		return t[0].literal
	}
	var b strings.Builder
	for _, p := range t {
		switch {
		case p.variable != "":
			if value, ok := v.load(p.variable); ok {
				b.WriteString(value)
			} else {
				b.WriteString(open + p.variable + closing)
			}
		case p.random != nil:
			b.WriteString(generate(p.random))
		default:
			b.WriteString(p.literal)
		}
	}
	return b.String()
}
