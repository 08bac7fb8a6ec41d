package install

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/workload"
)

// ready waits until what the operator makes is of its present settings, and ready. Helm
// waits for the chart's own objects only.
func (o *Options) ready(ctx context.Context, c kubernetes.Interface) error {
	operator, err := workload.Get(ctx, c, o.deployment(Operator))
	if err != nil {
		return err
	}
	names, err := made(ctx, c, o.Namespace)
	if err != nil {
		return err
	}
	for _, name := range names {
		o.say("waiting for " + name)
		if err := waitMade(ctx, c, o.deployment(name), operator.Template.Annotations[annotation.ControlPlane], o.Timeout); err != nil {
			return &NotReadyError{err}
		}
		progress := func(s workload.State) { o.say("waiting for " + name + ": " + s.Text) }
		if _, err := workload.Wait(ctx, c, o.deployment(name), o.Timeout, progress); err != nil {
			return &NotReadyError{err}
		}
	}
	return nil
}

func (o *Options) deployment(name string) workload.Ref {
	return workload.Ref{Kind: workload.Deployment, Namespace: o.Namespace, Name: name}
}

// made names the Deployments that an operator makes by its settings, which it reads from
// the chart's ConfigMap and from one that wins over it.
func made(ctx context.Context, c kubernetes.Interface, namespace string) (names []string, err error) {
	settings := map[string]string{}
	for _, name := range []string{Operator, Operator + "-override"} {
		config, err := c.CoreV1().ConfigMaps(namespace).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("configmap %q in namespace %q: %w", name, namespace, err)
		}
		maps.Copy(settings, config.Data)
	}
	names = []string{"speedscale-forwarder"}
	if with, err := strconv.ParseBool(settings["WITH_INSPECTOR"]); err == nil && with {
		names = append(names, "speedscale-inspector")
	}
	if settings["DEPLOY_DEMO"] != "" {
		names = append(names, "java-server", "java-client")
	}
	return names, nil
}

// waitMade waits until the operator has made a Deployment of the settings with that hash.
func waitMade(ctx context.Context, c kubernetes.Interface, r workload.Ref, hash string, limit time.Duration) error {
	err := wait.PollUntilContextTimeout(ctx, time.Second, limit, true, func(ctx context.Context) (bool, error) {
		w, err := workload.Get(ctx, c, r)
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		return err == nil && w.Annotations[annotation.ControlPlane] == hash, err
	})
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		err = fmt.Errorf("the operator has not made %s of its settings after %s: kubectl -n %s logs deployment/%s says why", r, limit, r.Namespace, Operator)
	}
	return err
}
