package command

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/speedscale/speedscale/cluster/replay"
	"github.com/speedscale/speedscale/cluster/workload"
)

func namespaceNames(ctx context.Context, g *global, _ *cobra.Command, _ string) (found []cobra.Completion, err error) {
	kube, err := g.kube.client()
	if err != nil {
		return nil, err
	}
	list, err := kube.CoreV1().Namespaces().List(ctx, metav1.ListOptions{Limit: completeMost})
	if err != nil {
		return nil, err
	}
	for i := range list.Items {
		found = append(found, list.Items[i].Name)
	}
	return found, nil
}

// workloadNames are KIND/NAME, of the namespace that is meant.
func workloadNames(ctx context.Context, g *global, _ *cobra.Command, _ string) (found []cobra.Completion, err error) {
	namespace, err := g.kube.namespace()
	if err != nil {
		return nil, err
	}
	kube, err := g.kube.client()
	if err != nil {
		return nil, err
	}
	list, err := workload.List(ctx, kube, namespace)
	for _, w := range list {
		found = append(found, strings.ToLower(w.Kind)+"/"+w.Name)
	}
	return found, err
}

func workloadAndPodNames(ctx context.Context, g *global, c *cobra.Command, typed string) ([]cobra.Completion, error) {
	found, err := workloadNames(ctx, g, c, typed)
	if err != nil || strings.Contains(typed, "/") {
		return found, err
	}
	namespace, err := g.kube.namespace()
	if err != nil {
		return nil, err
	}
	kube, err := g.kube.client()
	if err != nil {
		return nil, err
	}
	pods, err := kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{Limit: completeMost})
	if err != nil {
		return nil, err
	}
	for i := range pods.Items {
		found = append(found, pods.Items[i].Name)
	}
	return found, nil
}

// replayed are snapshots for a replay on this machine, and workloads for one in a cluster.
func replayed(ctx context.Context, g *global, c *cobra.Command, typed string) ([]cobra.Completion, error) {
	if c.Flags().Changed("snapshot") {
		return workloadNames(ctx, g, c, typed)
	}
	if c.Flags().NArg() > 0 {
		return nil, nil
	}
	return snapshotNames(ctx, g, c, typed)
}

func replayNames(ctx context.Context, g *global, _ *cobra.Command, _ string) (found []cobra.Completion, err error) {
	namespace, err := g.kube.namespace()
	if err != nil {
		return nil, err
	}
	kube, err := g.replays()
	if err != nil {
		return nil, err
	}
	list, err := kube.List(ctx, namespace)
	for i := range list {
		found = append(found, cobra.CompletionWithDesc(list[i].Name, replay.Status(&list[i])))
	}
	return found, err
}

func kubeContextNames(_ context.Context, g *global, _ *cobra.Command, _ string) ([]cobra.Completion, error) {
	raw, err := g.kube.ToRawKubeConfigLoader().RawConfig()
	return slices.Sorted(maps.Keys(raw.Contexts)), err
}

func kubeClusterNames(_ context.Context, g *global, _ *cobra.Command, _ string) ([]cobra.Completion, error) {
	raw, err := g.kube.ToRawKubeConfigLoader().RawConfig()
	return slices.Sorted(maps.Keys(raw.Clusters)), err
}

func kubeUserNames(_ context.Context, g *global, _ *cobra.Command, _ string) ([]cobra.Completion, error) {
	raw, err := g.kube.ToRawKubeConfigLoader().RawConfig()
	return slices.Sorted(maps.Keys(raw.AuthInfos)), err
}
