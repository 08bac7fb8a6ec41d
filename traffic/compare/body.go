package compare

import (
	"bytes"
	"crypto/sha256"
	"fmt"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/jsondoc"
	"github.com/speedscale/speedscale/traffic/signature"
)

// cut compares bodies of which one is not whole: by length, and by the bytes that
// both have. They cannot be compared by path.
func (d *differ) cut(want, got *traffic.HTTPResponse) {
	n := min(len(want.Body), len(got.Body))
	sizeA, sizeB := max(want.BodySize, int64(len(want.Body))), max(got.BodySize, int64(len(got.Body)))
	switch {
	case !bytes.Equal(want.Body[:n], got.Body[:n]):
		d.bytes(want.Body[:n], got.Body[:n])
	case sizeA != sizeB:
		d.add(locBody, Changed, fmt.Sprintf("%d bytes", sizeA), fmt.Sprintf("%d bytes", sizeB))
	}
}

// body compares bodies whose bytes are not equal.
func (d *differ) body(want, got *traffic.HTTPResponse) {
	a, b := signature.Decoded(want.Headers, want.Body), signature.Decoded(got.Headers, got.Body)
	if bytes.Equal(a, b) {
		return
	}
	if signature.IsGRPC(want.Headers) && signature.IsGRPC(got.Headers) {
		listA, okA := signature.AppendGRPC(nil, want.Headers, want.Body)
		listB, okB := signature.AppendGRPC(nil, got.Headers, got.Body)
		if okA && okB {
			a, b = listA, listB
		}
	}
	if docA, errA := jsondoc.Parse(a); errA == nil {
		if docB, errB := jsondoc.Parse(b); errB == nil {
			d.documents(docA, docB)
			return
		}
	}
	d.bytes(a, b)
}

func (d *differ) documents(want, got *jsondoc.Node) {
	jsondoc.Diff(want, got, func(path string, a, b *jsondoc.Node) bool {
		if d.leavesOut(path, a) {
			return true
		}
		location := locBody + path
		if path != "" && path[0] != '[' {
			location = locBody + "." + path
		}
		return d.add(location, kindOf(a, b), raw(a), raw(b))
	})
}

func kindOf(a, b *jsondoc.Node) Kind {
	switch {
	case a == nil:
		return Added
	case b == nil:
		return Removed
	case a.Kind() != b.Kind():
		return TypeChanged
	}
	return Changed
}

func raw(n *jsondoc.Node) string {
	if n == nil {
		return ""
	}
	return string(n.Raw)
}

// leavesOut says whether a difference in JSON does not count.
func (d *differ) leavesOut(path string, recorded *jsondoc.Node) bool {
	r := d.c.rules.body
	switch {
	case recorded == nil && !r.refuseNew && !isElement(path):
		return true
	case d.c.ignore.Match(path) || r.ignore.Match(path):
		return true
	}
	return !r.include.Empty() && !r.include.Match(path)
}

// isElement says whether a path leads to an element of an array.
func isElement(path string) bool {
	n := len(path)
	return n > 2 && path[n-1] == ']' && '0' <= path[n-2] && path[n-2] <= '9'
}

// bytes compares bodies that are not JSON.
func (d *differ) bytes(want, got []byte) {
	if d.c.masked && maskedMatch(string(want), string(got)) {
		return
	}
	at := firstDifference(want, got)
	d.add(locBody, Changed, described(want, at), described(got, at))
}

func firstDifference(a, b []byte) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// described names a body and shows it from the first difference on.
func described(body []byte, at int) string {
	const shown = 48
	sum := sha256.Sum256(body)
	return fmt.Sprintf("%d bytes, sha256 %x…, from byte %d: %q", len(body), sum[:6], at, body[at:min(at+shown, len(body))])
}
