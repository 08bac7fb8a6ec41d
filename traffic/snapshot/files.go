package snapshot

import "github.com/speedscale/speedscale/traffic"

// Files names the files of the snapshot that are there, snapshot.json first.
func (s *Snapshot) Files() []string {
	names := []string{MetaFile}
	for _, n := range []string{RawFile, ActionsFile, ReactionsFile} {
		if s.has(n) {
			names = append(names, n)
		}
	}
	return names
}

// Intended says whether the pairs were left out because somebody asked for that.
func (l *Loss) Intended() bool {
	switch l.Reason {
	case traffic.ReasonFiltered, traffic.ReasonSampled, traffic.ReasonReplay:
		return true
	}
	return false
}
