package inspector_test

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/speedscale/speedscale/agents/inspector"
	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cluster/annotation"
)

// TestRemoteControlReachesNoSecret: neither in the pods of a replay nor, by code of one's own, in
// those of the app.
func TestRemoteControlReachesNoSecret(t *testing.T) {
	c := newCluster(t, nil, deployment("shop", "web", nil))
	refused(t, c.run(t, &cloudv1.Command{Command: &cloudv1.Command_StartReplay{StartReplay: &cloudv1.StartReplay{Namespace: "shop", Name: "r1",
		Spec: []byte(`{"snapshotID":"s1","testConfigID":"mine","customURL":"https://mine.example.com","secretRefs":[{"name":"db"}]}`)}}}),
		`TrafficReplay "r1": spec.secretRefs: not by remote control`, "speedctl replay")
	if len(c.dynamic.Actions()) > 0 {
		t.Errorf("%v", c.dynamic.Actions())
	}
	for key, value := range map[string]string{
		annotation.ExtraContainerEnvVars:   "NODE_OPTIONS=--import=data:text/javascript,0",
		annotation.TLSJavaToolOptionsValue: "-agentlib:jdwp=transport=dt_socket,server=y,address=*:5005",
		annotation.ProxyHost:               "mine.example.com",
	} {
		refused(t, c.run(t, injection("Deployment", "web", map[string]string{annotation.Inject: "true", key: value})), key, "not by remote control")
		output[inspector.Changed](t, c.run(t, injection("Deployment", "web", map[string]string{key: ""}))) // it may be taken away
	}
	d, err := c.kube.AppsV1().Deployments("shop").Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil || len(d.Annotations) > 0 {
		t.Errorf("the workload has %v, %v", d.Annotations, err)
	}
}
