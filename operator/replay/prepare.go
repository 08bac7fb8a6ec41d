package replay

import (
	"cmp"
	"context"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	cloud "github.com/speedscale/speedscale/cloud/client"
	v1 "github.com/speedscale/speedscale/cluster/api/v1"
	"github.com/speedscale/speedscale/operator/resource"
	"github.com/speedscale/speedscale/traffic/snapshot"
	"github.com/speedscale/speedscale/traffic/testconfig"
)

const (
	// spare is how long a token is good beyond the deadline: parts and report follow.
	spare = time.Hour
	// mockingLimit is how long the token of a replay is good that runs until deleted.
	mockingLimit = 30 * 24 * time.Hour
	// maxConfig is what a variable of a process can hold, in bytes (MAX_ARG_STRLEN).
	maxConfig = 128<<10 - 64
)

// prepare enters the replay in the cloud, once: what it says is kept in the status,
// and the token in a Secret. Killed in between, it begins anew with another token.
func (p *pass) prepare(ctx context.Context) (string, error) {
	if p.replay.Status.Name != "" {
		return "", nil
	}
	call, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	start, err := p.Cloud.Start(call, p.start())
	switch {
	case cloud.Retryable(err):
		return p.away(err), nil
	case err != nil:
		return "", failf("the cloud refuses the replay: %v", cloud.Message(err))
	}
	if err := p.plan(ctx, start); err != nil {
		return "", err
	}
	if err := p.putSecret(ctx, start); err != nil {
		p.replay.Status.Name = "" // nothing is begun yet
		return "", err
	}
	p.say(v1.ReasonPreparing, "snapshot "+p.replay.Status.SnapshotID+" is replayed")
	return "", p.save(ctx)
}

func (p *pass) start() *cloudv1.StartReplayRequest {
	spec := &p.replay.Spec
	expires := p.deadline().Add(spare)
	if spec.Mode == v1.ModeResponderOnly {
		expires = p.Now().Add(mockingLimit)
	}
	return &cloudv1.StartReplayRequest{
		Id: p.id(), Name: p.replay.Name, Cluster: p.Config.Cluster, Namespace: p.replay.Namespace,
		SnapshotId: spec.SnapshotID, TestConfigId: spec.TestConfigID, BuildTag: spec.BuildTag,
		Expires: expires.Unix(), Target: describe(spec),
	}
}

// describe names what is tested, as the report shows it.
func describe(spec *v1.TrafficReplaySpec) string {
	if spec.CustomURL != "" {
		return spec.CustomURL
	}
	var names []string
	for _, w := range spec.Workloads {
		if w.CustomURI != "" {
			names = append(names, w.CustomURI)
		} else {
			names = append(names, strings.ToLower(w.Ref.Kind)+"/"+w.Ref.Name)
		}
	}
	return strings.Join(names, ", ")
}

// plan puts into the status what the spec means for this snapshot.
func (p *pass) plan(ctx context.Context, start *cloudv1.StartReplayResponse) error {
	meta, err := snapshot.ParseMeta(start.GetSnapshot())
	if err != nil {
		return failf("the snapshot that the cloud has is not understood: %v", err)
	}
	if _, err := testconfig.Parse(start.GetTestConfig()); err != nil {
		return failf("test config %q is not understood: %v", p.replay.Spec.TestConfigID, err)
	}
	if n := len(start.GetTestConfig()); n > maxConfig {
		return failf("test config %q has %d bytes, at most %d can be given to the replay's pods", p.replay.Spec.TestConfigID, n, maxConfig)
	}
	targets, err := Targets(&p.replay.Spec, meta)
	if err != nil {
		return failf("%v", err)
	}
	name, err := p.chooseName(ctx)
	if err != nil {
		return err
	}
	if err := p.identify(ctx, targets); err != nil {
		return err
	}
	status := &p.replay.Status
	status.Name, status.SnapshotID, status.TestConfig, status.Targets = name, meta.ID, string(start.GetTestConfig()), targets
	return nil
}

// identify notes which objects the workloads are, so that cleanup deletes none that is
// made under the same name later.
func (p *pass) identify(ctx context.Context, targets []v1.Target) error {
	for i, w := range p.replay.Spec.Workloads {
		if w.Ref == nil {
			continue
		}
		o, err := p.read(ctx, *w.Ref)
		if err != nil {
			return err
		}
		if o != nil {
			targets[i].UID = o.GetUID()
		}
	}
	return nil
}

// chooseName returns a name that no other replay of the namespace has.
func (p *pass) chooseName(ctx context.Context) (string, error) {
	others := &v1.TrafficReplayList{}
	if err := p.Client.List(ctx, others, client.InNamespace(p.replay.Namespace)); err != nil {
		return "", err
	}
	taken := map[string]bool{}
	for _, o := range others.Items {
		taken[o.Status.Name] = true
	}
	for attempt := 0; ; attempt++ {
		// There are more names than TrafficReplays in any namespace.
		if name := resource.ReplayName(p.id(), attempt); !taken[name] || attempt > len(others.Items)*100 {
			return name, nil
		}
	}
}

// putSecret replaces what an attempt before may have left. It has no right to read.
func (p *pass) putSecret(ctx context.Context, start *cloudv1.StartReplayResponse) error {
	secret := p.objects().Secret(start.GetToken(), p.CloudURL, start.GetTestConfig())
	err := p.Client.Create(ctx, secret)
	if apierrors.IsAlreadyExists(err) {
		if err := p.Client.Delete(ctx, secret); client.IgnoreNotFound(err) != nil {
			return err
		}
		secret.ResourceVersion = ""
		err = p.Client.Create(ctx, secret)
	}
	return err
}

// configured is objects with what the test config says of them, and the test config.
func (p *pass) configured() (resource.Replay, testconfig.Config, error) {
	config, err := p.config()
	objects := p.objects()
	objects.Config.LogLevel = cmp.Or(config.LogLevel(), objects.Config.LogLevel)
	return objects, config, err
}

// config is the test config, as it was when the replay started.
func (p *pass) config() (testconfig.Config, error) {
	c, err := testconfig.Parse([]byte(p.replay.Status.TestConfig))
	if err != nil {
		return c, failf("status.testConfig: %v", err)
	}
	return c, nil
}
