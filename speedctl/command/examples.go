package command

// notRun annotates a command with the reason why no test runs its examples, or those of
// them that are named, on one machine without a cluster. All others are run by a test.
func notRun(reason string, lines ...string) map[string]string {
	if len(lines) == 0 {
		return map[string]string{"not-run": reason}
	}
	all := map[string]string{}
	for _, line := range lines {
		all["not-run: "+line] = reason
	}
	return all
}
