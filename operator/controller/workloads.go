package controller

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	ctrlmanager "sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/argo"
	"github.com/speedscale/speedscale/cluster/stamp"
	"github.com/speedscale/speedscale/operator/note"
)

const (
	// unsettled is how soon a workload is looked at again whose pods are not all as
	// they should be: the events that say why do not change it.
	unsettled = 15 * time.Second
	// componentLabel is on what the operator makes itself, which is never injected.
	componentLabel = "controlplane.speedscale.com/component"
	// patience is how long some pods must have been refused that others of the same stamp
	// were not, until that counts: a rollout under a tight quota goes on when old pods end.
	patience = 2 * time.Minute
	// maxReports bounds what is remembered of a workload, so that it is said once.
	maxReports = 32
)

// Workloads looks after what the webhooks cannot do: stamps that they could not write,
// pods that they did not see or had to let in without a sidecar, and pods that the API
// server refuses with it.
type Workloads struct {
	// Client reads from the API server without a cache, and writes.
	Client client.Client
	// Instance is this operator's name in annotation.ManagedBy.
	Instance string
	// Namespaces are those that are looked after; empty is all but the cluster's own.
	Namespaces []string
	// From is when the first pass is made: pods that are made anew are to meet the
	// webhook, which the API server cannot reach at once when the operator starts.
	From time.Time
	// Events tells owners.
	Events note.Recorder
	// Certificate returns the forwarder's, "" while it is not known.
	Certificate func() string
	// Running says whether a replay, which a template names, still runs; where that cannot
	// be known, it does.
	Running func(context.Context, stamp.Replay) bool
	// LookAgain is how soon Rollouts are looked after whose definition is installed later.
	LookAgain time.Duration
	// Now is the time.
	Now func() time.Time
	// Logger says what was changed.
	Logger *slog.Logger

	memory memory
}

// Setup has the manager call Reconcile for workloads that ask for a sidecar, or did so a
// moment ago, or before the operator started. Of workloads only the metadata is kept, in a
// cache of its own: the manager's has other namespaces.
func (w *Workloads) Setup(mgr ctrl.Manager) error {
	namespaces := map[string]cache.Config{}
	for _, name := range w.Namespaces {
		namespaces[name] = cache.Config{}
	}
	metadata, err := cache.New(mgr.GetConfig(), cache.Options{
		HTTPClient: mgr.GetHTTPClient(), Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(),
		DefaultNamespaces: namespaces, DefaultTransform: cache.TransformStripManagedFields(),
	})
	if err != nil {
		return err
	}
	if err := mgr.Add(metadata); err != nil {
		return err
	}
	for _, k := range kinds() {
		if k.name == argo.Kind {
			err = mgr.Add(w.onceThere(mgr, func() error { return w.watch(mgr, metadata, k) }))
		} else {
			err = w.watch(mgr, metadata, k)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// watch adds the controller of a kind, which the API server must know.
func (w *Workloads) watch(mgr ctrl.Manager, metadata cache.Cache, k kind) error {
	object := &metav1.PartialObjectMetadata{}
	gvk, err := mgr.GetClient().GroupVersionKindFor(k.new())
	if err != nil {
		return err
	}
	object.SetGroupVersionKind(gvk)
	return ctrl.NewControllerManagedBy(mgr).
		Named("workloads-" + strings.ToLower(k.name)).
		WatchesRawSource(source.Kind(metadata, object, &handler.TypedEnqueueRequestForObject[*metav1.PartialObjectMetadata]{}, asking())).
		WatchesRawSource(w.left(k)).
		Complete(reconcile.Func(func(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
			return w.Reconcile(ctx, k.name, req.NamespacedName)
		}))
}

// onceThere adds the controller of Rollouts when their definition is installed, which may
// be never: a controller of a kind that is not there would end the manager.
func (w *Workloads) onceThere(mgr ctrl.Manager, add func() error) ctrlmanager.RunnableFunc {
	return func(ctx context.Context) error {
		err := wait.PollUntilContextCancel(ctx, w.LookAgain, true, func(context.Context) (bool, error) {
			_, err := mgr.GetRESTMapper().RESTMapping(schema.GroupKind{Group: argo.Group, Kind: argo.Kind}, argo.Version)
			if err != nil && !apimeta.IsNoMatchError(err) {
				w.Logger.Warn("whether the cluster has Argo Rollouts is not known", "error", err)
			}
			return err == nil, nil
		})
		if err != nil {
			return nil // the manager ends
		}
		w.Logger.Info("the cluster has Argo Rollouts, which are looked after from now on")
		return add()
	}
}

// asks says that a workload asks for a sidecar, maybe in a wrong way.
func asks(o client.Object) bool {
	value, ok := o.GetAnnotations()[annotation.Inject]
	return ok && value != "false"
}

// asking passes workloads on that ask for a sidecar, and those that do not any more.
func asking() predicate.TypedPredicate[*metav1.PartialObjectMetadata] {
	return predicate.TypedFuncs[*metav1.PartialObjectMetadata]{
		CreateFunc: func(e event.TypedCreateEvent[*metav1.PartialObjectMetadata]) bool { return asks(e.Object) },
		UpdateFunc: func(e event.TypedUpdateEvent[*metav1.PartialObjectMetadata]) bool {
			return asks(e.ObjectOld) || asks(e.ObjectNew)
		},
		DeleteFunc: func(e event.TypedDeleteEvent[*metav1.PartialObjectMetadata]) bool { return asks(e.Object) },
	}
}

// Reconcile makes one pass over a workload of the given kind.
func (w *Workloads) Reconcile(ctx context.Context, kindName string, key client.ObjectKey) (reconcile.Result, error) {
	if wait := w.From.Sub(w.Now()); wait > 0 {
		return reconcile.Result{RequeueAfter: wait}, nil
	}
	for _, k := range kinds() {
		if k.name == kindName {
			return w.reconcile(ctx, k, key)
		}
	}
	return reconcile.Result{}, fmt.Errorf("kind %q is not looked after", kindName)
}

func (w *Workloads) reconcile(ctx context.Context, k kind, key client.ObjectKey) (reconcile.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, passLimit)
	defer cancel()
	id := k.name + " " + key.String()
	if key.Namespace == metav1.NamespaceSystem || key.Namespace == corev1.NamespaceNodeLease {
		return reconcile.Result{}, nil
	}
	object := k.new()
	err := w.Client.Get(ctx, key, object)
	if apierrors.IsNotFound(err) || err == nil && object.GetDeletionTimestamp() != nil {
		w.memory.forget(id)
		return reconcile.Result{}, nil
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	about, err := k.describe(object)
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("%s: %w", id, err)
	}
	if w.ended(ctx, about) {
		if err := w.unroute(ctx, object, about); err != nil {
			return reconcile.Result{}, fmt.Errorf("%s: %w", id, err)
		}
		w.Logger.Info("workload takes part in no replay any more", "workload", id)
		return reconcile.Result{RequeueAfter: unsettled}, nil
	}
	i, err := w.observe(ctx, k, object, about)
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("%s: %w", id, err)
	}
	return w.act(ctx, id, object, about, i)
}

// observe gathers what Decide wants to know.
func (w *Workloads) observe(ctx context.Context, k kind, object client.Object, about description) (Injection, error) {
	notes := object.GetAnnotations()
	settings, err := annotation.Parse(notes)
	_, ours := about.template.Labels[componentLabel]
	// These two can be told of wrong annotations too.
	manager := notes[annotation.ManagedBy]
	if ours || about.leave || manager != "" && manager != w.Instance || err != nil && (!asks(object) || notes[annotation.Ignore] == "true") {
		return Injection{Others: true}, nil
	}
	if err != nil {
		return Injection{Wrong: err.Error()}, nil
	}
	i := Injection{
		Kind: k.name, Name: object.GetName(), Settings: settings,
		Stamp: about.template.Annotations[annotation.Stamp], Refused: notes[annotation.Refused],
		Held: about.held, Fixed: about.fixed, Elsewhere: about.elsewhere, Missing: about.missing, Failure: about.failure,
	}
	if i.Held == "" && about.template.Annotations[annotation.Replay] != "" {
		i.Held = "a replay runs on it"
	}
	if i.Stamp == "" || !settings.Inject && !i.Fixed || settings.Ignore {
		return i, nil
	}
	err = w.observePods(ctx, object, about, &i)
	return i, err
}

// observePods gathers what is known of the pods, and why some could not be made.
func (w *Workloads) observePods(ctx context.Context, object client.Object, about description, i *Injection) error {
	pods := &metav1.PartialObjectMetadataList{}
	pods.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("PodList"))
	if err := w.Client.List(ctx, pods, client.InNamespace(object.GetNamespace()), client.MatchingLabelsSelector{Selector: about.pods}); err != nil {
		return fmt.Errorf("pods: %w", err)
	}
	i.Pods = injected(pods.Items, w.Certificate())
	id := i.Kind + " " + client.ObjectKeyFromObject(object).String()
	now := w.Now()
	settled := now.Add(-patience)
	if about.complete {
		settled = now
	}
	since := w.memory.seen(id, i.Stamp, i.made(), about.want > 0 && grown(pods.Items, i.Stamp, settled), now)
	have := i.count(func(p InjectedPod) bool { return p.Injected })
	i.Whole = w.memory.whole(id, about.want > 0 && have >= int(about.want))
	if !i.Missing {
		return nil
	}
	var failures []corev1.Event
	for _, uid := range about.makers {
		list := &corev1.EventList{}
		fields := client.MatchingFields{"involvedObject.uid": string(uid), "reason": failedCreate}
		if err := w.Client.List(ctx, list, client.InNamespace(object.GetNamespace()), fields); err != nil {
			return fmt.Errorf("events: %w", err)
		}
		failures = append(failures, list.Items...)
	}
	i.Failure = cmp.Or(i.Failure, newest(failures, since))
	if i.made() > 0 && now.Sub(since) < patience {
		i.Failure = ""
	}
	return nil
}

// act does what Decide says.
func (w *Workloads) act(ctx context.Context, id string, object client.Object, about description, i Injection) (reconcile.Result, error) {
	step := Decide(i)
	if step.Roll {
		if wait := w.memory.mayRoll(id, w.Now()); wait > 0 {
			return reconcile.Result{RequeueAfter: wait}, nil
		}
		why, err := w.vain(ctx, id, object, about)
		if err != nil {
			return reconcile.Result{}, fmt.Errorf("%s: %w", id, err)
		}
		if why != "" {
			w.report(object, id, Report{ReasonMissing, missing + "stay, since " + why})
			return reconcile.Result{RequeueAfter: reachAgain}, nil
		}
	}
	if step.Restamp || step.Refused != "" {
		if err := w.patch(ctx, object, about, step); err != nil {
			return reconcile.Result{}, fmt.Errorf("%s: %w", id, err)
		}
		w.Logger.Info("workload changed", "workload", id, "restamped", step.Restamp, "withdrawn", step.Refused, "rolls", step.Roll)
	}
	if step.Roll {
		w.memory.rolled(id, w.Now())
	} else if !i.Missing {
		w.memory.settled(id, i.made() > 0)
	}
	w.report(object, id, step.Reports...)
	if i.Missing || step.Restamp {
		return reconcile.Result{RequeueAfter: unsettled}, nil
	}
	return reconcile.Result{}, nil
}

// report tells a workload's owner, once each.
func (w *Workloads) report(object client.Object, id string, reports ...Report) {
	for _, r := range reports {
		if w.memory.first(id, r) {
			kind := corev1.EventTypeWarning
			if r.Reason == ReasonRolled {
				kind = corev1.EventTypeNormal
			}
			w.Events.Eventf(object, nil, kind, r.Reason, "Inject", "%s", r.Text)
		}
	}
}

// patch writes a step, unless the workload is another one by now.
func (w *Workloads) patch(ctx context.Context, object client.Object, about description, step Step) error {
	change := map[string]any{}
	if step.Restamp {
		var value any // null takes it away
		if step.Stamp != "" {
			value = step.Stamp
		}
		change = about.templateChange(annotation.Stamp, value)
	}
	meta := map[string]any{"resourceVersion": object.GetResourceVersion()}
	if step.Refused != "" {
		meta["annotations"] = map[string]any{annotation.Refused: step.Refused}
	}
	change["metadata"] = meta
	return w.write(ctx, object, change)
}

// write makes a change of a workload.
func (w *Workloads) write(ctx context.Context, object client.Object, change map[string]any, opts ...client.PatchOption) error {
	text, err := json.Marshal(change)
	if err != nil {
		return err
	}
	return w.Client.Patch(ctx, object, client.RawPatch(types.MergePatchType, text), append(opts, client.FieldOwner(fieldManager))...)
}
