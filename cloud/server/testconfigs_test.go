package server_test

import (
	"strings"
	"testing"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cloud/server"
	"github.com/speedscale/speedscale/traffic/testconfig"
)

func TestTestConfigs(t *testing.T) {
	dir := t.TempDir()
	c := start(t, server.Options{DataDir: dir}, "")
	put := func(doc string) error {
		return second(c.configs.Put(t.Context(), &cloudv1.PutTestConfigRequest{TestConfig: []byte(doc)}))
	}
	standard, err := c.configs.Get(t.Context(), &cloudv1.GetTestConfigRequest{Id: testconfig.Standard})
	if err != nil {
		t.Fatal(err)
	}
	remove := func(id string) error {
		return second(c.configs.Delete(t.Context(), &cloudv1.DeleteTestConfigRequest{Id: id}))
	}
	for name, e := range map[string]struct {
		err  error
		want connect.Code
		text string
	}{
		"built in":        {put(string(standard.GetTestConfig())), connect.CodeFailedPrecondition, "under another id"},
		"still protected": {put(strings.Replace(string(standard.GetTestConfig()), "standard", "mine", 1)), connect.CodeInvalidArgument, "protected"},
		"unsupported":     {put(`{"id":"mine","loadGroups":[{}]}`), connect.CodeInvalidArgument, "loadGroups: is not supported"},
		"not JSON":        {put(`{`), connect.CodeInvalidArgument, "not JSON"},
		"delete standard": {remove(testconfig.Standard), connect.CodeFailedPrecondition, "under another id"},
		"delete unknown":  {remove("nope"), connect.CodeNotFound, `"nope"`},
		"get unknown":     {second(c.configs.Get(t.Context(), &cloudv1.GetTestConfigRequest{Id: "nope"})), connect.CodeNotFound, `"nope"`},
	} {
		if code(e.err) != e.want || !strings.Contains(e.err.Error(), e.text) {
			t.Errorf("%s: %v", name, e.err)
		}
	}
	if err := put(`{"id":"mine","generator":{"num_replicas":2}}`); err != nil {
		t.Fatal(err)
	}
	if err := put(`{"id":"mine","generator":{"num_replicas":3}}`); err != nil {
		t.Fatal(err)
	}
	key := c.key
	c.stop()
	c = start(t, server.Options{DataDir: dir}, key)
	got, err := c.configs.Get(t.Context(), &cloudv1.GetTestConfigRequest{Id: "mine"})
	if err != nil || string(got.GetTestConfig()) != `{"id":"mine","generator":{"numReplicas":3}}` {
		t.Errorf("%s, %v", got.GetTestConfig(), err)
	}
	list, err := c.configs.List(t.Context(), &cloudv1.ListTestConfigsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, doc := range list.GetTestConfigs() {
		parsed, err := testconfig.Parse(doc)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, parsed.ID())
	}
	want := []string{"mine", "performance_100replicas", "performance_10replicas", "performance_500replicas", "regression", "standard", "standard-passthrough"}
	if diff := cmp.Diff(want, ids); diff != "" {
		t.Error(diff)
	}
	if err := remove("mine"); err != nil {
		t.Error(err)
	}
	if err := remove("mine"); code(err) != connect.CodeNotFound {
		t.Error(err)
	}
}
