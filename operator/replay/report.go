package replay

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"connectrpc.com/connect"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/speedscale/speedscale/agents/agent"
	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	cloud "github.com/speedscale/speedscale/cloud/client"
	v1 "github.com/speedscale/speedscale/cluster/api/v1"
	"github.com/speedscale/speedscale/traffic/report"
)

const (
	// settle is how long responder and collector have to put their last part, which they
	// do every 5 s, and sidecars to tell what they saw.
	settle = 6 * time.Second
	// reportLimit is how long the report is tried for, and removeLimit when somebody
	// waits for the replay's deletion.
	reportLimit = 5 * time.Minute
	removeLimit = 20 * time.Second
)

// report has the cloud make the report, and keeps the verdict.
func (p *pass) report(ctx context.Context) (time.Duration, error) {
	outcome := p.replay.Status.Condition(v1.ConditionPassed)
	since := p.Now().Sub(outcome.LastTransitionTime.Time)
	if outcome.Reason == v1.ReasonReporting && since < settle && p.putsParts() {
		return settle - since, nil
	}
	last := since >= reportLimit || p.replay.Status.Name == "" // nothing was begun
	if p.end(ctx, outcome.Reason, outcome.Message, last) {
		return poll, p.restore(ctx) // which does not wait for the cloud
	}
	return poll, nil
}

// putsParts says that others than the generator have a part in the report: responder,
// collector, and the sidecars of the workloads that are sent requests.
func (p *pass) putsParts() bool {
	config, err := p.config()
	if len(p.mocked()) > 0 || err == nil && config.LogsCollected() {
		return true
	}
	for i, t := range p.replay.Status.Targets {
		if i < len(p.replay.Spec.Workloads) && len(t.Tests) > 0 && p.replay.Spec.Workloads[i].CustomURI == "" {
			return true
		}
	}
	return false
}

// end closes the replay in the cloud and sets the verdict. It returns whether to try
// again, unless it is the last time.
func (p *pass) end(ctx context.Context, reason, text string, last bool) (again bool) {
	req := &cloudv1.EndReplayRequest{Id: p.id()}
	switch reason {
	case v1.ReasonError:
		req.Error = text
	case v1.ReasonCanceled:
		req.Canceled = text
		req.Discard = !Sends(&p.replay.Spec) && !p.replay.Spec.NeedsReport
	}
	call, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	res, err := p.Cloud.End(call, req)
	if cloud.Retryable(err) && !last {
		p.say(v1.ReasonReporting, fmt.Sprintf("%s; %s", text, p.away(err)))
		return true
	}
	known := p.replay.Status.Name != "" || connect.CodeOf(err) != connect.CodeNotFound
	if err != nil && known {
		p.Events.Eventf(p.replay, nil, corev1.EventTypeWarning, "NoReport", "Replay", "the cloud made no report: %v", cloud.Message(err))
		if reason == v1.ReasonReporting {
			reason, text = v1.ReasonError, fmt.Sprintf("the cloud made no report: %v", cloud.Message(err))
		}
	}
	p.verdict(res.GetReport(), reason, text)
	return false
}

// away says that the cloud does not answer, and why.
func (p *pass) away(err error) string {
	return fmt.Sprintf("the cloud at %s does not answer: %v", p.CloudURL, agent.TrustHint(cloud.Message(err)))
}

// verdict sets the condition Passed by the report or, without one, by the reason.
func (p *pass) verdict(doc []byte, reason, text string) {
	var r report.Report
	if len(doc) > 0 {
		if err := json.Unmarshal(doc, &r); err != nil {
			reason, text = v1.ReasonError, fmt.Sprintf("the report is not understood: %v", err)
		} else {
			p.replay.Status.ReportID = p.id()
			p.replay.Status.ReportURL = cloud.PageURL(p.PublicURL, p.id())
		}
	} else if reason == v1.ReasonReporting {
		reason, text = v1.ReasonError, "the cloud made no report"
	}
	status := metav1.ConditionFalse
	if reason == v1.ReasonReporting {
		switch r.Status {
		case report.Passed:
			status, reason, text = metav1.ConditionTrue, v1.ReasonTestSucceeded, "Passed"
		case report.MissedGoals:
			reason, text = v1.ReasonTestFailed, "Failed: "+string(r.Status)
		case report.Canceled:
			reason, text = v1.ReasonCanceled, r.Error
		default:
			reason, text = v1.ReasonError, r.Error
		}
	}
	switch reason {
	case v1.ReasonError:
		text = "Error: " + text
	case v1.ReasonCanceled:
		text = "Canceled: " + text
	}
	p.condition(v1.ConditionPassed, status, reason, text)
	p.say(v1.ReasonCleaningUp, text)
}
