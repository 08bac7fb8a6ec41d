package webhook_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/stamp"
	"github.com/speedscale/speedscale/operator/webhook"
)

func workloads() webhook.Workloads {
	running := func(_ context.Context, r stamp.Replay) bool { return r.Name == "shop/runs" }
	return webhook.Workloads{Instance: "test", Running: running, Logger: discard()}
}

// workload is a manifest with annotations of the workload, and a stamp on its
// template where one is given.
func workload(kind, annotations, stamp string) string {
	template := `
    metadata:
      labels: {app: checkout}
      annotations: {team: payments%s}
    spec:
      containers: [{name: app, image: checkout:1}]`
	if stamp != "" {
		stamp = ", " + annotation.Stamp + ": '" + stamp + "'"
	}
	template = fmt.Sprintf(template, stamp)
	if kind == "CronJob" {
		return "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: checkout, annotations: {" + annotations + "}}\nspec:\n" +
			"  jobTemplate:\n   spec:\n    template:" + strings.ReplaceAll(template, "\n", "\n  ") + "\n"
	}
	return "apiVersion: apps/v1\nkind: " + kind + "\nmetadata: {name: checkout, annotations: {" + annotations + "}}\nspec:\n  template:" + template + "\n"
}

const inject = `sidecar.speedscale.com/inject: "true"`

func stampOf(t *testing.T, kind string, annotations map[string]string) string {
	t.Helper()
	annotations[annotation.Inject] = "true"
	s, err := annotation.Parse(annotations)
	if err != nil {
		t.Fatal(err)
	}
	return stamp.Next("", kind, "checkout", s)
}

func TestWorkloadIsStampedAndNothingElse(t *testing.T) {
	for _, kind := range []string{"Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob", "Rollout"} {
		t.Run(kind, func(t *testing.T) {
			req := create(t, workload(kind, inject, ""))
			got := apply(t, req, workloads().Handle(t.Context(), req))
			equal(t, raw(t, workload(kind, inject, stampOf(t, kind, map[string]string{}))), got)
		})
	}
}

// TestRolloutWithoutATemplateOfItsOwn is refused, by the request that annotates it only: a
// template beside spec.workloadRef would make it invalid.
func TestRolloutWithoutATemplateOfItsOwn(t *testing.T) {
	manifest := func(annotations string) string {
		return "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata: {name: checkout, annotations: {" + annotations + "}}\nspec: {workloadRef: {apiVersion: apps/v1, kind: Deployment, name: web}}"
	}
	resp := workloads().Handle(t.Context(), create(t, manifest(inject)))
	if want := `rollout "checkout" asks for a sidecar (sidecar.speedscale.com/inject), and its pods are of the template of deployment "web" (spec.workloadRef): annotate that one`; resp.Allowed || resp.Result.Message != want {
		t.Errorf("answered %v, want %q", resp.Result, want)
	}
	if resp := workloads().Handle(t.Context(), update(t, manifest(inject), manifest(inject))); !resp.Allowed || len(resp.Patches) > 0 || len(resp.Warnings) != 1 {
		t.Errorf("an update of one that is annotated already: %+v", resp)
	}
	if resp := workloads().Handle(t.Context(), create(t, manifest(""))); !resp.Allowed || len(resp.Patches) > 0 || len(resp.Warnings) > 0 {
		t.Errorf("one that asks for nothing: %+v", resp)
	}
}

func TestTemplateWithoutMetadataIsStamped(t *testing.T) {
	bare := "apiVersion: apps/v1\nkind: Deployment\nmetadata: {generateName: checkout-, annotations: {" + inject + "}}\nspec: {template: {spec: {containers: []}}}"
	req := create(t, bare)
	got := tree(t, apply(t, req, workloads().Handle(t.Context(), req)))
	template := got["spec"].(map[string]any)["template"].(map[string]any)
	text := template["metadata"].(map[string]any)["annotations"].(map[string]any)[annotation.Stamp].(string)
	if s, err := stamp.Parse(text); err != nil || s.Name != "checkout" {
		t.Errorf("stamp %q names %q (%v), want checkout", text, s.Name, err)
	}
}

func TestUpdates(t *testing.T) {
	plain := stampOf(t, "Deployment", map[string]string{})
	raised := strings.Replace(plain, `"count":0`, `"count":4`, 1)
	opened := stampOf(t, "Deployment", map[string]string{annotation.TLSOut: "true"})
	const tlsOut = inject + `, sidecar.speedscale.com/tls-out: "true"`
	for name, c := range map[string]struct{ old, new, want string }{
		"nothing changed": {
			workload("Deployment", inject, plain), workload("Deployment", inject, plain), plain},
		"a manifest without the stamp replaces it": {
			workload("Deployment", inject, raised), workload("Deployment", inject, ""), raised},
		"the counter is raised": {
			workload("Deployment", inject, plain), workload("Deployment", inject, raised), raised},
		"another setting": {
			workload("Deployment", inject, plain), workload("Deployment", tlsOut, plain), opened},
		"a default is spelled out": {
			workload("Deployment", inject, raised), workload("Deployment", inject+`, sidecar.speedscale.com/proxy-in-port: "4143"`, ""), raised},
		"the annotation is removed": {
			workload("Deployment", inject, plain), workload("Deployment", "", plain), ""},
		"the annotation is false": {
			workload("Deployment", inject, plain), workload("Deployment", `sidecar.speedscale.com/inject: "false"`, plain), ""},
		"a stamp that is damaged": {
			workload("Deployment", inject, plain), workload("Deployment", inject, "damaged"), plain},
		"ignored: the stamp goes": {
			workload("Deployment", inject, plain), workload("Deployment", inject+`, operator.speedscale.com/ignore: "true"`, plain), ""},
		"ignored, and asks no more": {
			workload("Deployment", inject, plain), workload("Deployment", `operator.speedscale.com/ignore: "true"`, plain), ""},
		"ignored, and a manifest brings it back": {
			workload("Deployment", inject+`, operator.speedscale.com/ignore: "true"`, ""), workload("Deployment", inject+`, operator.speedscale.com/ignore: "true"`, plain), ""},
		"ignored: none is written": {
			workload("Deployment", "", ""), workload("Deployment", inject+`, operator.speedscale.com/ignore: "true"`, ""), ""},
		"another operator's": {
			workload("Deployment", "", ""), workload("Deployment", inject+`, operator.speedscale.com/managed-by: other`, ""), ""},
		"another operator's: its stamp stays": {
			workload("Deployment", inject, plain), workload("Deployment", inject+`, operator.speedscale.com/managed-by: other`, plain), plain},
		"another operator's, which asks no more": {
			workload("Deployment", inject, plain), workload("Deployment", `operator.speedscale.com/managed-by: other`, plain), ""},
		"our own": {
			workload("Deployment", "", ""), workload("Deployment", inject+`, operator.speedscale.com/managed-by: test`, ""), plain},
		"a job keeps what it has": {
			workload("Job", inject, plain), workload("Job", "", plain), plain},
		"a job that is ignored keeps it": {
			workload("Job", inject, plain), workload("Job", inject+`, operator.speedscale.com/ignore: "true"`, plain), plain},
		"a job without a stamp gets none": {
			workload("Job", "", ""), workload("Job", inject, ""), ""},
		"a job's manifest is applied again": {
			workload("Job", inject, plain), workload("Job", inject, ""), plain},
	} {
		t.Run(name, func(t *testing.T) {
			req := update(t, c.old, c.new)
			got := apply(t, req, workloads().Handle(t.Context(), req))
			// Only the stamp may differ from what was sent.
			equal(t, raw(t, withStamp(c.new, c.want)), got)
		})
	}
}

// TestRollbackToAReplayThatHasEnded: without the operator, whose answer a pod of a replay
// waits for, no pod of the workload could be made any more.
func TestRollbackToAReplayThatHasEnded(t *testing.T) {
	in := func(manifest, replay string) string {
		value := stamp.Replay{ID: "1", Name: replay, Target: "0", Kind: "Deployment", Workload: "checkout"}.String()
		return strings.Replace(manifest, "team: payments", "team: payments, "+annotation.Replay+": '"+value+"'", 1)
	}
	plain := stampOf(t, "Deployment", map[string]string{})
	const wrong = inject + `, sidecar.speedscale.com/proxy-type: sideways`
	for name, c := range map[string]struct{ manifest, replay, want string }{
		"it has ended":        {workload("Deployment", inject, plain), "shop/ended", workload("Deployment", inject, plain)},
		"of one not injected": {workload("StatefulSet", "", ""), "shop/ended", workload("StatefulSet", "", "")},
		"of a CronJob":        {workload("CronJob", "", ""), "shop/ended", workload("CronJob", "", "")},
		"wrong annotations":   {workload("Deployment", wrong, plain), "shop/ended", workload("Deployment", wrong, plain)},
		"it runs":             {workload("Deployment", inject, plain), "shop/runs", ""},
		"a job, which is so":  {workload("Job", "", ""), "shop/ended", ""},
	} {
		t.Run(name, func(t *testing.T) {
			req := update(t, c.manifest, in(c.manifest, c.replay))
			if c.want == "" {
				c.want = in(c.manifest, c.replay)
			}
			equal(t, raw(t, c.want), apply(t, req, workloads().Handle(t.Context(), req)))
		})
	}
}

// withStamp is a manifest of workload with another stamp.
func withStamp(manifest, stamp string) string {
	head, rest, _ := strings.Cut(manifest, "annotations: {team: payments")
	_, tail, _ := strings.Cut(rest, "\n")
	if stamp != "" {
		stamp = ", " + annotation.Stamp + ": '" + stamp + "'"
	}
	return head + "annotations: {team: payments" + stamp + "}\n" + tail
}

func TestWrongAnnotationsAreRefused(t *testing.T) {
	for annotations, want := range map[string]string{
		`sidecar.speedscale.com/inject: "yes"`:                        annotation.Inject,
		inject + `, sidecar.speedscale.com/proxy-type: sideways`:      annotation.ProxyType,
		inject + `, sidecar.speedscale.com/tls-outt: "true"`:          annotation.TLSOut,
		inject + `, operator.speedscale.com/ignore: "perhaps"`:        annotation.Ignore,
		`sidecar.speedscale.com/memory-limit: lots`:                   annotation.MemoryLimit,
		inject + `, sidecar.speedscale.com/kube-api-support: "true"`:  annotation.KubeAPISupport,
		inject + `, sidecar.speedscale.com/proxy-in-port: "ninety"`:   annotation.ProxyInPort,
		inject + `, sidecar.speedscale.com/ignore-dst-ips: 1.2.3.4/x`: annotation.IgnoreDstIPs,
	} {
		for _, req := range []struct {
			name string
			r    func() webhookRequest
		}{
			{"create", func() webhookRequest { return create(t, workload("Deployment", annotations, "")) }},
			{"update", func() webhookRequest {
				return update(t, workload("Deployment", inject, ""), workload("Deployment", annotations, ""))
			}},
		} {
			resp := workloads().Handle(t.Context(), req.r())
			if resp.Allowed {
				t.Errorf("%s with %s is taken", req.name, annotations)
			} else if !strings.Contains(resp.Result.Message, want) {
				t.Errorf("%s with %s: %q does not name %s", req.name, annotations, resp.Result.Message, want)
			}
		}
	}
}

// A workload whose annotations were wrong before can still be rolled out: the
// request that brings a new image is not the one to refuse.
func TestWrongAnnotationsDoNotBlockOtherUpdates(t *testing.T) {
	wrong := workload("Deployment", inject+`, sidecar.speedscale.com/proxy-type: sideways`, "")
	req := update(t, wrong, strings.Replace(wrong, "checkout:1", "checkout:2", 1))
	resp := workloads().Handle(t.Context(), req)
	equal(t, req.Object.Raw, apply(t, req, resp))
	if len(resp.Warnings) != 1 || !strings.Contains(resp.Warnings[0], annotation.ProxyType) {
		t.Errorf("warnings %q do not name the annotation", resp.Warnings)
	}
}

func TestWhatIsLeftAlone(t *testing.T) {
	plain := stampOf(t, "CronJob", map[string]string{})
	owned := strings.Replace(workload("Job", "", plain), "metadata: {name: checkout,",
		"metadata: {name: checkout-29, ownerReferences: [{apiVersion: batch/v1, kind: CronJob, name: checkout, uid: x, controller: true}],", 1)
	deleted := strings.Replace(workload("Deployment", `sidecar.speedscale.com/inject: "yes"`, ""), "metadata: {name: checkout,",
		"metadata: {name: checkout, deletionTimestamp: '2026-11-01T00:00:00Z', finalizers: [x],", 1)
	for name, req := range map[string]webhookRequest{
		"no annotation":      create(t, workload("Deployment", "", "")),
		"a CronJob's Job":    create(t, owned),
		"being deleted":      update(t, workload("Deployment", "", ""), deleted),
		"another kind":       create(t, "{apiVersion: v1, kind: Service, metadata: {name: x, annotations: {"+inject+"}}}"),
		"not an object":      withObject(create(t, workload("Deployment", inject, "")), `[1`),
		"kube-system":        inNamespace(create(t, workload("Deployment", inject, "")), "kube-system"),
		"template of a text": create(t, "{apiVersion: apps/v1, kind: Deployment, metadata: {name: x}, spec: {template: text}}"),
	} {
		t.Run(name, func(t *testing.T) {
			resp := workloads().Handle(t.Context(), req)
			if !resp.Allowed || len(resp.Patches) > 0 {
				t.Errorf("allowed %v with %v, want nothing done", resp.Allowed, resp.Patches)
			}
		})
	}
	req := create(t, workload("Deployment", inject, ""))
	req.Operation = admissionv1.Delete
	if resp := workloads().Handle(t.Context(), req); !resp.Allowed || len(resp.Patches) > 0 {
		t.Error("a deletion is answered")
	}
}

// TestReplicaSetByItself is refused where it asks for a sidecar, since nothing looks after it.
func TestReplicaSetByItself(t *testing.T) {
	manifest := func(annotations, owner string) string {
		return strings.Replace(workload("ReplicaSet", annotations, ""), "metadata: {name: checkout,", "metadata: {name: checkout, ownerReferences: ["+owner+"],", 1)
	}
	resp := workloads().Handle(t.Context(), create(t, manifest(inject, "")))
	if want := `replicaset "checkout" asks for a sidecar (sidecar.speedscale.com/inject), which a replicaset by itself cannot have: use a deployment`; resp.Allowed || resp.Result.Message != want {
		t.Errorf("answered %+v, want %q", resp.Result, want)
	}
	const deployment = "{apiVersion: apps/v1, kind: Deployment, name: checkout, uid: x, controller: true}"
	for name, req := range map[string]webhookRequest{
		"of a deployment":         create(t, manifest(inject, deployment)),
		"of somebody's operator":  create(t, manifest(inject, strings.Replace(deployment, "Deployment", "Kafka", 1))),
		"whose deployment went":   update(t, manifest(inject, deployment), manifest(inject, "")),
		"that asks for nothing":   create(t, manifest("", "")),
		"that does not any more":  update(t, manifest(inject, ""), manifest("", "")),
		"that is to be let alone": create(t, manifest(inject+`, operator.speedscale.com/ignore: "true"`, "")),
	} {
		if resp := workloads().Handle(t.Context(), req); !resp.Allowed || len(resp.Patches) > 0 {
			t.Errorf("one %s: %+v", name, resp)
		}
	}
}

// TestJobThatIsThere: nothing of it can change any more, which is said.
func TestJobThatIsThere(t *testing.T) {
	plain := stampOf(t, "Job", map[string]string{})
	resp := workloads().Handle(t.Context(), update(t, workload("Job", "", ""), workload("Job", `sidecar.speedscale.com/inject: "perhaps"`, "")))
	if resp.Allowed || !strings.Contains(resp.Result.Message, annotation.Inject) {
		t.Errorf("a wrong annotation: %+v", resp)
	}
	for name, manifest := range map[string]string{"annotated": workload("Job", inject, ""), "no longer annotated": workload("Job", "", plain)} {
		old := workload("Job", "", "")
		if strings.Contains(name, "no longer") {
			old = workload("Job", inject, plain)
		}
		resp := workloads().Handle(t.Context(), update(t, old, manifest))
		if !resp.Allowed || len(resp.Patches) > 0 || len(resp.Warnings) != 1 || !strings.Contains(resp.Warnings[0], "counts for a new one") {
			t.Errorf("%s: %+v", name, resp)
		}
	}
	wrong := `sidecar.speedscale.com/inject: "perhaps"`
	req := update(t, workload("Job", wrong, plain), workload("Job", wrong, ""))
	equal(t, raw(t, workload("Job", wrong, plain)), apply(t, req, workloads().Handle(t.Context(), req)))
	if resp := workloads().Handle(t.Context(), update(t, workload("Job", inject, plain), workload("Job", inject, plain))); len(resp.Warnings) > 0 {
		t.Errorf("an update of something else: %q", resp.Warnings)
	}
}

// TestAnnotationsOfATemplate do nothing, and a warning says where they belong.
func TestAnnotationsOfATemplate(t *testing.T) {
	for kind, hint := range map[string]string{"Deployment": "the deployment itself", "CronJob": "the cronjob itself"} {
		misplaced := strings.Replace(workload(kind, "", ""), "team: payments", "team: payments, "+inject, 1)
		resp := workloads().Handle(t.Context(), create(t, misplaced))
		if !resp.Allowed || len(resp.Patches) > 0 || len(resp.Warnings) != 1 || !strings.Contains(resp.Warnings[0], hint) || !strings.HasSuffix(resp.Warnings[0], annotation.Inject) {
			t.Errorf("%+v", resp)
		}
		if resp := workloads().Handle(t.Context(), update(t, misplaced, misplaced)); len(resp.Warnings) > 0 {
			t.Errorf("it is said again: %q", resp.Warnings)
		}
	}
	if resp := workloads().Handle(t.Context(), create(t, workload("Deployment", inject, ""))); len(resp.Warnings) > 0 {
		t.Errorf("of annotations where they belong: %q", resp.Warnings)
	}
}

// TestVariablesFromElsewhere may be overridden, which nobody but the owner can see.
func TestVariablesFromElsewhere(t *testing.T) {
	const dual = inject + ", sidecar.speedscale.com/proxy-type: dual"
	envFrom := func(manifest string) string {
		return strings.Replace(manifest, "image: checkout:1", "image: checkout:1, envFrom: [{configMapRef: {name: settings}}]", 1)
	}
	for name, c := range map[string]struct {
		req  webhookRequest
		want string
	}{
		"of a deployment":      {create(t, envFrom(workload("Deployment", dual, ""))), `container "app" has envFrom`},
		"of a cronjob":         {create(t, envFrom(workload("CronJob", dual, ""))), "HTTP_PROXY, http_proxy"},
		"nothing is set":       {create(t, envFrom(workload("Deployment", inject, ""))), ""},
		"nothing is elsewhere": {create(t, workload("Deployment", dual, "")), ""},
		"another operator's":   {create(t, envFrom(workload("Deployment", dual+`, operator.speedscale.com/managed-by: other`, ""))), ""},
		"no sidecar is wanted": {create(t, envFrom(workload("Deployment", "team: a", ""))), ""},
		"what is no template":  {create(t, strings.Replace(envFrom(workload("Deployment", dual, "")), "checkout:1", "[7]", 1)), ""},
	} {
		resp := workloads().Handle(t.Context(), c.req)
		if got := strings.Join(resp.Warnings, "\n"); !resp.Allowed || c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// TestWithdrawnStampStaysAway until the workload's settings are others.
func TestWithdrawnStampStaysAway(t *testing.T) {
	plain := stampOf(t, "Deployment", map[string]string{})
	st, err := stamp.Parse(plain)
	if err != nil {
		t.Fatal(err)
	}
	refusal := `, operator.speedscale.com/refused: "exceeded quota (settings ` + st.Hash + `)"`
	reverse := inject + `, sidecar.speedscale.com/proxy-type: reverse`
	for name, c := range map[string]struct{ old, new, want string }{
		"it is withdrawn": {
			workload("Deployment", inject, plain), workload("Deployment", inject+refusal, ""), workload("Deployment", inject+refusal, "")},
		"the owner edits it": {
			workload("Deployment", inject+refusal, ""), workload("Deployment", inject+refusal+", team: a", ""), workload("Deployment", inject+refusal+", team: a", "")},
		"a manifest brings the stamp back": {
			workload("Deployment", inject+refusal, ""), workload("Deployment", inject+refusal, plain), workload("Deployment", inject+refusal, "")},
		"other settings": {
			workload("Deployment", inject+refusal, ""), workload("Deployment", reverse+refusal, ""),
			workload("Deployment", reverse, stampOf(t, "Deployment", map[string]string{annotation.ProxyType: "reverse"}))},
		"the owner takes the reason away": {
			workload("Deployment", inject+refusal, ""), workload("Deployment", inject, ""), workload("Deployment", inject, plain)},
		"no sidecar is asked for any more": {
			workload("Deployment", inject+refusal, ""), workload("Deployment", "team: a"+refusal, ""), workload("Deployment", "team: a", "")},
		"it says nothing": {
			workload("Deployment", inject, ""), workload("Deployment", inject+`, operator.speedscale.com/refused: "x"`, ""), workload("Deployment", inject, plain)},
	} {
		t.Run(name, func(t *testing.T) {
			req := update(t, c.old, c.new)
			equal(t, raw(t, c.want), apply(t, req, workloads().Handle(t.Context(), req)))
		})
	}
}
