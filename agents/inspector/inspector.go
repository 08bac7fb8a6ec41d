// Package inspector carries out, in its cluster, the commands that the cloud gives
// over a connection that the inspector opens: the ones in cloudv1.Command, and no
// others. It never reads a Secret and starts no replay that does, and what its service
// account may do is what these commands need.
package inspector

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"google.golang.org/protobuf/proto"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"

	"github.com/speedscale/speedscale/agents/bus"
	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/traffic/mask"
)

// Options are what an Inspector is made with.
type Options struct {
	// Cluster is the cluster's name, KeyID the id of the API key of Conn.
	Cluster, KeyID string
	// Instance is the operator's name in annotation.ManagedBy.
	Instance string
	// Version is the inspector's, as people are shown it.
	Version string
	// Namespaces are all that there are for the inspector; none means every one.
	Namespaces []string
	Kube       kubernetes.Interface
	Metadata   metadata.Interface
	Dynamic    dynamic.Interface
	// Masker masks what leaves the cluster as text. It is required.
	Masker *mask.Masker
	Logger *slog.Logger
}

// Limits of commands.
const (
	// commandLimit bounds the time of one, and parallel how many run.
	commandLimit = 30 * time.Second
	parallel     = 8
	// maxCommand and maxOutput bound them and their answers, in bytes.
	maxCommand = 1 << 20
	maxOutput  = 1 << 20
)

// Inspector answers while Run does. Its methods are safe for concurrent use.
type Inspector struct {
	o       Options
	log     *slog.Logger
	started time.Time
	counts  counts
	slots   chan struct{}
	running sync.WaitGroup

	mu    sync.Mutex
	ended bool // no more commands are taken
}

// New returns an inspector.
func New(o Options) *Inspector {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Inspector{o: o, log: o.Logger, started: time.Now(), counts: newCounts(), slots: make(chan struct{}, parallel)}
}

// Run takes commands from a connection until ctx ends, also after the connection was
// away.
func (i *Inspector) Run(ctx context.Context, conn *nats.Conn) error {
	s, err := micro.AddService(conn, micro.Config{
		Name: bus.InspectorService,
		// Of the contract: a major version has the same commands, or more.
		Version:     "1.0.0",
		Description: "remote control of a cluster",
		Metadata: map[string]string{
			bus.MetaCluster: i.o.Cluster, bus.MetaVersion: i.o.Version, bus.MetaKubernetes: i.kubernetes(),
			bus.MetaSince: i.started.UTC().Format(time.RFC3339),
		},
		Endpoint: &micro.EndpointConfig{
			Subject: bus.ClusterSubject(i.o.KeyID, i.o.Cluster),
			Handler: micro.HandlerFunc(func(r micro.Request) { i.take(ctx, r) }),
		},
		ErrorHandler: func(_ micro.Service, err *micro.NATSError) {
			i.log.Warn("commands cannot be taken", "subject", err.Subject, "error", err.Description)
		},
	})
	if err != nil {
		return fmt.Errorf("take commands: %w", err)
	}
	<-ctx.Done()
	err = s.Stop()
	i.mu.Lock()
	i.ended = true
	i.mu.Unlock()
	i.running.Wait()
	return err
}

// kubernetes is the API server's version, "" where it does not say.
func (i *Inspector) kubernetes() string {
	v, err := i.o.Kube.Discovery().ServerVersion()
	if err != nil {
		i.log.Warn("the API server's version is not known", "error", err)
		return ""
	}
	return v.GitVersion
}

// take carries a request out beside others.
func (i *Inspector) take(ctx context.Context, r micro.Request) {
	select {
	case i.slots <- struct{}{}:
	default:
		i.answer(r, &cloudv1.CommandResult{Error: fmt.Sprintf("the inspector carries out %d commands already: try again", parallel)})
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.ended {
		return // the service drains
	}
	i.running.Go(func() {
		defer func() { <-i.slots }()
		i.answer(r, i.Execute(ctx, r.Data()))
	})
}

func (i *Inspector) answer(r micro.Request, result *cloudv1.CommandResult) {
	data, err := proto.Marshal(result)
	if err == nil {
		err = r.Respond(data)
	}
	if err != nil {
		i.log.Warn("an answer cannot be sent", "error", err)
	}
}

// Execute carries out the cloudv1.Command in data. Whatever goes wrong is in the
// result.
func (i *Inspector) Execute(ctx context.Context, data []byte) (result *cloudv1.CommandResult) {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	name := "unknown"
	defer func() {
		if p := recover(); p != nil {
			i.log.Error("a command panicked", "command", name, "panic", p, "stack", string(debug.Stack()))
			result = &cloudv1.CommandResult{Error: "internal error: the inspector's log says more"}
		}
		i.counts.add(name, result.GetError() != "")
		i.log.Info("command", "command", name, "error", result.GetError())
	}()
	name, do, err := i.decode(data)
	if err != nil {
		return &cloudv1.CommandResult{Error: err.Error()}
	}
	output, err := do(ctx)
	if err == nil && len(output) > maxOutput {
		err = fmt.Errorf("the answer has %d bytes, and %d fit: ask for less, such as one namespace", len(output), maxOutput)
	}
	if err != nil {
		return &cloudv1.CommandResult{Error: i.explain(err)}
	}
	return &cloudv1.CommandResult{Output: output}
}
