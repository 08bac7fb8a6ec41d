#!/bin/sh
# Installs the Debian packages that tests need, where they are missing and we may;
# says what is missing where we may not. Usage: deps.sh [COMMAND=]PACKAGE…
# A package with a command is installed only where that command is missing.
set -eu
missing=
for want in "$@"; do
	package=${want#*=}
	if [ "$package" != "$want" ]; then
		command -v "${want%%=*}" >/dev/null 2>&1 || missing="$missing $package"
	elif ! dpkg -s "$package" >/dev/null 2>&1; then
		missing="$missing $package"
	fi
done
[ -z "$missing" ] && exit 0
if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
	echo "NOT INSTALLED, so their tests are skipped:$missing" >&2
	exit 0
fi
echo "installing:$missing" >&2
# RUNLEVEL keeps the packages' services from starting.
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
apt-get update -qq
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $missing >/dev/null
