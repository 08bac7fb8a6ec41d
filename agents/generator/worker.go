package generator

import (
	"context"
	"encoding/base64"
	"fmt"
	"time"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/report"
)

// send sends one request, compares the response, and records the result.
func (r *run) send(ctx context.Context, c *client, x *exchange) {
	x.wire = x.req
	result := report.Result{Recorded: x.req.pair}
	if x.scope != nil && x.req.changes() {
		result.Carried = r.fill(x)
	}
	x.sent = time.Now()
	result.At = x.sent
	var res *traffic.HTTPResponse
	if x.req.http2 != nil {
		res, x.err = r.sendHTTP2(ctx, x)
	} else {
		m, err := c.exchange(ctx, x)
		x.done, x.err = time.Now(), err
		switch {
		case err != nil:
		case !x.req.reads() && identical(x.req, m): // masking it would give the recorded response too
			result.Observed = x.req.pair
		default:
			res = response(m)
		}
	}
	if x.req.reads() {
		res = r.taken(x, res, &result)
	}
	if res != nil {
		result.Observed = r.observe(x, res)
		if kept := x.req.pair.Http.Res; x.req.pair.ResponseCut() {
			res.Body = res.Body[:min(len(res.Body), len(kept.Body))] // of a body that was cut, what was kept is compared
		}
		result.Differences = r.opts.Comparer.Compare(x.req.pair, result.Observed)
		x.failed = len(result.Differences) > 0
	}
	if x.err != nil {
		x.class = classify(ctx, x.err)
		result.Err = fmt.Errorf("%s: %w", x.class, x.err)
		result.Observed = nil
	}
	result.Planned, result.Sent = x.done.Sub(x.planned), x.done.Sub(x.sent)
	r.stats.record(x)
	if r.opts.Report != nil {
		r.opts.Report.AddResult(result)
	}
	if r.opts.Observe != nil {
		r.opts.Observe(result)
	}
}

func (r *run) sendHTTP2(ctx context.Context, x *exchange) (*traffic.HTTPResponse, error) {
	ctx, cancel := context.WithDeadline(ctx, x.sent.Add(r.opts.Timeout))
	defer cancel()
	res, err := r.http2.exchange(ctx, x.wire)
	x.done = time.Now()
	return res, err
}

func uuidText(uuid []byte) string { return base64.StdEncoding.EncodeToString(uuid) }
