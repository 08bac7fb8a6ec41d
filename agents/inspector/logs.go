package inspector

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"

	corev1 "k8s.io/api/core/v1"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
)

const (
	defaultLines = 100
	maxLines     = 10_000
	// maxRead bounds what is read of a log, in bytes, to find its end.
	maxRead = 16 << 20
)

// logs returns the last lines of a log, masked. Where they do not fit, the oldest are
// left out, and the first line says so.
func (i *Inspector) logs(ctx context.Context, c *cloudv1.GetLogs) ([]byte, error) {
	lines := int64(cmp.Or(c.GetLines(), defaultLines))
	if lines < 0 || lines > maxLines {
		return nil, fmt.Errorf("lines %d: want 1 to %d", lines, maxLines)
	}
	if err := i.named("pod", c.GetNamespace(), c.GetPod()); err != nil {
		return nil, err
	}
	body, err := i.o.Kube.CoreV1().Pods(c.GetNamespace()).GetLogs(c.GetPod(), &corev1.PodLogOptions{
		Container: c.GetContainer(), TailLines: &lines,
	}).Stream(ctx)
	if err != nil {
		return nil, fmt.Errorf("log of pod %s/%s: %w", c.GetNamespace(), c.GetPod(), err)
	}
	defer body.Close()
	text, err := io.ReadAll(io.LimitReader(body, maxRead+1))
	if err != nil {
		return nil, fmt.Errorf("log of pod %s/%s: %w", c.GetNamespace(), c.GetPod(), err)
	}
	if len(text) > maxRead {
		return nil, fmt.Errorf("the last %d lines have more than %d bytes: ask for fewer", lines, maxRead)
	}
	return last([]byte(i.o.Masker.Text(string(text)))), nil
}

// last returns as many of the last lines as an answer may have.
func last(text []byte) []byte {
	const room = maxOutput - 100 // for the line that says what is left out
	if len(text) <= maxOutput {
		return text
	}
	left := len(text) - room
	if n := bytes.IndexByte(text[left:], '\n'); n >= 0 {
		left += n + 1
	}
	return append(fmt.Appendf(nil, "[%d bytes of older lines are left out]\n", left), text[left:]...)
}
