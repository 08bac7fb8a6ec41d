#!/bin/sh
# Prints how long "version" of a speedctl and of kubectl take, started in turn, and the
# packages of speedctl whose initialisation takes most. Nothing fails by it: times of a
# busy machine say little by themselves, their ratio more.
set -eu
speedctl=$1 runs=${2:-20}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

took() { # NAME COMMAND...: adds a line of microseconds
	name=$1 from=$(date +%s%N)
	shift
	"$@" >/dev/null 2>&1
	echo $((($(date +%s%N) - from) / 1000)) >>"$dir/$name"
}
kubectl=$(command -v kubectl || true)
for _ in $(seq "$runs"); do
	took speedctl "$speedctl" version
	[ -z "$kubectl" ] || took kubectl "$kubectl" version --client
done
for name in speedctl kubectl; do
	[ ! -f "$dir/$name" ] || sort -n "$dir/$name" | awk -v name=$name '{t[NR] = $1} END {printf "%-9s min %.1f ms  median %.1f ms\n", name, t[1] / 1000, t[int((NR + 1) / 2)] / 1000}'
done
if [ -n "$kubectl" ]; then
	paste "$dir/speedctl" "$dir/kubectl" | awk '{print $1 / $2}' | sort -n |
		awk '{t[NR] = $1} END {printf "ratio     median %.2f (speedctl / kubectl, run by run)\n", t[int((NR + 1) / 2)]}'
else
	echo "no kubectl in the PATH: nothing to compare with"
fi
echo "initialisation of packages, ms (least of five runs):"
for _ in 1 2 3 4 5; do
	GODEBUG=inittrace=1 "$speedctl" version 2>&1 >/dev/null | awk '/^init / {print $2, $5}'
done | awk '{if (!($1 in t) || $2 < t[$1]) t[$1] = $2} END {for (p in t) {printf "%8.2f  %s\n", t[p], p; all += t[p]}; printf "%8.2f  all\n", all}' | sort -rn | head -8
