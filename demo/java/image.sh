#!/usr/bin/env bash
# Puts the demo and a Java runtime of only what it uses into a root file system for an image.
# Usage: image.sh ROOT [ARCH]. Needs a JDK of at least 17, such as Debian's openjdk-17-jdk-headless. For an architecture other
# than this machine's (amd64, arm64) it takes that JDK's modules and libraries from Debian's packages, by apt.
set -euo pipefail

root=${1:?usage: image.sh ROOT [ARCH]}
case $(uname -m) in x86_64) here_arch=amd64 ;; aarch64 | arm64) here_arch=arm64 ;; *) here_arch=$(uname -m) ;; esac
arch=${2:-$here_arch}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
jdk=${JAVA_HOME:-$(dirname "$(dirname "$(readlink -f "$(command -v javac)")")")}
jmods=$jdk/jmods
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Packages of another architecture, unpacked and not installed: apt has a state of its own for them.
if [ "$arch" != "$here_arch" ]; then
  feature=$(sed -n 's/^JAVA_VERSION="\([0-9]*\).*/\1/p' "$jdk/release")
  mkdir -p "$work"/{state/lists,cache/archives}/partial "$work/debs" "$work/system"
  apt() {
    (cd "$work/debs" && apt-get -qq -o Dir::State="$work/state" -o Dir::Cache="$work/cache" -o Dir::State::status=/dev/null \
      -o APT::Architecture="$arch" -o APT::Architectures="$arch" -o APT::Sandbox::User=root "$@")
  }
  apt update
  apt download "openjdk-$feature-jdk-headless" "openjdk-$feature-jre-headless" libc6 libgcc-s1 libstdc++6 zlib1g
  for deb in "$work"/debs/*.deb; do dpkg-deb -x "$deb" "$work/system"; done
  jmods=$work/system/usr/lib/jvm/java-$feature-openjdk-$arch/jmods
fi

mkdir -p "$root"
root=$(cd "$root" && pwd)
rm -rf "$root/java"
mkdir -p "$root/tmp"
chmod 1777 "$root/tmp"
"$jdk/bin/javac" --release 17 -Xlint:all -Werror -d "$work/classes" "$here"/src/module-info.java "$here"/src/demo/*.java
"$jdk/bin/jlink" --module-path "$work/classes:$jmods" --add-modules demo,jdk.crypto.ec \
  --no-header-files --no-man-pages --strip-java-debug-attributes --output "$root/java"

# The JVM's own libraries, and those of the system that they need, each in its place. ldd has the dynamic linker say which,
# and those of another architecture cannot be asked: all of these few packages are taken.
if [ "$arch" = "$here_arch" ]; then
  while read -r lib; do
    mkdir -p "$root$(dirname "$lib")"
    cp -L "$lib" "$root$lib"
  done < <(find "$root/java" -name '*.so' -o -path '*/bin/java' | xargs ldd 2>/dev/null |
    sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p; s/^[[:space:]]*\(\/lib[^ ]*\) .*/\1/p' | grep -v "^$root" | sort -u)
else
  mkdir -p "$root/lib"
  find "$work/system" -path '*-linux-gnu/*' -name 'l*.so*' ! -name '*.py' ! -path '*/jvm/*' ! -path '*/gconv/*' ! -path '*/audit/*' -exec cp -L {} "$root/lib/" \;
  linker=$(readelf -l "$root/java/bin/java" | sed -n 's/.*interpreter: \(.*\)]/\1/p')
  mkdir -p "$root$(dirname "$linker")"
  [ -e "$root$linker" ] || cp "$root/lib/$(basename "$linker")" "$root$linker"
fi
# A name service that asks files and then DNS.
mkdir -p "$root/etc"
printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
