package replay_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/speedscale/speedscale/cluster/api/v1"
	"github.com/speedscale/speedscale/cluster/replay"
	"github.com/speedscale/speedscale/cluster/workload"
	"github.com/speedscale/speedscale/traffic/snapshot"
)

func meta(in, out []string) *snapshot.Meta {
	slices := func(keys []string) map[string]*snapshot.Slice {
		m := map[string]*snapshot.Slice{}
		for _, k := range keys {
			name, _, _ := strings.Cut(k, ":")
			m[k] = &snapshot.Slice{Name: name, NumRequests: 10}
		}
		return m
	}
	return &snapshot.Meta{ID: "s1", Info: snapshot.Info{Name: "checkout"}, InTraffic: slices(in), OutTraffic: slices(out)}
}

func shop() *snapshot.Meta {
	return meta([]string{"cart:cart.shop:80", "orders:orders.shop:80"}, []string{"cart:db:5432", "cart:prices.example:443", "orders:db:5432"})
}

func deployment(name string) workload.Ref {
	return workload.Ref{Kind: workload.Deployment, Namespace: "shop", Name: name}
}

func options(o replay.Options) replay.Options {
	o.Namespace, o.TestConfig, o.Cleanup = "shop", "standard", v1.CleanupInventory
	if o.Mode == "" {
		o.Mode = v1.ModeFullReplay
	}
	if o.Workloads == nil {
		o.Workloads = []workload.Ref{deployment("cart")}
	}
	return o
}

func TestPlanChoosesWhatWasRecordedFromTheWorkload(t *testing.T) {
	for name, c := range map[string]struct {
		meta         *snapshot.Meta
		o            replay.Options
		tests, mocks [][]string
	}{
		"its own":                {shop(), replay.Options{}, [][]string{{"cart:cart.shop:80"}}, [][]string{{"cart:db:5432", "cart:prices.example:443"}}},
		"two workloads":          {shop(), replay.Options{Workloads: []workload.Ref{deployment("cart"), deployment("orders")}}, [][]string{{"cart:cart.shop:80"}, {"orders:orders.shop:80"}}, [][]string{{"cart:db:5432", "cart:prices.example:443"}, {"orders:db:5432"}}},
		"all of another name":    {shop(), replay.Options{Workloads: []workload.Ref{deployment("cart-v2")}}, [][]string{{"*"}}, [][]string{{"*"}}},
		"a part of a key":        {shop(), replay.Options{Tests: []string{"orders.shop"}, Mocks: []string{"prices"}}, [][]string{{"orders:orders.shop:80"}}, [][]string{{"cart:prices.example:443"}}},
		"a star":                 {shop(), replay.Options{Tests: []string{"*"}, NoMocks: true}, [][]string{{"*"}}, [][]string{nil}},
		"generator only":         {shop(), replay.Options{Mode: v1.ModeGeneratorOnly}, [][]string{{"cart:cart.shop:80"}}, [][]string{nil}},
		"responder only":         {shop(), replay.Options{Mode: v1.ModeResponderOnly}, [][]string{nil}, [][]string{{"cart:db:5432", "cart:prices.example:443"}}},
		"nothing to mock":        {meta([]string{"cart:x:80"}, nil), replay.Options{}, [][]string{{"*"}}, [][]string{nil}},
		"a star over two of one": {shop(), replay.Options{Workloads: []workload.Ref{deployment("cart"), deployment("orders")}, Tests: []string{"*"}, Mocks: []string{"*"}}, [][]string{{"cart:cart.shop:80"}, {"orders:orders.shop:80"}}, [][]string{{"cart:db:5432", "cart:prices.example:443"}, {"orders:db:5432"}}},
	} {
		t.Run(name, func(t *testing.T) {
			r, _, err := replay.Plan(c.meta, options(c.o))
			if err != nil {
				t.Fatal(err)
			}
			var tests, mocks [][]string
			for _, w := range r.Spec.Workloads {
				tests, mocks = append(tests, w.Tests), append(mocks, w.Mocks)
			}
			if diff := cmp.Diff(c.tests, tests); diff != "" {
				t.Errorf("tests: %s", diff)
			}
			if diff := cmp.Diff(c.mocks, mocks); diff != "" {
				t.Errorf("mocks: %s", diff)
			}
		})
	}
}

func TestPlanSetsTheSpec(t *testing.T) {
	o := options(replay.Options{BuildTag: "pr-42", Timeout: 20 * time.Minute})
	r, targets, err := replay.Plan(shop(), o)
	if err != nil {
		t.Fatal(err)
	}
	s := r.Spec
	if r.GenerateName != "cart-" || r.Namespace != "shop" || s.SnapshotID != "s1" || s.TestConfigID != "standard" || s.BuildTag != "pr-42" ||
		s.Timeout.Duration != 20*time.Minute || s.TTLAfterReady != nil || s.Workloads[0].Ref.Name != "cart" || s.Workloads[0].Ref.Kind != "Deployment" {
		t.Errorf("%+v", r)
	}
	if targets[0].Requests != 10 || len(targets[0].Mocks) != 2 {
		t.Errorf("%+v", targets)
	}
}

func TestPlanRefuses(t *testing.T) {
	two := []workload.Ref{deployment("cart"), deployment("billing")}
	for want, o := range map[string]replay.Options{
		`no inbound traffic for deployment shop/billing: it has that of cart, orders`: options(replay.Options{Workloads: two}),
		`no slice key contains "payments"`:                                            options(replay.Options{Tests: []string{"payments"}}),
		`"db" is in 2 slice keys`:                                                     options(replay.Options{Mocks: []string{"db"}}),
		`mode "half"`:                                                                 options(replay.Options{Mode: "half"}),
		`mocks are named, and none are wanted`:                                        options(replay.Options{Mocks: []string{"*"}, NoMocks: true}),
		`mode generator-only has none`:                                                options(replay.Options{Mode: v1.ModeGeneratorOnly, Mocks: []string{"*"}}),
		`mode responder-only mocks, and sends no`:                                     options(replay.Options{Mode: v1.ModeResponderOnly, NoMocks: true}),
		`sent to deployment shop/cart and to deployment`:                              options(replay.Options{Workloads: []workload.Ref{deployment("cart"), deployment("cart")}}),
		`cleanup "some"`:                                                              {Workloads: two, Mode: v1.ModeFullReplay, Cleanup: "some"},
		`no workload`:                                                                 {},
	} {
		if _, _, err := replay.Plan(shop(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}
