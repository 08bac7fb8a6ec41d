package traffic

import (
	"context"
	"errors"
	"io"

	tea "github.com/charmbracelet/bubbletea"
)

// Run shows the screen on a terminal until the user leaves it or ctx ends. feed tells it
// of pairs with show, and returns when there are no more; it is told to end by its
// context. What it fails with is shown; Run returns it, too.
func Run(ctx context.Context, o Options, in io.Reader, out io.Writer, feed func(ctx context.Context, show func(Arrived)) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m, err := New(ctx, o)
	if err != nil {
		return err
	}
	program := tea.NewProgram(m, tea.WithContext(ctx), tea.WithInput(in), tea.WithOutput(out), tea.WithAltScreen(), tea.WithoutSignalHandler())
	fed := make(chan error, 1)
	go func() {
		err := feed(ctx, func(a Arrived) { program.Send(a) })
		if err != nil && ctx.Err() == nil {
			program.Send(Failed{err})
		}
		fed <- err
	}()
	_, err = program.Run()
	ended := ctx.Err() // not because of the user
	cancel()
	feedErr := <-fed
	switch {
	case ended != nil:
		return ended
	case err != nil && !errors.Is(err, tea.ErrProgramKilled):
		return err
	case errors.Is(feedErr, context.Canceled):
		return nil
	}
	return feedErr
}
