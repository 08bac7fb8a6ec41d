#!/bin/sh
# Pushes image archives as images of several architectures, by crane.
# Usage: push.sh DIR REGISTRY VERSION, where DIR/ARCH/COMPONENT.tar are the archives, and
# REGISTRY is as in image.registry of the charts, such as ghcr.io/speedscale. Each
# component becomes REGISTRY/COMPONENT:VERSION, and :VERSION-ARCH of each architecture.
set -eu
cd "$(dirname "$0")/.."
dir=$1 registry=${2:?push.sh DIR REGISTRY VERSION} version=$3
PATH=$PWD/bin:$PATH
layout=$(mktemp -d)
trap 'rm -rf "$layout"' EXIT
trap 'exit 130' INT TERM

pushed=0
for component in $(cd "$dir" && ls ./*/*.tar | sed 's,.*/,,; s,\.tar$,,' | sort -u); do
	image=$registry/$component:$version
	set --
	for arch in "$dir"/*/; do
		arch=$(basename "$arch")
		mkdir "$layout/image"
		# One without an architecture that the others have is not pushed at all.
		tar -xf "$dir/$arch/$component.tar" -C "$layout/image"
		crane push "$layout/image" "$image-$arch" >/dev/null
		rm -rf "$layout/image"
		set -- "$@" -m "$image-$arch"
	done
	crane index append "$@" -t "$image"
	pushed=$((pushed + 1))
done
[ "$pushed" -gt 0 ] || {
	echo "push: no archives in $dir: make release-images writes them" >&2
	exit 1
}
