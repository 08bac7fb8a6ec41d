package generator

import (
	"context"
	"sync"
	"time"
)

// closed runs the closed model: each virtual user sends all requests in order,
// each when the response to the one before is there.
func (r *run) closed(ctx context.Context) {
	plan := r.opts.Plan
	var end time.Time
	if plan.For > 0 {
		end = time.Now().Add(plan.For)
	}
	var users sync.WaitGroup
	for range plan.VUs {
		users.Go(func() {
			c := newClient(r)
			defer c.close()
			for pass := 0; plan.Times == 0 || pass < plan.Times; pass++ {
				shared := r.newScope(int64(pass))
				for _, req := range r.requests {
					now := time.Now()
					if ctx.Err() != nil || !end.IsZero() && !now.Before(end) {
						return
					}
					r.send(ctx, c, &exchange{req: req, scope: shared, planned: now, ready: now})
				}
			}
		})
	}
	users.Wait()
}
