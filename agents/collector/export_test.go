package collector

import (
	"bufio"
	"io"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
)

// Lines has a collector read a log as it comes from the API, without a cluster.
func (c *Collector) Lines(r io.Reader) {
	s := &stream{source: source{pod: &corev1.Pod{}}, limit: rate.NewLimiter(rate.Inf, 1)}
	for br := bufio.NewReaderSize(r, maxLine); ; {
		line, left, err := readLine(br)
		if len(line) > 0 {
			c.line(s, line, left)
		}
		if err != nil {
			return
		}
	}
}

// AwaitMasker is what Main waits for before it collects.
var AwaitMasker = awaitMasker
