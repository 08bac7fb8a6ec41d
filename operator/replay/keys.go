package replay

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"

	v1 "github.com/speedscale/speedscale/cluster/api/v1"
	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/snapshot"
)

// Targets returns the keys of a snapshot that the patterns of each workload mean. With
// a customURL there is one more target, which gets all requests. Its error is a
// *field.Error.
func Targets(spec *v1.TrafficReplaySpec, meta *snapshot.Meta) ([]v1.Target, error) {
	path := field.NewPath("spec", "workloads")
	in, out := slices.Collect(maps.Keys(meta.InTraffic)), slices.Collect(maps.Keys(meta.OutTraffic))
	targets := make([]v1.Target, len(spec.Workloads))
	taken := map[string]int{}
	for i, w := range spec.Workloads {
		t := &targets[i]
		for j, pattern := range w.Mocks {
			keys, err := snapshot.Match(out, pattern)
			if err != nil {
				return nil, field.Invalid(path.Index(i).Child("mocks").Index(j), pattern, err.Error())
			}
			t.Mocks = append(t.Mocks, mocksOf(keys, meta.OutTraffic)...)
		}
		slices.SortFunc(t.Mocks, byKey)
		t.Mocks = slices.Compact(t.Mocks)
		if !Sends(spec) || spec.CustomURL != "" {
			continue
		}
		for j, pattern := range w.Tests {
			keys, err := snapshot.Match(in, pattern)
			if err != nil {
				return nil, field.Invalid(path.Index(i).Child("tests").Index(j), pattern, err.Error())
			}
			for _, key := range keys {
				if other, ok := taken[key]; ok && other != i {
					return nil, field.Invalid(path.Index(i).Child("tests").Index(j), pattern, fmt.Sprintf("%q is sent to workload %d already", key, other))
				} else if !ok {
					t.Tests = append(t.Tests, key)
				}
				taken[key] = i
			}
		}
	}
	if Sends(spec) && spec.CustomURL != "" {
		targets = append(targets, v1.Target{Tests: slices.Sorted(slices.Values(in))})
	}
	for i, t := range targets {
		if n := max(len(t.Tests), len(t.Mocks)); n > v1.MaxKeys {
			return nil, field.Invalid(path.Index(i), n, fmt.Sprintf("at most %d keys of the snapshot can be replayed: name fewer, or make a smaller snapshot", v1.MaxKeys))
		}
	}
	return targets, nil
}

// mocksOf says for each key which protocol was recorded, where the snapshot tells: what
// it calls http may have been version 1 or 2.
func mocksOf(keys []string, slices map[string]*snapshot.Slice) (mocks []v1.Mock) {
	for _, key := range keys {
		m := v1.Mock{Key: key}
		if s := slices[key]; s != nil && s.Protocol == traffic.GRPCProtocol {
			m.ALPN = "h2"
		}
		mocks = append(mocks, m)
	}
	return mocks
}

func byKey(a, b v1.Mock) int {
	switch {
	case a.Key < b.Key:
		return -1
	case a.Key > b.Key:
		return 1
	}
	return 0
}

// Sends says that requests are sent.
func Sends(spec *v1.TrafficReplaySpec) bool { return spec.Mode != v1.ModeResponderOnly }

// Base returns the URL as the generator takes it: without a path, which stays as
// recorded. Its error does not have the URL, in which there may be a password.
func Base(text string) (string, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "":
		return "", errors.New("want http://HOST:PORT or https://HOST:PORT")
	case u.User != nil:
		return "", errors.New("a user or password cannot be given; requests carry their recorded credentials")
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return "", errors.New("only scheme, host and port can be given; paths stay as recorded")
	}
	return u.Scheme + "://" + u.Host, nil
}
