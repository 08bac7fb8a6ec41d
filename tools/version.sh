#!/bin/sh
# Prints the version of this source tree, which everything made of it has:
#
#	X.Y.Z                            on the tag vX.Y.Z
#	0.0.0-dev.COMMITS.gHASH          on any other commit
#	…-dirty, or ….dirty              where tracked files differ from it
#
# Each is SemVer 2.0.0, which Helm, Debian and RPM packages need, and a tag of an image
# as it is: there is no "+" in it, which those cannot have.
set -eu
cd "$(dirname "$0")/.."
if ! hash=$(git rev-parse --short=9 HEAD 2>/dev/null); then
	echo 0.0.0-dev # an unpacked source archive
	exit
fi
if tag=$(git describe --tags --exact-match --match 'v[0-9]*.[0-9]*.[0-9]*' 2>/dev/null); then
	version=${tag#v}
else
	version=0.0.0-dev.$(git rev-list --count HEAD).g$hash
fi
if [ -n "$(git status --porcelain --untracked-files=no)" ]; then
	case $version in
	*-*) version=$version.dirty ;;
	*) version=$version-dirty ;;
	esac
fi
echo "$version"
