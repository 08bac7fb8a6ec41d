// Package control gives commands to clusters, by way of the inspectors that are
// connected to the bus, and enters each in the audit record before and after.
package control

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/speedscale/speedscale/agents/bus"
	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cloud/catalog"
)

// Errors that Run's errors wrap.
var (
	// ErrInvalid: what was asked for makes no sense.
	ErrInvalid = errors.New("invalid command")
	// ErrNotConnected: no inspector of that cluster is connected, or it has gone.
	ErrNotConnected = errors.New("not connected")
	// ErrAmbiguous: several clusters go by that name.
	ErrAmbiguous = errors.New("ambiguous")
)

const (
	// gatherLimit bounds the search for inspectors, which ends when none has
	// answered for a while.
	gatherLimit = 3 * time.Second
	gatherPause = 400 * time.Millisecond
	// runLimit bounds a command: more than an inspector gives it.
	runLimit = 40 * time.Second
	// maxCommand bounds a command's JSON, in bytes.
	maxCommand = 64 << 10
	// endLimit bounds the entry of an outcome, also of a caller who has gone.
	endLimit = 10 * time.Second
)

// Control is safe for concurrent use.
type Control struct {
	conn *nats.Conn
	cat  *catalog.Catalog
	log  *slog.Logger
}

// New returns a Control that gives commands over a connection that may use every
// subject. The connection stays the caller's.
func New(conn *nats.Conn, cat *catalog.Catalog, log *slog.Logger) *Control {
	return &Control{conn: conn, cat: cat, log: log}
}

// inspector is one that has answered.
type inspector struct {
	cluster *cloudv1.Cluster
	subject string
	key     string // the id in subject
}

// Clusters returns those whose inspector is connected, by name.
func (c *Control) Clusters(ctx context.Context) ([]*cloudv1.Cluster, error) {
	found, err := c.find(ctx)
	if err != nil {
		return nil, err
	}
	var list []*cloudv1.Cluster
	for _, i := range found {
		list = append(list, i.cluster)
	}
	return list, nil
}

// find asks which inspectors there are. Several of one cluster and key, as while one
// takes another's place, are one.
func (c *Control) find(ctx context.Context) ([]inspector, error) {
	ctx, cancel := context.WithTimeout(ctx, gatherLimit)
	defer cancel()
	inbox := c.conn.NewRespInbox()
	sub, err := c.conn.SubscribeSync(inbox)
	if err != nil {
		return nil, fmt.Errorf("look for inspectors: %w", err)
	}
	defer func() {
		if err := sub.Unsubscribe(); err != nil {
			c.log.Warn("inbox not closed", "error", err)
		}
	}()
	if err := c.conn.PublishRequest("$SRV.INFO."+bus.InspectorService, inbox, nil); err != nil {
		return nil, fmt.Errorf("look for inspectors: %w", err)
	}
	found := map[string]inspector{}
	for {
		wait, done := context.WithTimeout(ctx, gatherPause)
		m, err := sub.NextMsgWithContext(wait)
		done()
		if err != nil || len(m.Data) == 0 { // silence, or the bus says that there are none
			break
		}
		i, err := parse(m.Data)
		if err != nil {
			c.log.Warn("an inspector's answer is not understood", "error", err)
			continue
		}
		if old, ok := found[i.subject]; !ok || i.cluster.GetSince() > old.cluster.GetSince() {
			found[i.subject] = i
		}
	}
	list := make([]inspector, 0, len(found))
	for _, i := range found {
		list = append(list, i)
	}
	slices.SortFunc(list, func(a, b inspector) int {
		return cmp.Or(cmp.Compare(a.cluster.GetName(), b.cluster.GetName()), cmp.Compare(a.key, b.key))
	})
	return list, nil
}

// parse reads what an inspector says of itself. Its subject has to be that of the
// cluster it names: nobody is sent commands that are for another.
func parse(data []byte) (inspector, error) {
	var info micro.Info
	if err := json.Unmarshal(data, &info); err != nil {
		return inspector{}, err
	}
	name := info.Metadata[bus.MetaCluster]
	if name == "" || len(info.Endpoints) != 1 {
		return inspector{}, fmt.Errorf("cluster %q with %d endpoints", name, len(info.Endpoints))
	}
	subject := info.Endpoints[0].Subject
	parts := strings.Split(subject, ".")
	if len(parts) != 4 || subject != bus.ClusterSubject(parts[2], name) {
		return inspector{}, fmt.Errorf("cluster %q has the subject %q", name, subject)
	}
	i := inspector{subject: subject, key: parts[2], cluster: &cloudv1.Cluster{
		Name: name, Version: info.Metadata[bus.MetaVersion], Kubernetes: info.Metadata[bus.MetaKubernetes],
	}}
	if since, err := time.Parse(time.RFC3339, info.Metadata[bus.MetaSince]); err == nil {
		i.cluster.Since = since.UnixNano()
	}
	return i, nil
}

// Run has one command carried out, which came with an API key. Its error says that it
// was not given, or that nobody knows what became of it; what went wrong in the cluster
// is in the result.
func (c *Control) Run(ctx context.Context, key, cluster string, command *cloudv1.Command) (*cloudv1.CommandResult, error) {
	if cluster == "" {
		return nil, fmt.Errorf("%w: cluster is empty", ErrInvalid)
	}
	if command.GetCommand() == nil {
		return nil, fmt.Errorf("%w: it is empty, or none that this cloud knows", ErrInvalid)
	}
	text, err := protojson.Marshal(command)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if len(text) > maxCommand {
		return nil, fmt.Errorf("%w: it has %d bytes, want at most %d", ErrInvalid, len(text), maxCommand)
	}
	id, err := c.cat.PutAudit(ctx, catalog.Audit{Time: time.Now().UnixNano(), Key: key, Cluster: cluster, Command: text})
	if err != nil {
		return nil, fmt.Errorf("the command is not given, since it cannot be entered in the audit record: %w", err)
	}
	result, err := c.give(ctx, cluster, command)
	outcome := cmp.Or(result.GetError(), catalog.AuditDone)
	if err != nil {
		outcome = err.Error()
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), endLimit)
	defer cancel()
	if err := c.cat.EndAudit(end, id, outcome); err != nil {
		c.log.Error("a command's outcome cannot be entered in the audit record", "entry", id, "outcome", outcome, "error", err)
	}
	return result, err
}

func (c *Control) give(ctx context.Context, cluster string, command *cloudv1.Command) (*cloudv1.CommandResult, error) {
	to, err := c.lookUp(ctx, cluster)
	if err != nil {
		return nil, err
	}
	data, err := proto.Marshal(command)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	ctx, cancel := context.WithTimeout(ctx, runLimit)
	defer cancel()
	answer, err := c.conn.RequestWithContext(ctx, to.subject, data)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return nil, fmt.Errorf("cluster %q: %w: its inspector has just gone", cluster, ErrNotConnected)
	case err != nil:
		return nil, fmt.Errorf("cluster %q: the inspector has not answered, so the command may have been carried out: %w", cluster, err)
	}
	result := &cloudv1.CommandResult{}
	if err := proto.Unmarshal(answer.Data, result); err != nil {
		return nil, fmt.Errorf("cluster %q: the inspector's answer is not understood: %w", cluster, err)
	}
	return result, nil
}

func (c *Control) lookUp(ctx context.Context, cluster string) (inspector, error) {
	found, err := c.find(ctx)
	if err != nil {
		return inspector{}, err
	}
	var named []inspector
	var names []string
	for _, i := range found {
		if i.cluster.GetName() == cluster {
			named = append(named, i)
		}
		names = append(names, i.cluster.GetName())
	}
	switch {
	case len(named) > 1:
		return inspector{}, fmt.Errorf("cluster %q: %w: the inspectors of the API keys %q and %q both call theirs so; give one another clusterName",
			cluster, ErrAmbiguous, named[0].key, named[1].key)
	case len(named) == 1:
		return named[0], nil
	case len(names) == 0:
		return inspector{}, fmt.Errorf("cluster %q: %w: no cluster has an inspector that is", cluster, ErrNotConnected)
	}
	return inspector{}, fmt.Errorf("cluster %q: %w: those that are: %s", cluster, ErrNotConnected, strings.Join(slices.Compact(names), ", "))
}
