#!/bin/sh
# Runs each fuzz target of the module for the given time, one after the other.
set -eu
time=${1:-60s}
status=0
for pkg in $(go list ./...); do
	dir=$(go list -f '{{.Dir}}' "$pkg")
	for target in $(grep -ho '^func Fuzz[A-Za-z0-9_]*' "$dir"/*_test.go 2>/dev/null | cut -d' ' -f2 | sort -u); do
		printf '%s %s\n' "${pkg#github.com/speedscale/speedscale/}" "$target"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$pkg" | tail -n 2 || status=1
	done
done
exit $status
