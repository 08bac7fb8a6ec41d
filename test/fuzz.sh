#!/bin/sh
# Runs each fuzz target of the module for the given time, one after the other.
# Usage: fuzz.sh [TIME [PACKAGE…]]
set -eu
time=${1:-60s}
[ $# -gt 0 ] && shift
[ $# -gt 0 ] || set -- ./...
failed=0
ran=0
for pkg in $(go list "$@"); do
	dir=$(go list -f '{{.Dir}}' "$pkg")
	for target in $(grep -ho '^func Fuzz[A-Za-z0-9_]*' "$dir"/*_test.go 2>/dev/null | cut -d' ' -f2 | sort -u); do
		ran=$((ran + 1))
		printf '%s %s: ' "${pkg#github.com/speedscale/speedscale/}" "$target"
		if out=$(go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$pkg" 2>&1); then
			printf '%s\n' "$out" | grep 'fuzz: elapsed' | tail -n 1
		else
			failed=$((failed + 1))
			printf 'FOUND\n%s\n' "$out"
		fi
	done
done
echo "$((ran - failed)) passed, $failed failed"
[ "$failed" = 0 ]
