package annotation

import (
	"errors"
	"net/netip"
	"path"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

func anything(string) error { return nil }

func oneOf(values ...string) func(string) error {
	return func(v string) error {
		for _, ok := range values {
			if v == ok {
				return nil
			}
		}
		return errors.New("want one of " + strings.Join(values, ", "))
	}
}

func objectName(v string) error {
	if len(validation.IsDNS1123Subdomain(v)) > 0 {
		return errors.New("want the name of an object in the workload's namespace")
	}
	return nil
}

// keyOrPath is a key of a Secret or, as far as one value can say, an absolute path.
func keyOrPath(v string) error {
	if strings.HasPrefix(v, "/") {
		if v != path.Clean(v) || v == "/" {
			return errors.New("want an absolute path of a file, without . or .. as parts")
		}
		return nil
	}
	if len(validation.IsConfigMapKey(v)) > 0 {
		return errors.New("want a key of the Secret, or the absolute path of a file")
	}
	return nil
}

func hostOrAddress(v string) error {
	if _, err := netip.ParseAddr(v); err == nil {
		return nil
	}
	_, err := host(v)
	return err
}

func host(v string) ([]string, error) {
	v = strings.ToLower(v)
	_, err := netip.ParseAddr(v)
	if err == nil || len(validation.IsDNS1123Subdomain(v)) > 0 {
		return nil, errors.New("want the name of a host, without a port")
	}
	return []string{v}, nil
}

func itself(v string) string { return v }

func portOf(v string) ([]uint16, error) {
	n, err := strconv.ParseUint(v, 10, 16)
	if err != nil || n == 0 {
		return nil, errors.New("want a port within 1 and 65535")
	}
	return []uint16{uint16(n)}, nil
}

func number(port uint16) string { return strconv.Itoa(int(port)) }

// prefixes reads an address, a range of them, or "*" for all.
func prefixes(v string) ([]netip.Prefix, error) {
	if v == "*" {
		return []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}, nil
	}
	if a, err := netip.ParseAddr(v); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return []netip.Prefix{netip.PrefixFrom(a, a.BitLen())}, nil
	}
	p, err := netip.ParsePrefix(v)
	if err != nil || p.Addr().Is4In6() {
		return nil, errors.New(`want an IP address, a range such as 10.0.0.0/8, or "*"`)
	}
	return []netip.Prefix{p.Masked()}, nil
}

// caSource reads KIND/NAME[/KEY].
func caSource(v string) ([]CASource, error) {
	parts := strings.Split(v, "/")
	if len(parts) == 2 {
		parts = append(parts, DefaultCAKey)
	}
	if len(parts) != 3 || parts[0] != KindConfigMap && parts[0] != KindSecret ||
		objectName(parts[1]) != nil || len(validation.IsConfigMapKey(parts[2])) > 0 {
		return nil, errors.New("want configmap/NAME or secret/NAME, with /KEY behind it where that is not " + DefaultCAKey)
	}
	return []CASource{{parts[0], parts[1], parts[2]}}, nil
}

// String returns the source as it is written in the annotation.
func (c CASource) String() string { return c.Kind + "/" + c.Name + "/" + c.Key }
