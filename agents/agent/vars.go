package agent

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Vars reads settings from environment variables and gathers what is wrong with
// them, so that all of it is said at once by Err. It is for one goroutine.
type Vars struct {
	get      func(string) string
	problems []string
}

// NewVars reads by the given function, such as os.Getenv.
func NewVars(get func(string) string) *Vars { return &Vars{get: get} }

// Err is a *SettingsError that names every variable that was wrong, nil where none was.
func (v *Vars) Err() error {
	if len(v.problems) == 0 {
		return nil
	}
	return &SettingsError{Problems: v.problems}
}

// Fail notes that a variable's value is wrong, and what is wanted instead.
func (v *Vars) Fail(name, value, want string) {
	v.problems = append(v.problems, fmt.Sprintf("%s=%q: %s", name, value, want))
}

// Missing notes that a variable must be set, and why.
func (v *Vars) Missing(name, why string) {
	v.problems = append(v.problems, fmt.Sprintf("%s is not set: %s", name, why))
}

// String returns a variable without blanks around it, or def where it is empty.
func (v *Vars) String(name, def string) string {
	if s := strings.TrimSpace(v.get(name)); s != "" {
		return s
	}
	return def
}

// Choice returns a variable that is one of the given values.
func (v *Vars) Choice(name, def string, values ...string) string {
	s := v.String(name, def)
	for _, ok := range values {
		if s == ok {
			return s
		}
	}
	v.Fail(name, s, "want one of "+strings.Join(values, ", "))
	return def
}

// Int returns a number within bounds.
func (v *Vars) Int(name string, def, low, high int64) int64 {
	s := v.String(name, "")
	if s == "" {
		return def
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < low || n > high {
		v.Fail(name, s, fmt.Sprintf("want a number within %d and %d", low, high))
		return def
	}
	return n
}

// Port returns a TCP port.
func (v *Vars) Port(name string, def int) int { return int(v.Int(name, int64(def), 1, 65535)) }

// Bool returns true or false.
func (v *Vars) Bool(name string, def bool) bool {
	s := v.String(name, "")
	if s == "" {
		return def
	}
	b, err := strconv.ParseBool(s)
	if err != nil {
		v.Fail(name, s, "want true or false")
		return def
	}
	return b
}

// Duration returns a time span such as 30s, not negative.
func (v *Vars) Duration(name string, def time.Duration) time.Duration {
	s := v.String(name, "")
	if s == "" {
		return def
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		v.Fail(name, s, "want a duration such as 30s or 5m")
		return def
	}
	return d
}

// Interval returns how often something is done: 1s to 1h, or 0 for never.
func (v *Vars) Interval(name string, def time.Duration) time.Duration {
	d := v.Duration(name, def)
	if d != 0 && (d < time.Second || d > time.Hour) {
		v.Fail(name, d.String(), "want 1s to 1h, or 0 for never")
		return def
	}
	return d
}

// Bytes returns a size: a number of bytes, or one with Ki, Mi or Gi.
func (v *Vars) Bytes(name string, def, low, high int64) int64 {
	s := v.String(name, "")
	if s == "" {
		return def
	}
	digits, unit := s, int64(1)
	for suffix, u := range map[string]int64{"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30} {
		if d, ok := strings.CutSuffix(s, suffix); ok {
			digits, unit = d, u
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > high/unit || n*unit < low {
		v.Fail(name, s, fmt.Sprintf("want a size within %d and %d bytes, such as 64Mi", low, high))
		return def
	}
	return n * unit
}

// Address returns host:port.
func (v *Vars) Address(name, def string) string {
	s := v.String(name, def)
	if s == "" {
		return ""
	}
	if _, port, err := net.SplitHostPort(s); err != nil || port == "" {
		v.Fail(name, s, "want host:port")
		return def
	}
	return s
}

// Roots returns the certificates of a PEM file, nil where the variable is empty.
func (v *Vars) Roots(name string) *x509.CertPool {
	file := v.String(name, "")
	if file == "" {
		return nil
	}
	pool := x509.NewCertPool()
	if pem, err := os.ReadFile(file); err != nil {
		v.Fail(name, file, err.Error())
	} else if !pool.AppendCertsFromPEM(pem) {
		v.Fail(name, file, "want certificates in PEM form")
	}
	return pool
}

// TrustHint adds to an error what makes a cloud trusted, where its certificate is of an
// unknown CA.
func TrustHint(err error) error {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); !ok {
		return err
	}
	return fmt.Errorf("%w: if the cloud's CA is a private one, SPEEDSCALE_APP_CA names a PEM file with it, which the operator's chart has as appCA", err)
}

// List returns the values between commas, without blanks around them.
func (v *Vars) List(name string) []string {
	var out []string
	for s := range strings.SplitSeq(v.String(name, ""), ",") {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// Pairs returns key=value settings between commas.
func (v *Vars) Pairs(name string) map[string]string {
	out := map[string]string{}
	for _, s := range v.List(name) {
		k, val, ok := strings.Cut(s, "=")
		if !ok || k == "" {
			v.Fail(name, s, "want key=value")
			continue
		}
		out[k] = val
	}
	return out
}

// Prefixes returns the ranges of IP addresses between commas, each once: 10.0.0.0/8, an
// address for itself alone, or "*" for all of both families.
func (v *Vars) Prefixes(name string) (found []netip.Prefix) {
	for _, value := range v.List(name) {
		all := []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}
		if value != "*" {
			p, err := prefix(value)
			if err != nil {
				v.Fail(name, value, `want IP addresses, ranges such as 10.0.0.0/8, or "*", with commas between them`)
				continue
			}
			all = []netip.Prefix{p}
		}
		for _, p := range all {
			if !slices.Contains(found, p) {
				found = append(found, p)
			}
		}
	}
	return found
}

func prefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		a = a.Unmap().WithZone("")
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err == nil && p.Addr().Is4In6() {
		return p, errors.New("an IPv4 range in IPv6 form")
	}
	return p.Masked(), err
}
