package body_test

import (
	"bytes"
	"compress/flate"
	"errors"
	"io"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"

	"github.com/speedscale/speedscale/traffic/wire/body"
)

const limit = 1 << 20

var text = []byte(strings.Repeat("the same again, and again, ", 200))

func TestEncodedBodiesDecode(t *testing.T) {
	for _, coding := range []string{"", "identity", "gzip", "X-GZIP", "deflate", "br", "zstd", "gzip, br", "zstd,identity , gzip"} {
		for _, plain := range [][]byte{text, {}, {0}} {
			coded, err := body.Encode(coding, plain)
			if err != nil {
				t.Fatalf("Encode(%q): %v", coding, err)
			}
			got, err := body.Decode(coding, coded, limit)
			if err != nil || !bytes.Equal(got, plain) {
				t.Errorf("Decode(%q) of %d bytes: %d bytes, %v", coding, len(plain), len(got), err)
			}
		}
	}
}

func TestCommandsEncode(t *testing.T) {
	for coding, command := range map[string][]string{"gzip": {"gzip", "-c"}, "zstd": {"zstd", "-c"}} {
		path, err := exec.LookPath(command[0])
		if err != nil {
			t.Logf("%s is not installed", command[0])
			continue
		}
		cmd := exec.CommandContext(t.Context(), path, command[1:]...)
		cmd.Stdin = bytes.NewReader(text)
		coded, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := body.Decode(coding, coded, limit); err != nil || !bytes.Equal(got, text) {
			t.Errorf("%s: %d bytes, %v", command[0], len(got), err)
		}
	}
}

func TestPlainDeflateDecodes(t *testing.T) {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, 6)
	w.Write(text)
	w.Close()
	if got, err := body.Decode("deflate", b.Bytes(), limit); err != nil || !bytes.Equal(got, text) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestBombsAreBounded(t *testing.T) {
	for _, coding := range []string{"", "gzip", "deflate", "br", "zstd", "gzip, gzip"} {
		bomb, err := body.Encode(coding, make([]byte, 8<<20))
		if err != nil {
			t.Fatal(err)
		}
		got, err := body.Decode(coding, bomb, limit)
		if !errors.Is(err, body.ErrTooLarge) || len(got) > limit {
			t.Errorf("%q: %d bytes, %v; want ErrTooLarge", coding, len(got), err)
		}
		exact, _ := body.Encode(coding, make([]byte, limit))
		if got, err := body.Decode(coding, exact, limit); err != nil || len(got) != limit {
			t.Errorf("%q at the limit: %d bytes, %v", coding, len(got), err)
		}
	}
}

func TestCutBodiesGiveTheirBeginning(t *testing.T) {
	random := make([]byte, 100_000)
	for i := range random {
		random[i] = byte(rand.N(64))
	}
	for _, coding := range []string{"gzip", "deflate", "br", "zstd"} {
		coded, _ := body.Encode(coding, random)
		got, err := body.Decode(coding, coded[:len(coded)*9/10], limit)
		if err == nil || !bytes.HasPrefix(random, got) {
			t.Errorf("%q: %d bytes, %v; want a beginning and an error", coding, len(got), err)
		}
	}
}

func TestWrongCodings(t *testing.T) {
	for coding, want := range map[string]error{"compress": body.ErrUnsupported, "gzip, br, br, br, br": body.ErrUnsupported} {
		if _, err := body.Decode(coding, text, limit); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", coding, err, want)
		}
		if _, err := body.Encode(coding, text); !errors.Is(err, want) {
			t.Errorf("Encode %q: %v, want %v", coding, err, want)
		}
	}
	for _, coding := range []string{"gzip", "deflate", "br", "zstd"} {
		if _, err := body.Decode(coding, text, limit); err == nil || !strings.Contains(err.Error(), coding) {
			t.Errorf("plain text as %q: %v, want an error that names it", coding, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, coding := range []string{"gzip", "deflate", "br", "zstd", "gzip, br"} {
		coded, _ := body.Encode(coding, text)
		f.Add(coding, coded)
	}
	f.Fuzz(func(t *testing.T, coding string, b []byte) {
		got, err := body.Decode(coding, b, 10_000)
		if len(got) > 10_000 {
			t.Fatalf("%d bytes", len(got))
		}
		if err != nil && errors.Is(err, io.EOF) {
			return
		}
		if err == nil {
			again, err := body.Encode(coding, got)
			if err != nil {
				t.Fatal(err)
			}
			if back, err := body.Decode(coding, again, 10_000); err != nil || !bytes.Equal(back, got) {
				t.Fatalf("encoded again: %v", err)
			}
		}
	})
}
