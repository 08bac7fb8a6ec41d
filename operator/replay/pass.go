package replay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	v1 "github.com/speedscale/speedscale/cluster/api/v1"
	"github.com/speedscale/speedscale/operator/resource"
)

const unknown = metav1.ConditionUnknown

// maxMessage is what the API server takes for a condition's message, in bytes.
const maxMessage = 32 << 10

// pass is one look at one replay.
type pass struct {
	*Reconciler
	replay *v1.TrafficReplay
	// before is the status as it is stored.
	before *v1.TrafficReplayStatus
	// job is the generator's, nil where there is none yet.
	job *batchv1.Job
	// waits are the pods that are waited for, and unmocked is why the responder does
	// not answer.
	waits    []string
	unmocked string
}

// failed ends a replay: waiting longer would not help.
type failed struct{ text string }

func (f *failed) Error() string { return f.text }

func failf(format string, args ...any) error { return &failed{fmt.Sprintf(format, args...)} }

// step is one phase. do returns what is waited for, "" for nothing more.
type step struct {
	reason string
	do     func(context.Context) (waits string, err error)
}

// advance goes through the phases up to the one that has to wait.
func (p *pass) advance(ctx context.Context) (time.Duration, error) {
	var err error
	if p.job, err = p.generator(ctx); err != nil {
		return 0, err
	}
	for _, s := range []step{
		{v1.ReasonWaiting, p.claim},
		{v1.ReasonPreparing, p.prepare},
		{v1.ReasonResponder, p.mocks},
		{v1.ReasonWorkload, p.workloads},
		{v1.ReasonGenerating, p.generate},
	} {
		waits, err := s.do(ctx)
		late := !p.Now().Before(p.deadline()) && !p.mocking()
		f, hopeless := errors.AsType[*failed](err)
		switch {
		case hopeless:
			return poll, p.decide(ctx, v1.ReasonError, f.text)
		case late && (err != nil || waits != ""):
			if err != nil {
				waits = err.Error()
			}
			return poll, p.decide(ctx, v1.ReasonError, fmt.Sprintf("timeout of %s: %s", p.timeout(), waits))
		case err != nil:
			p.say(s.reason, err.Error())
			return 0, err
		case waits != "":
			if p.mocking() {
				s.reason = v1.ReasonMocking
			}
			p.say(s.reason, waits)
			return poll, nil
		}
	}
	if err := p.collecting(ctx); err != nil {
		return 0, err
	}
	return poll, p.decide(ctx, v1.ReasonReporting, "the report is being made")
}

// entering says that the last pass had not come to a phase.
func (p *pass) entering(reason string) bool {
	ready := p.before.Condition(v1.ConditionReady)
	return ready == nil || ready.Reason != reason
}

// mocking says that there is nothing to wait for any more but the replay's deletion.
func (p *pass) mocking() bool {
	return p.replay.Spec.Mode == v1.ModeResponderOnly && p.replay.Status.InitializedTime != nil
}

// decide fixes how the replay ends. From then on, nothing is sent.
func (p *pass) decide(ctx context.Context, reason, text string) error {
	if reason != v1.ReasonReporting {
		if err := p.stopGenerator(ctx); err != nil {
			return err
		}
	}
	p.condition(v1.ConditionPassed, unknown, reason, text)
	p.say(v1.ReasonReporting, text)
	return nil
}

// say states the phase, and what is waited for in it.
func (p *pass) say(reason, message string) {
	p.replay.Status.Active = true
	p.condition(v1.ConditionReady, metav1.ConditionFalse, reason, message)
}

func (p *pass) condition(kind string, status metav1.ConditionStatus, reason, message string) {
	if len(message) > maxMessage {
		message = strings.ToValidUTF8(message[:maxMessage], "")
	}
	p.replay.Status.SetCondition(metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: message, ObservedGeneration: p.replay.Generation,
	}, p.Now())
}

// save stores the status, and tells others of a new phase.
func (p *pass) save(ctx context.Context) error {
	status := &p.replay.Status
	status.ObservedGeneration = p.replay.Generation
	if equality.Semantic.DeepEqual(p.before, status) {
		return nil
	}
	was := p.before
	after := status.DeepCopy()
	if err := p.Client.Status().Update(ctx, p.replay); err != nil {
		return client.IgnoreNotFound(err)
	}
	p.before = after
	p.announce(ctx, was.Condition(v1.ConditionReady), after.Condition(v1.ConditionReady))
	return nil
}

// phaseName is the phase of a condition Ready in events, "" for none.
func phaseName(c *metav1.Condition) string {
	if c == nil {
		return ""
	}
	switch c.Reason {
	case v1.ReasonPreparing:
		return "prepare"
	case v1.ReasonResponder:
		return "responder"
	case v1.ReasonWorkload:
		return "workload"
	case v1.ReasonGenerating:
		return "generator"
	case v1.ReasonReporting:
		return "report"
	case v1.ReasonCleaningUp:
		return "cleanup"
	}
	return ""
}

// announce makes events of a change of the condition Ready.
func (p *pass) announce(ctx context.Context, was, is *metav1.Condition) {
	if is == nil || was != nil && was.Reason == is.Reason && was.Message == is.Message {
		return
	}
	if was == nil || was.Reason != is.Reason {
		kind := corev1.EventTypeNormal
		if is.Reason == v1.ReasonError {
			kind = corev1.EventTypeWarning
		}
		p.Events.Eventf(p.replay, nil, kind, is.Reason, "Replay", "%s", is.Message)
	}
	var list []*cloudv1.ReplayEvent
	add := func(phase, state, text string, pods []string) {
		list = append(list, &cloudv1.ReplayEvent{
			Time: p.Now().UnixNano(), Source: "operator",
			Event: &cloudv1.ReplayEvent_Phase{Phase: &cloudv1.ReplayPhase{Name: phase, State: state, Text: text, Pods: pods}},
		})
	}
	from, to := phaseName(was), phaseName(is)
	if from != "" && from != to {
		state := "done"
		if outcome := p.before.Condition(v1.ConditionPassed); to == "report" && outcome != nil && outcome.Reason != v1.ReasonReporting {
			state = "failed"
		}
		add(from, state, "", nil)
	}
	if to != "" {
		add(to, "started", is.Message, p.waits)
	}
	p.publish(ctx, list)
}

// publish tells the cloud; that it does not hear of it stops nothing.
func (p *pass) publish(ctx context.Context, list []*cloudv1.ReplayEvent) {
	if len(list) == 0 || p.replay.Status.Name == "" {
		return // the cloud knows nothing of it yet
	}
	ctx, cancel := context.WithTimeout(ctx, publishLimit)
	defer cancel()
	if _, err := p.Cloud.Publish(ctx, &cloudv1.PublishRequest{ReplayId: p.id(), Events: list}); err != nil {
		p.Logger.Debug("phase was not published", "replay", p.name(), "error", err)
	}
}

// id is the report's id; name is the replay's, as messages have it.
func (p *pass) id() string   { return string(p.replay.UID) }
func (p *pass) name() string { return p.replay.Namespace + "/" + p.replay.Name }

func (p *pass) timeout() time.Duration {
	if t := p.replay.Spec.Timeout; t != nil {
		return t.Duration
	}
	return p.Timeout
}

// deadline is the timeout after the workloads were taken or, before, after the
// replay was made.
func (p *pass) deadline() time.Time {
	from := p.replay.CreationTimestamp
	if t := p.replay.Status.StartedTime; t != nil {
		from = *t
	}
	return from.Add(p.timeout())
}

// objects makes the objects of the replay.
func (p *pass) objects() resource.Replay {
	r := resource.Replay{
		Config: p.Config, Namespace: p.replay.Namespace, Name: p.replay.Status.Name, ID: p.id(), SnapshotID: p.replay.Status.SnapshotID,
		Owner: metav1.OwnerReference{
			APIVersion: v1.Group + "/" + v1.Version, Kind: "TrafficReplay", Name: p.replay.Name, UID: p.replay.UID, Controller: new(true),
		},
	}
	for _, s := range p.replay.Spec.SecretRefs {
		r.Secrets = append(r.Secrets, s.Name)
	}
	return r
}

// mocked are all keys that the responder answers for, sorted, each once.
func (p *pass) mocked() (keys []string) {
	for _, t := range p.replay.Status.Targets {
		for _, m := range t.Mocks {
			keys = append(keys, m.Key)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}
