package controller_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/stamp"
	"github.com/speedscale/speedscale/operator/controller"
)

// sidecar is what annotations ask for, beside a sidecar.
func sidecar(t *testing.T, pairs ...string) annotation.Sidecar {
	t.Helper()
	all := map[string]string{annotation.Inject: "true"}
	for i := 0; i < len(pairs); i += 2 {
		all[pairs[i]] = pairs[i+1]
	}
	s, err := annotation.Parse(all)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDecide(t *testing.T) {
	plain := sidecar(t)
	stamped := stamp.Next("", "Deployment", "cart", plain)
	counted := strings.Replace(stamped, `"count":0`, `"count":1`, 1)
	older := strings.Replace(stamped, `"hash":"`, `"hash":"x`, 1)
	const quota = `pods "cart-1" is forbidden: exceeded quota: q, requested: pods=1, used: pods=3, limited: pods=3`
	const security = `pods "cart-1" is forbidden: violates PodSecurity "baseline:latest": non-default capabilities (container "speedscale-initproxy" must not include "NET_ADMIN" in securityContext.capabilities.add)`
	const hostNetwork = "deployment shop/cart is not injected: hostNetwork"
	withdrawn := func(failure string) controller.Step {
		text := "the API server refuses pods with the sidecar, so that pods are made without one: " + failure
		return controller.Step{
			Restamp: true, Refused: stamp.Refusal{Hash: plain.Hash(), Reason: text}.String(),
			Reports: []controller.Report{{Reason: controller.ReasonWithdrawn, Text: text}},
		}
	}
	kept := func(failure string) controller.Step {
		step := withdrawn(failure)
		step.Restamp = false
		return step
	}
	good := controller.InjectedPod{Stamp: stamped, Injected: true}
	unseen := controller.InjectedPod{Stamp: stamped}
	refused := controller.InjectedPod{Stamp: stamped, Refused: hostNetwork}
	ignored := plain
	ignored.Ignore = true
	for name, c := range map[string]struct {
		is   controller.Injection
		want controller.Step
	}{
		"as it should be":     {controller.Injection{Settings: plain, Stamp: stamped, Pods: []controller.InjectedPod{good, good}}, controller.Step{}},
		"others'":             {controller.Injection{Others: true, Settings: plain, Stamp: stamped, Pods: []controller.InjectedPod{unseen}, Failure: quota}, controller.Step{}},
		"ignored":             {controller.Injection{Settings: ignored, Stamp: stamped, Pods: []controller.InjectedPod{unseen}, Failure: quota}, controller.Step{Restamp: true}},
		"ignored by now":      {controller.Injection{Settings: ignored}, controller.Step{}},
		"a Job, ignored":      {controller.Injection{Settings: ignored, Stamp: stamped, Fixed: true, Missing: true, Failure: quota}, controller.Step{}},
		"stamped by nobody":   {controller.Injection{Settings: plain}, controller.Step{Restamp: true, Stamp: stamped, Roll: true, Reports: []controller.Report{{Reason: controller.ReasonRolled, Text: "it asks for a sidecar; its pods are made anew"}}}},
		"stamped, but held":   {controller.Injection{Settings: plain, Held: "its rollout is paused"}, controller.Step{Restamp: true, Stamp: stamped, Reports: []controller.Report{{Reason: controller.ReasonMissing, Text: "it asks for a sidecar, which only new pods have; those that run stay, since its rollout is paused"}}}},
		"asks for nothing":    {controller.Injection{}, controller.Step{}},
		"asks no more":        {controller.Injection{Stamp: stamped}, controller.Step{Restamp: true}},
		"refused by its pods": {controller.Injection{Settings: plain, Stamp: stamped, Pods: []controller.InjectedPod{refused, refused, good}}, controller.Step{Reports: []controller.Report{{Reason: controller.ReasonNotInjected, Text: hostNetwork}}}},
		"pods of another template are not looked at": {controller.Injection{Settings: plain, Stamp: stamped, Pods: []controller.InjectedPod{{Stamp: older}, {Stamp: older, Refused: hostNetwork}, good}}, controller.Step{}},

		"made while we were away":      {controller.Injection{Settings: plain, Stamp: stamped, Pods: []controller.InjectedPod{good, unseen}}, controller.Step{Restamp: true, Roll: true, Stamp: counted, Reports: []controller.Report{{Reason: controller.ReasonRolled, Text: "pods were made while the operator was away, and have no sidecar; they are made anew"}}}},
		"made while away, but held":    {controller.Injection{Settings: plain, Stamp: stamped, Held: "its update strategy is OnDelete", Pods: []controller.InjectedPod{unseen}}, controller.Step{Reports: []controller.Report{{Reason: controller.ReasonMissing, Text: "pods were made while the operator was away, and have no sidecar; they stay, since its update strategy is OnDelete"}}}},
		"refused by quota":             {controller.Injection{Settings: plain, Stamp: stamped, Missing: true, Failure: quota, Pods: []controller.InjectedPod{{Stamp: older}}}, withdrawn(quota)},
		"a quota for some only":        {controller.Injection{Settings: plain, Stamp: stamped, Missing: true, Failure: quota, Pods: []controller.InjectedPod{good}}, withdrawn(quota)},
		"a quota that is used up":      {controller.Injection{Settings: plain, Stamp: stamped, Missing: true, Whole: true, Failure: quota, Pods: []controller.InjectedPod{good}}, controller.Step{Reports: []controller.Report{{Reason: controller.ReasonShort, Text: "the API server refuses a pod, though it has had all of them with the sidecar before, which they keep: " + quota}}}},
		"used up, and no pod is left":  {controller.Injection{Settings: plain, Stamp: stamped, Missing: true, Whole: true, Failure: quota}, withdrawn(quota)},
		"a failure that is over":       {controller.Injection{Settings: plain, Stamp: stamped, Failure: quota}, controller.Step{}},
		"refused for a container":      {controller.Injection{Settings: plain, Stamp: stamped, Missing: true, Failure: security, Pods: []controller.InjectedPod{good}}, withdrawn(security)},
		"a Job's pods are refused":     {controller.Injection{Settings: plain, Stamp: stamped, Fixed: true, Missing: true, Failure: quota}, kept(quota)},
		"a Job's, which asks no more":  {controller.Injection{Stamp: stamped, Fixed: true, Missing: true, Failure: quota}, kept(quota)},
		"a Job's refusal":              {controller.Injection{Settings: plain, Stamp: stamped, Fixed: true, Missing: true, Failure: quota, Refused: withdrawn(quota).Refused}, controller.Step{}},
		"a Job that is over":           {controller.Injection{Stamp: stamped, Fixed: true}, controller.Step{}},
		"a Job that nobody stamped":    {controller.Injection{Settings: plain, Fixed: true, Held: "x"}, controller.Step{Reports: []controller.Report{{Reason: controller.ReasonMissing, Text: "it asks for a sidecar, which only new pods have; those that run stay, since x"}}}},
		"wrong":                        {controller.Injection{Wrong: "want true", Stamp: stamped, Missing: true, Failure: quota}, controller.Step{Reports: []controller.Report{{Reason: controller.ReasonWrong, Text: "it is left as it is, since its annotations are wrong: want true"}}}},
		"withdrawn":                    {controller.Injection{Settings: plain, Refused: withdrawn(quota).Refused, Missing: true, Failure: quota}, controller.Step{}},
		"withdrawn, and stamped again": {controller.Injection{Settings: plain, Stamp: stamped, Refused: withdrawn(quota).Refused}, controller.Step{Restamp: true}},
		"withdrawn for other settings": {controller.Injection{Settings: plain, Stamp: stamped, Refused: "x (settings other)", Pods: []controller.InjectedPod{good}}, controller.Step{}},
	} {
		t.Run(name, func(t *testing.T) {
			c.is.Kind, c.is.Name = "Deployment", "cart"
			if diff := cmp.Diff(c.want, controller.Decide(c.is)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
