package inspector

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
)

// command is one that was read, ready to be carried out.
type command func(context.Context) (output []byte, err error)

// decode reads a command. Those of a newer cloud are refused by what is known here.
func (i *Inspector) decode(data []byte) (name string, do command, err error) {
	if len(data) > maxCommand {
		return "unknown", nil, fmt.Errorf("the command has %d bytes, want at most %d", len(data), maxCommand)
	}
	var c cloudv1.Command
	if err := proto.Unmarshal(data, &c); err != nil {
		return "unknown", nil, errors.New("what was sent is not a command")
	}
	switch c := c.GetCommand().(type) {
	case *cloudv1.Command_Workloads:
		return "workloads", func(ctx context.Context) ([]byte, error) { return i.workloads(ctx, c.Workloads) }, nil
	case *cloudv1.Command_Events:
		return "events", func(ctx context.Context) ([]byte, error) { return i.events(ctx, c.Events) }, nil
	case *cloudv1.Command_Logs:
		return "logs", func(ctx context.Context) ([]byte, error) { return i.logs(ctx, c.Logs) }, nil
	case *cloudv1.Command_Injection:
		return "injection", func(ctx context.Context) ([]byte, error) { return i.setInjection(ctx, c.Injection) }, nil
	case *cloudv1.Command_StartReplay:
		return "start-replay", func(ctx context.Context) ([]byte, error) { return i.startReplay(ctx, c.StartReplay) }, nil
	case *cloudv1.Command_CancelReplay:
		return "cancel-replay", func(ctx context.Context) ([]byte, error) { return i.cancelReplay(ctx, c.CancelReplay) }, nil
	}
	return "unknown", nil, fmt.Errorf("the command is empty, or none that this inspector (version %s) knows", i.o.Version)
}

// commands are the names that decode returns.
func commands() []string {
	return []string{"workloads", "events", "logs", "injection", "start-replay", "cancel-replay", "unknown"}
}

// namespaces are those that a list of a namespace, or of all of them, has to ask for.
func (i *Inspector) namespaces(wanted string) []string {
	if wanted == "" && len(i.o.Namespaces) > 0 {
		return i.o.Namespaces
	}
	return []string{wanted}
}

// named refuses what names nothing, or a namespace that is not the inspector's. The
// API server says what is wrong with a name.
func (i *Inspector) named(what, namespace, name string) error {
	switch {
	case namespace == "":
		return fmt.Errorf("%s: the namespace is empty", what)
	case name == "":
		return fmt.Errorf("%s in namespace %q: the name is empty", what, namespace)
	case len(i.o.Namespaces) > 0 && !slices.Contains(i.o.Namespaces, namespace):
		return fmt.Errorf("%s %q: namespace %q is not one of %s, to which the chart's namespaceSelector bounds the inspector",
			what, name, namespace, strings.Join(i.o.Namespaces, ", "))
	}
	return nil
}

// explain makes an error fit for who sent the command.
func (i *Inspector) explain(err error) string {
	text := err.Error()
	switch {
	case apierrors.IsForbidden(err):
		text += " (the inspector's service account has no right to that)"
	case errors.Is(err, context.DeadlineExceeded):
		text += fmt.Sprintf(" (a command may take %s)", commandLimit)
	}
	return i.o.Masker.Text(text)
}
