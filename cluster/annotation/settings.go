package annotation

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/speedscale/speedscale/agents/config"
)

// setting is an annotation: how its value is read, and how it is written so that
// values which mean the same are the same.
type setting struct {
	key string
	set func(*Sidecar, string) error
	get func(*Sidecar) string
}

// settings returns all annotations that owners may write.
func settings() []setting {
	return []setting{
		boolean(Inject, func(s *Sidecar) *bool { return &s.Inject }),
		boolean(Ignore, func(s *Sidecar) *bool { return &s.Ignore }),
		text(ManagedBy, func(s *Sidecar) *string { return &s.ManagedBy }, anything),
		boolean(InsertInitFirst, func(s *Sidecar) *bool { return &s.InsertInitFirst }),
		constant(CaptureMode, "proxy", "eBPF capture is not part of this product"),
		boolean(CaptureNodeTraffic, func(s *Sidecar) *bool { return &s.CaptureNodeTraffic }),
		text(HostResolution, func(s *Sidecar) *string { return &s.HostResolution }, oneOf(ResolveSmart, ResolveStandard, ResolveNone)),
		text(ProxyType, func(s *Sidecar) *string { return &s.Type }, oneOf(config.ModeTransparent, config.ModeReverse, config.ModeForward, config.ModeDual)),
		text(ProxyProtocol, func(s *Sidecar) *string { return &s.Protocol }, oneOf("tcp", "http", "socks", "tcp:http", "tcp:socks")),
		text(ProxyHost, func(s *Sidecar) *string { return &s.Host }, hostOrAddress),
		port(ProxyPort, func(s *Sidecar) *uint16 { return &s.Port }),
		port(ProxyInPort, func(s *Sidecar) *uint16 { return &s.InPort }),
		port(ProxyOutPort, func(s *Sidecar) *uint16 { return &s.OutPort }),
		boolean(TLSOut, func(s *Sidecar) *bool { return &s.TLSOut }),
		list(TLSOutCA, func(s *Sidecar) *[]CASource { return &s.TLSOutCA }, caSource, CASource.String),
		boolean(TLSJavaToolOptions, func(s *Sidecar) *bool { return &s.JavaToolOptions }),
		text(TLSJavaToolOptionsValue, func(s *Sidecar) *string { return &s.JavaToolOptionsValue }, anything),
		text(TLSInSecret, func(s *Sidecar) *string { return &s.TLSIn.Secret }, objectName),
		text(TLSInPrivate, func(s *Sidecar) *string { return &s.TLSIn.Private }, keyOrPath),
		text(TLSInPublic, func(s *Sidecar) *string { return &s.TLSIn.Public }, keyOrPath),
		text(TLSMutualSecret, func(s *Sidecar) *string { return &s.TLSMutual.Secret }, objectName),
		text(TLSMutualPrivate, func(s *Sidecar) *string { return &s.TLSMutual.Private }, keyOrPath),
		text(TLSMutualPublic, func(s *Sidecar) *string { return &s.TLSMutual.Public }, keyOrPath),
		list(IgnoreSrcIPs, func(s *Sidecar) *[]netip.Prefix { return &s.IgnoreSources }, prefixes, netip.Prefix.String),
		list(IgnoreSrcHosts, func(s *Sidecar) *[]string { return &s.IgnoreSourceHosts }, host, itself),
		list(IgnoreInboundPorts, func(s *Sidecar) *[]uint16 { return &s.IgnoreInPorts }, portOf, number),
		list(IgnoreDstIPs, func(s *Sidecar) *[]netip.Prefix { return &s.IgnoreDestinations }, prefixes, netip.Prefix.String),
		list(IgnoreDstHosts, func(s *Sidecar) *[]string { return &s.IgnoreDestinationHosts }, host, itself),
		list(IgnoreOutboundPorts, func(s *Sidecar) *[]uint16 { return &s.IgnoreOutPorts }, portOf, number),
		boolean(IgnoreLoopback, func(s *Sidecar) *bool { return &s.IgnoreLoopback }),
		boolean(TrackLoopback, func(s *Sidecar) *bool { return &s.TrackLoopback }),
		quantity(CPULimit, func(s *Sidecar) **resource.Quantity { return &s.CPULimit }),
		quantity(CPURequest, func(s *Sidecar) **resource.Quantity { return &s.CPURequest }),
		quantity(MemoryLimit, func(s *Sidecar) **resource.Quantity { return &s.MemoryLimit }),
		quantity(MemoryRequest, func(s *Sidecar) **resource.Quantity { return &s.MemoryRequest }),
		boolean(KubeAPISupport, func(s *Sidecar) *bool { return &s.KubeAPI }),
		constant(IstioCNI, "false", "pods of a mesh are not injected"),
		{ExtraContainerEnvVars, setExtraEnv, getExtraEnv},
		constant(MountKnownCA, "false", "it would take the image's own roots away; the CA is added to them by environment variables instead"),
		port(PrometheusPort, func(s *Sidecar) *uint16 { return &s.PrometheusPort }),
		boolean(PrometheusScrapeAnnotate, func(s *Sidecar) *bool { return &s.ScrapeAnnotations }),
		constant(Diagnostics, "false", "packets and TLS keys are never written; the chart's logLevel sets what is logged"),
	}
}

func boolean(key string, field func(*Sidecar) *bool) setting {
	return setting{key,
		func(s *Sidecar, v string) error {
			if v != "true" && v != "false" {
				return errors.New(`want "true" or "false"`)
			}
			*field(s) = v == "true"
			return nil
		},
		func(s *Sidecar) string { return strconv.FormatBool(*field(s)) },
	}
}

// constant has one value that it may have; others are refused with the reason.
func constant(key, value, reason string) setting {
	return setting{key,
		func(_ *Sidecar, v string) error {
			if v != value {
				return fmt.Errorf("only %q is supported: %s", value, reason)
			}
			return nil
		},
		func(*Sidecar) string { return value },
	}
}

func text(key string, field func(*Sidecar) *string, check func(string) error) setting {
	return setting{key,
		func(s *Sidecar, v string) error {
			if v == "" {
				return errors.New("it is empty: give it a value, or remove it")
			}
			*field(s) = v
			return check(v)
		},
		func(s *Sidecar) string { return *field(s) },
	}
}

func port(key string, field func(*Sidecar) *uint16) setting {
	return setting{key,
		func(s *Sidecar, v string) error {
			ports, err := portOf(v)
			if err == nil {
				*field(s) = ports[0]
			}
			return err
		},
		func(s *Sidecar) string { return number(*field(s)) },
	}
}

func quantity(key string, field func(*Sidecar) **resource.Quantity) setting {
	return setting{key,
		func(s *Sidecar, v string) error {
			q, err := resource.ParseQuantity(v)
			// The scale of a quantity is not bounded when it is read; what
			// no machine has would overflow later.
			if most := resource.MustParse("1Pi"); err != nil || q.Sign() <= 0 || q.Cmp(most) > 0 {
				return errors.New("want a quantity above zero such as 100m, 2 or 64Mi")
			}
			*field(s) = &q
			return nil
		},
		func(s *Sidecar) string {
			if *field(s) == nil {
				return ""
			}
			return (*field(s)).String()
		},
	}
}

// list has values with commas between them, each of which may stand for several.
func list[T comparable](key string, field func(*Sidecar) *[]T, read func(string) ([]T, error), write func(T) string) setting {
	return setting{key,
		func(s *Sidecar, v string) error {
			var values []T
			for part := range strings.SplitSeq(v, ",") {
				if part = strings.TrimSpace(part); part == "" {
					continue
				}
				more, err := read(part)
				if err != nil {
					return fmt.Errorf("%q: %w", part, err)
				}
				for _, value := range more {
					if !slices.Contains(values, value) {
						values = append(values, value)
					}
				}
			}
			if len(values) == 0 {
				return errors.New("it is empty: give it values with commas between them, or remove it")
			}
			*field(s) = values
			return nil
		},
		func(s *Sidecar) string {
			var parts []string
			for _, value := range *field(s) {
				parts = append(parts, write(value))
			}
			return strings.Join(parts, ",")
		},
	}
}

// setExtraEnv reads a NAME=VALUE from each line.
func setExtraEnv(s *Sidecar, v string) error {
	for line := range strings.SplitSeq(v, "\n") {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok || len(validation.IsEnvVarName(name)) > 0 {
			return fmt.Errorf("line %q: want NAME=VALUE on each line", line)
		}
		if slices.ContainsFunc(s.ExtraEnv, func(e EnvVar) bool { return e.Name == name }) {
			return fmt.Errorf("line %q: %s is there twice", line, name)
		}
		s.ExtraEnv = append(s.ExtraEnv, EnvVar{name, value})
	}
	if len(s.ExtraEnv) == 0 {
		return errors.New("it is empty: want NAME=VALUE on each line")
	}
	return nil
}

func getExtraEnv(s *Sidecar) string {
	var lines []string
	for _, e := range s.ExtraEnv {
		lines = append(lines, e.Name+"="+e.Value)
	}
	return strings.Join(lines, "\n")
}
