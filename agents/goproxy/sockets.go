package goproxy

import (
	"bytes"
	"os"
	"strconv"
)

// socketsOfOthers says whether a process of another user has a TCP or UDP socket in this
// network namespace, by the kernel's lists (proc(5)). Where they cannot be read nobody
// has. goproxy is the only process of its user in a pod, or else the pod's other ones of
// that user are not seen.
func socketsOfOthers() bool {
	own := os.Getuid()
	for _, list := range []string{"tcp", "tcp6", "udp", "udp6"} {
		text, err := os.ReadFile("/proc/self/net/" + list)
		if err == nil && othersIn(text, own) {
			return true
		}
	}
	return false
}

// othersIn reads one list. A socket without an inode belongs to no process any more, such
// as one in TIME_WAIT.
func othersIn(list []byte, own int) bool {
	_, list, _ = bytes.Cut(list, []byte("\n")) // the names of the columns
	for line := range bytes.Lines(list) {
		const uidColumn, inodeColumn = 7, 9
		fields := bytes.Fields(line)
		if len(fields) <= inodeColumn || string(fields[inodeColumn]) == "0" {
			continue
		}
		if uid, err := strconv.Atoi(string(fields[uidColumn])); err == nil && uid != own {
			return true
		}
	}
	return false
}
