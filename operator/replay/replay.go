// Package replay runs TrafficReplays: it brings the cluster, phase by phase, through
// what a replay needs, and takes all of it away again.
//
// A pass reads the objects anew and decides by them alone what comes next, so that an
// operator that is killed at any point, or replaced, goes on where the other was:
//
//	Waiting            another replay has one of the workloads
//	Preparing          the cloud gives snapshot, test config and token; the status keeps
//	                   what they mean for the workloads
//	StartingResponder  the responder answers, where something is mocked
//	StartingWorkload   every pod of the workloads has its routing and is ready
//	Generating         the generator's Job sends; Mocking where nothing is sent
//	Reporting          the cloud makes the report of the parts
//	CleaningUp         the workloads get back what they were
//
// The outcome is decided once, in the condition Passed: Unknown while the report is not
// made, with Reporting, Error or Canceled as its reason.
package replay

import (
	"context"
	"log/slog"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/speedscale/speedscale/cloud/api/v1/cloudv1connect"
	v1 "github.com/speedscale/speedscale/cluster/api/v1"
	"github.com/speedscale/speedscale/operator/note"
	"github.com/speedscale/speedscale/operator/resource"
)

const (
	// fieldManager owns the annotation on the pod templates of workloads.
	fieldManager = "speedscale-replay"
	// poll is how soon the objects of an active replay are read again.
	poll = time.Second
	// passLimit bounds one pass, and callLimit a call of the cloud.
	passLimit = 2 * time.Minute
	callLimit = 15 * time.Second
	// publishLimit bounds what a pass waits for, at most, to tell the cloud of a phase.
	publishLimit = 3 * time.Second
	// atOnce is how many replays are looked after at the same time.
	atOnce = 4
)

// Reconciler runs TrafficReplays. Its fields are set before it is used.
type Reconciler struct {
	// Client reads from the API server without a cache: what is decided here must not
	// rest on what was true a moment ago.
	Client client.Client
	// Cloud follows replays, at CloudURL, which the pods of replays call too.
	Cloud    cloudv1connect.ReplayServiceClient
	CloudURL string
	// PublicURL is the cloud as people reach it.
	PublicURL string
	// Config is what the objects are made from.
	Config resource.Config
	// Instance is this operator's name in annotation.ManagedBy.
	Instance string
	// Timeout ends replays that do not say one themselves.
	Timeout time.Duration
	// From is when the operator's webhook is reached at the latest. Workloads are not given
	// back before: their new pods would start without the sidecar that they had.
	From time.Time
	// Events get what happens to a replay.
	Events note.Recorder
	// Now is the time.
	Now func() time.Time
	// Logger says what could not be done.
	Logger *slog.Logger

	// claiming is held while a replay takes its workloads, so that of two replays one
	// sees the other.
	claiming sync.Mutex
}

var _ reconcile.Reconciler = (*Reconciler)(nil)

// Setup has the manager call Reconcile when a TrafficReplay changes. It is for the
// leader only.
func (r *Reconciler) Setup(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named("trafficreplay").
		For(&v1.TrafficReplay{}).
		WithOptions(controller.Options{MaxConcurrentReconciles: atOnce}).
		Complete(r)
}

// Reconcile makes one pass.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, passLimit)
	defer cancel()
	replay := &v1.TrafficReplay{}
	if err := r.Client.Get(ctx, req.NamespacedName, replay); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	p := &pass{Reconciler: r, replay: replay, before: replay.Status.DeepCopy()}
	wait, err := p.run(ctx)
	if saved := p.save(ctx); err == nil {
		err = saved
	}
	switch {
	case apierrors.IsConflict(err):
		return reconcile.Result{RequeueAfter: poll}, nil // somebody else changed the object
	case err != nil:
		return reconcile.Result{}, err
	}
	return reconcile.Result{RequeueAfter: wait}, nil
}

// run does what is next, and returns when to come back, 0 for when something changes.
func (p *pass) run(ctx context.Context) (time.Duration, error) {
	if !p.replay.DeletionTimestamp.IsZero() {
		return p.remove(ctx)
	}
	// The webhook sets it too. Without it, nothing is begun.
	if !controllerutil.ContainsFinalizer(p.replay, v1.Finalizer) && p.replay.Status.FinishedTime == nil {
		before := p.replay.DeepCopy()
		controllerutil.AddFinalizer(p.replay, v1.Finalizer)
		return poll, p.Client.Patch(ctx, p.replay, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	}
	switch outcome := p.replay.Status.Condition(v1.ConditionPassed); {
	case p.replay.Status.FinishedTime != nil:
		return p.afterwards(ctx)
	case outcome == nil:
		return p.advance(ctx)
	case outcome.Status == unknown:
		return p.report(ctx)
	}
	return p.finish(ctx)
}
