#!/usr/bin/env bash
# Puts the demo and a Java runtime of only what it uses into a root file system for an image.
# Usage: image.sh ROOT. Needs a JDK of at least 17, such as Debian's openjdk-17-jdk-headless.
set -euo pipefail

root=${1:?usage: image.sh ROOT}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
jdk=${JAVA_HOME:-$(dirname "$(dirname "$(readlink -f "$(command -v javac)")")")}
classes=$(mktemp -d)
trap 'rm -rf "$classes"' EXIT

mkdir -p "$root"
root=$(cd "$root" && pwd)
rm -rf "$root/java"
mkdir -p "$root/tmp"
chmod 1777 "$root/tmp"
"$jdk/bin/javac" --release 17 -Xlint:all -Werror -d "$classes" "$here"/src/module-info.java "$here"/src/demo/*.java
"$jdk/bin/jlink" --module-path "$classes:$jdk/jmods" --add-modules demo,jdk.crypto.ec \
  --no-header-files --no-man-pages --strip-java-debug-attributes --output "$root/java"

# The JVM's own libraries, and those of the system that they need, each in its place.
while read -r lib; do
  mkdir -p "$root$(dirname "$lib")"
  cp -L "$lib" "$root$lib"
done < <(find "$root/java" -name '*.so' -o -path '*/bin/java' | xargs ldd 2>/dev/null |
  sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p; s/^[[:space:]]*\(\/lib[^ ]*\) .*/\1/p' | grep -v "^$root" | sort -u)
# A name service that asks files and then DNS.
mkdir -p "$root/etc"
printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
