package term

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"
)

// Confirm asks a question that y answers with yes, and all else with no. Where there
// is nobody to ask, the error says which flag answers it.
func (w *World) Confirm(ctx context.Context, question, flag string) error {
	if !w.InTTY || !w.ErrTTY {
		return WithCode(WithHint(errors.New("not confirmed: standard input is not a terminal"), flag+" answers yes"), ExitUsage)
	}
	w.mu.Lock()
	w.clear()
	fmt.Fprintf(w.Err, "%s [y/N] ", question)
	w.mu.Unlock()
	answer := make(chan string, 1)
	go func() { // ends with the process, where nobody answers
		line, _ := bufio.NewReader(w.In).ReadString('\n') // none is no
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case a := <-answer:
		if a == "y" || a == "yes" {
			return nil
		}
		return WithCode(errors.New("not confirmed: nothing was done"), ExitCanceled)
	}
}
