package goproxy

import (
	"strings"
	"testing"
)

const columns = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"

func TestOthersIn(t *testing.T) {
	const (
		ours     = "   0: 00000000:102F 00000000:0000 0A 00000000:00000000 00:00000000 00000000  2102        0 2821330 2 00000000c165ce98 100 0 0 10 0\n"
		app      = "   1: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 2821331 1 00000000756ebf86 100 0 0 10 0\n"
		root     = "  12: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 77 1 0000000000000000 100 0 0 10 0\n"
		timeWait = "   2: 0100007F:1F90 0100007F:D431 06 00000000:00000000 03:0000176F 00000000     0        0 0 3 0000000000000000\n"
	)
	for name, tt := range map[string]struct {
		list string
		want bool
	}{
		"nothing":                {"", false},
		"no sockets":             {columns, false},
		"our own":                {columns + ours + ours, false},
		"one that is over":       {columns + timeWait, false},
		"the app's":              {columns + ours + app, true},
		"root's, by IPv6":        {columns + timeWait + ours + root, true},
		"a line that is cut off": {columns + strings.TrimSuffix(ours, "\n") + "\n" + app[:40], false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := othersIn([]byte(tt.list), 2102); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func FuzzOthersIn(f *testing.F) {
	f.Add([]byte(columns + "0: 1:1 0:0 0A 0:0 0:0 0 2102 0 9 2 0 100\n"))
	f.Fuzz(func(t *testing.T, list []byte) {
		if othersIn(list, 2102) && len(list) < len("\na a a a a a a 1 a 1") {
			t.Errorf("found a socket in %q", list)
		}
	})
}
