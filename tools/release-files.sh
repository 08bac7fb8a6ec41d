#!/bin/sh
# Puts what archives and packages have beside speedctl into bin/release: completions
# and manual pages. Usage: release-files.sh VERSION COMMIT-TIME, in seconds since 1970.
set -eu
cd "$(dirname "$0")/.."
case $1 in
*-dev.* | *dirty) ;;
*)
	# A speedctl installs the images that its charts name.
	for chart in charts/*/Chart.yaml; do
		if ! grep -qx "version: $1" "$chart" || ! grep -qx "appVersion: $1" "$chart"; then
			echo "$chart has another version or appVersion than $1" >&2
			exit 1
		fi
	done
	;;
esac
out=bin/release
rm -rf "$out"
mkdir -p "$out/completions" "$out/man"
cp completions/* "$out/completions/"
export CGO_ENABLED=0 SOURCE_DATE_EPOCH="$2"
go run -trimpath ./speedctl/man "$1" "$out/man"
gzip -9n "$out"/man/*.1
