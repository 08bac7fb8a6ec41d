package controller

import (
	"context"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/stamp"
)

// leftPage is how many workloads are in memory at a time while all are looked through.
const leftPage = 100

// left is the source of workloads that have a stamp and ask for nothing, or take part in a
// replay: their owners took the annotation away, or rolled them back to one that has ended,
// while no operator was there. The cache of metadata does not have templates, so they are
// looked for once, when the controller starts.
func (w *Workloads) left(k kind) source.Source {
	return source.Func(func(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		go func() {
			// It ends without success only with the manager.
			_ = wait.PollUntilContextCancel(ctx, w.LookAgain, true, func(ctx context.Context) (bool, error) {
				err := w.eachLeft(ctx, k, func(key client.ObjectKey) { queue.Add(reconcile.Request{NamespacedName: key}) })
				if err != nil {
					w.Logger.Warn("whether workloads keep a stamp that they do not ask for, or a replay that has ended, is not known", "kind", k.name, "error", err)
				}
				return err == nil, nil
			})
		}()
		return nil
	})
}

// eachLeft calls found with such workloads of a kind.
func (w *Workloads) eachLeft(ctx context.Context, k kind, found func(client.ObjectKey)) error {
	namespaces := w.Namespaces
	if len(namespaces) == 0 {
		namespaces = []string{""} // all of them
	}
	for _, namespace := range namespaces {
		for next, more := "", true; more; more = next != "" {
			list := k.list()
			page, cancel := context.WithTimeout(ctx, passLimit)
			err := w.Client.List(page, list, client.InNamespace(namespace), client.Limit(leftPage), client.Continue(next))
			cancel()
			if err != nil {
				return err
			}
			err = meta.EachListItem(list, func(o runtime.Object) error {
				object := o.(client.Object)
				about, err := k.describe(object)
				if err != nil || about.leave {
					return nil // one that cannot be read does not keep the others back
				}
				notes := about.template.Annotations
				if notes[annotation.Replay] != "" || notes[annotation.Stamp] != "" && !asks(object) {
					found(client.ObjectKeyFromObject(object))
				}
				return nil
			})
			if err != nil {
				return err
			}
			next = list.GetContinue()
		}
	}
	return nil
}

// ended says that the template names a replay that has ended, which a rollback brings back.
func (w *Workloads) ended(ctx context.Context, about description) bool {
	r, err := stamp.ParseReplay(about.template.Annotations[annotation.Replay])
	return err == nil && !about.leave && !about.fixed && !w.Running(ctx, r)
}

// unroute takes the replay off the template, unless the workload is another one by now.
func (w *Workloads) unroute(ctx context.Context, object client.Object, about description) error {
	change := about.templateChange(annotation.Replay, nil)
	change["metadata"] = map[string]any{"resourceVersion": object.GetResourceVersion()}
	return w.write(ctx, object, change)
}
