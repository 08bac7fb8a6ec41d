package webhook

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/speedscale/speedscale/agents/agent"
	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cloud/api/v1/cloudv1connect"
	cloud "github.com/speedscale/speedscale/cloud/client"
	"github.com/speedscale/speedscale/cluster/annotation"
	v1 "github.com/speedscale/speedscale/cluster/api/v1"
	"github.com/speedscale/speedscale/cluster/argo"
	"github.com/speedscale/speedscale/cluster/workload"
	replays "github.com/speedscale/speedscale/operator/replay"
	"github.com/speedscale/speedscale/traffic/snapshot"
	"github.com/speedscale/speedscale/traffic/testconfig"
)

// The paths at which TrafficReplays are completed and checked.
const (
	MutateReplaysPath   = "/mutate-speedscale-com-v1-trafficreplay"
	ValidateReplaysPath = "/validate-speedscale-com-v1-trafficreplay"
)

// cloudLimit bounds what a person waits for the cloud, which is less than the API
// server waits for a webhook.
const cloudLimit = 5 * time.Second

// Replays completes TrafficReplays, and refuses those that could not run. Unlike the
// other webhooks it is asked for our own objects only, and may stand in their way.
type Replays struct {
	// Client reads workloads, without a cache.
	Client client.Reader
	// Snapshots and TestConfigs are the cloud's.
	Snapshots   cloudv1connect.SnapshotServiceClient
	TestConfigs cloudv1connect.TestConfigServiceClient
	// Instance is as in Workloads.
	Instance string
	// Namespaces are where replays can run; empty is everywhere.
	Namespaces []string
	// Timeout is the one of replays that do not say one.
	Timeout time.Duration
}

var (
	_ admission.Defaulter[*v1.TrafficReplay] = Replays{}
	_ admission.Validator[*v1.TrafficReplay] = Replays{}
)

// Default sets what the schema cannot: it makes nothing random, so that asking again
// changes nothing.
func (r Replays) Default(ctx context.Context, o *v1.TrafficReplay) error {
	if !o.DeletionTimestamp.IsZero() {
		return nil
	}
	if req, err := admission.RequestFromContext(ctx); err == nil && req.Operation == admissionv1.Create {
		controllerutil.AddFinalizer(o, v1.Finalizer)
	}
	spec := &o.Spec
	if spec.TestConfigID == "" {
		spec.TestConfigID = testconfig.Standard
	}
	if spec.Timeout == nil {
		spec.Timeout = &metav1.Duration{Duration: r.Timeout}
	}
	// One workload gets all requests.
	if len(spec.Workloads) == 1 && len(spec.Workloads[0].Tests) == 0 && spec.CustomURL == "" && replays.Sends(spec) {
		spec.Workloads[0].Tests = []string{"*"}
	}
	return nil
}

// ValidateCreate refuses a replay that could not run.
func (r Replays) ValidateCreate(ctx context.Context, o *v1.TrafficReplay) (admission.Warnings, error) {
	errs := r.spec(ctx, o)
	if len(errs) > 0 {
		return nil, invalid(o, errs)
	}
	warnings, errs := r.cloud(ctx, &o.Spec)
	return warnings, invalid(o, errs)
}

// ValidateUpdate refuses a change of what runs already. The end of a replay that has
// started is in its generator's Job and in its token.
func (r Replays) ValidateUpdate(_ context.Context, old, o *v1.TrafficReplay) (admission.Warnings, error) {
	if !o.DeletionTimestamp.IsZero() {
		return nil, nil
	}
	was, path := old.Spec.DeepCopy(), field.NewPath("spec")
	// Default gives one to a replay that was made without the webhook.
	if old.Status.StartedTime != nil && was.Timeout != nil && !equality.Semantic.DeepEqual(was.Timeout, o.Spec.Timeout) {
		return nil, invalid(o, field.ErrorList{field.Forbidden(path.Child("timeout"),
			"it cannot be changed once the replay has started: delete it, which cancels it, and make another")})
	}
	was.Timeout, was.TTLAfterReady = o.Spec.Timeout, o.Spec.TTLAfterReady
	if equality.Semantic.DeepEqual(was, &o.Spec) {
		return nil, nil
	}
	return nil, invalid(o, field.ErrorList{field.Forbidden(path,
		"only ttlAfterReady can be changed once the replay is made, and timeout until it starts: delete it, and make another")})
}

// ValidateDelete lets every replay go.
func (r Replays) ValidateDelete(context.Context, *v1.TrafficReplay) (admission.Warnings, error) {
	return nil, nil
}

func invalid(o *v1.TrafficReplay, errs field.ErrorList) error {
	if len(errs) == 0 {
		return nil
	}
	return apierrors.NewInvalid(schema.GroupKind{Group: v1.Group, Kind: "TrafficReplay"}, o.Name, errs)
}

// spec checks what needs no cloud.
func (r Replays) spec(ctx context.Context, o *v1.TrafficReplay) (errs field.ErrorList) {
	spec, path := &o.Spec, field.NewPath("spec")
	if len(r.Namespaces) > 0 && !slices.Contains(r.Namespaces, o.Namespace) {
		errs = append(errs, field.NotSupported(field.NewPath("metadata", "namespace"), o.Namespace, r.Namespaces))
	}
	errs = append(errs, base(path.Child("customURL"), spec.CustomURL)...)
	tests, mocks := spec.CustomURL != "", false
	seen := map[v1.WorkloadRef]bool{}
	for i, w := range spec.Workloads {
		at := path.Child("workloads").Index(i)
		tests, mocks = tests || len(w.Tests) > 0, mocks || len(w.Mocks) > 0
		if replays.Sends(spec) && len(w.Tests) == 0 && len(w.Mocks) == 0 && spec.CustomURL == "" {
			errs = append(errs, field.Required(at.Child("tests"), "the workload is neither sent requests nor has mocks: name slice keys, or leave it out"))
		}
		errs = append(errs, base(at.Child("customURI"), w.CustomURI)...)
		if w.Ref == nil {
			continue
		}
		if key := (v1.WorkloadRef{Kind: w.Ref.Kind, Name: w.Ref.Name}); seen[key] {
			errs = append(errs, field.Duplicate(at.Child("ref"), w.Ref.Name))
		} else {
			seen[key] = true
		}
		if err := r.ref(ctx, at.Child("ref"), o.Namespace, w.Ref); err != nil {
			errs = append(errs, err)
		}
	}
	if replays.Sends(spec) && !tests {
		errs = append(errs, field.Required(path.Child("workloads"), "no workload has tests, so nothing would be sent: name slice keys, or use mode responder-only"))
	}
	if !replays.Sends(spec) && !mocks {
		errs = append(errs, field.Required(path.Child("workloads"), "no workload has mocks, which is all that mode responder-only does"))
	}
	return errs
}

func base(at *field.Path, url string) field.ErrorList {
	if url == "" {
		return nil
	}
	if _, err := replays.Base(url); err != nil {
		if strings.Contains(url, "@") {
			url = "…" // it may be a password
		}
		return field.ErrorList{field.Invalid(at, url, err.Error())}
	}
	return nil
}

// ref checks that a workload is there, and may be changed.
func (r Replays) ref(ctx context.Context, at *field.Path, namespace string, ref *v1.WorkloadRef) *field.Error {
	if ref.Namespace != "" && ref.Namespace != namespace {
		return field.Forbidden(at.Child("namespace"), fmt.Sprintf(
			"a TrafficReplay changes workloads of its own namespace only: make it in namespace %q", ref.Namespace))
	}
	object := replays.Object(ref.Kind)
	switch {
	case ref.Kind == "Job" || ref.Kind == "CronJob":
		return field.Invalid(at.Child("kind"), ref.Kind, "a replay needs pods that stay and can be replaced: want Deployment, StatefulSet, DaemonSet or Rollout")
	case object == nil:
		return field.NotSupported(at.Child("kind"), ref.Kind, []string{"Deployment", "StatefulSet", "DaemonSet", argo.Kind})
	case ref.APIVersion != "" && ref.APIVersion != workload.APIVersion(ref.Kind):
		return field.NotSupported(at.Child("apiVersion"), ref.APIVersion, []string{workload.APIVersion(ref.Kind)})
	}
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: ref.Name}, object)
	switch notes := object.GetAnnotations(); {
	case apimeta.IsNoMatchError(err):
		return field.Invalid(at.Child("kind"), ref.Kind, "the cluster has no Argo Rollouts")
	case apierrors.IsNotFound(err), err == nil && !object.GetDeletionTimestamp().IsZero():
		return field.Invalid(at, ref.Name, fmt.Sprintf("there is no %s %q in namespace %q", strings.ToLower(ref.Kind), ref.Name, namespace))
	case err != nil:
		return field.InternalError(at, err)
	case notes[annotation.ManagedBy] != "" && notes[annotation.ManagedBy] != r.Instance:
		return field.Forbidden(at, fmt.Sprintf("%s %q is managed by another operator, %q (annotation %s)",
			strings.ToLower(ref.Kind), ref.Name, notes[annotation.ManagedBy], annotation.ManagedBy))
	case notes[annotation.Ignore] == "true":
		return field.Forbidden(at, fmt.Sprintf("%s %q has the annotation %s", strings.ToLower(ref.Kind), ref.Name, annotation.Ignore))
	}
	if u, ok := object.(*unstructured.Unstructured); ok && argo.Elsewhere(u) != nil {
		return field.Invalid(at, ref.Name, "a replay needs a Rollout with a template of its own (spec.template), not spec.workloadRef")
	}
	return nil
}

// cloud checks ids and keys. A cloud that does not answer refuses nothing: the replay
// itself asks again.
func (r Replays) cloud(ctx context.Context, spec *v1.TrafficReplaySpec) (warnings admission.Warnings, errs field.ErrorList) {
	ctx, cancel := context.WithTimeout(ctx, cloudLimit)
	defer cancel()
	check := func(name, value string, err error) {
		switch {
		case err == nil:
		case connect.CodeOf(err) == connect.CodeNotFound:
			errs = append(errs, field.Invalid(field.NewPath("spec", name), value, "the cloud has none of this id: "+cloud.Message(err).Error()))
		default:
			warnings = append(warnings, fmt.Sprintf("spec.%s is not checked: %v", name, agent.TrustHint(cloud.Message(err))))
		}
	}
	_, err := r.TestConfigs.Get(ctx, &cloudv1.GetTestConfigRequest{Id: spec.TestConfigID})
	check("testConfigID", spec.TestConfigID, err)
	res, err := r.Snapshots.Get(ctx, &cloudv1.GetSnapshotRequest{Id: spec.SnapshotID})
	check("snapshotID", spec.SnapshotID, err)
	if err != nil {
		return warnings, errs
	}
	meta, err := snapshot.ParseMeta(res.GetSnapshot())
	if err != nil {
		return append(warnings, fmt.Sprintf("spec.snapshotID is not checked: %v", err)), errs
	}
	_, err = replays.Targets(spec, meta)
	if wrong, ok := errors.AsType[*field.Error](err); ok {
		errs = append(errs, wrong)
	}
	return warnings, errs
}
