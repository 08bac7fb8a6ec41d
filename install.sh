#!/bin/sh
# Installs speedctl from its releases, for Linux and macOS, after its SHA-256 was compared.
#
#	curl -fsSL https://github.com/speedscale/speedscale/releases/latest/download/install.sh | sh
#
# SPEEDSCALE_VERSION  a version such as 1.2.3; the latest one without
# SPEEDSCALE_INSTALL  the folder that speedctl comes into; ~/.speedscale without
# SPEEDSCALE_URL      where a release's files are, a mirror for one
set -eu

# All is in a function, so that a script that was cut off on its way does nothing.
main() {
	version=${SPEEDSCALE_VERSION:-} dir=${SPEEDSCALE_INSTALL:-$HOME/.speedscale}
	releases=https://github.com/speedscale/speedscale/releases
	case $version in
	'') url=$releases/latest/download ;;
	*) url=$releases/download/v${version#v} ;;
	esac
	url=${SPEEDSCALE_URL:-$url}

	case $(uname -s) in
	Linux) os=linux ;;
	Darwin) os=darwin ;;
	*) fail "there is no speedctl for $(uname -s) here: see $releases" ;;
	esac
	case $(uname -m) in
	x86_64 | amd64) arch=amd64 ;;
	aarch64 | arm64) arch=arm64 ;;
	*) fail "there is no speedctl for $(uname -m): see $releases" ;;
	esac

	tmp=$(mktemp -d)
	trap 'rm -rf "$tmp"' EXIT
	trap 'exit 130' INT TERM
	fetch "$url/checksums.txt" "$tmp/checksums.txt"
	line=$(grep "^[0-9a-f]\{64\}  speedctl_.*_${os}_$arch\.tar\.gz\$" "$tmp/checksums.txt") ||
		fail "$url/checksums.txt has no archive for $os $arch"
	archive=${line#*  }
	fetch "$url/$archive" "$tmp/$archive"
	got=$(sha256 "$tmp/$archive")
	[ "$got" = "${line%%  *}" ] || fail "$archive has SHA-256 $got, want ${line%%  *}: nothing was installed"

	tar -xzf "$tmp/$archive" -C "$tmp" speedctl
	mkdir -p "$dir"
	# A speedctl that runs keeps its own file.
	mv "$tmp/speedctl" "$dir/.speedctl.new"
	mv "$dir/.speedctl.new" "$dir/speedctl"
	ln -sf speedctl "$dir/kubectl-speedscale"
	"$dir/speedctl" version
	case :$PATH: in
	*:"$dir":*) ;;
	*) echo "installed; add it to your PATH:  export PATH=\"\$PATH:$dir\"" ;;
	esac
}

fail() {
	echo "install: $*" >&2
	exit 1
}

fetch() { # URL FILE
	if command -v curl >/dev/null; then
		curl -fsSL --connect-timeout 10 --max-time 600 -o "$2" "$1" || fail "cannot get $1"
	elif command -v wget >/dev/null; then
		wget -q -T 60 -O "$2" "$1" || fail "cannot get $1"
	else
		fail "neither curl nor wget is here"
	fi
}

sha256() { # FILE
	if command -v sha256sum >/dev/null; then
		sha256sum "$1"
	else
		shasum -a 256 "$1"
	fi | cut -d' ' -f1
}

main
