#!/usr/bin/env bash
# Writes image archives of third-party servers and clients that tests run unchanged in pods:
#   servers.tar  speedscale-test/servers:1 has nginx, Node, Python and curl from Debian's packages, json-server from npm in
#                /srv/json-server, and go-httpbin from its Go module
#   web-N.tar    speedscale-test/web:N is nginx with the configuration nginx/N.conf
# The first is kept in a cache until this script or the lock file of npm changes. Usage: servers.sh FOLDER. Needs root, and
# debootstrap and npm, which `make` installs.
set -euo pipefail

out=${1:?usage: servers.sh FOLDER}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${KUBENODE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/kubenode}
key=$(cat "$0" "$here/npm/package-lock.json" | sha256sum | cut -c1-16)
kept=$cache/servers-$key
image() { "$here/../kubenode/kubenode" image "$@"; }

if [ ! -d "$kept" ]; then
  mkdir -p "$cache"
  root=$(mktemp -d "$cache/build-XXXXXX")
  trap 'rm -rf "$root" "$root".*' EXIT
  mirror=$(sed -n 's/^URIs: *//p; s/^deb \(\[[^]]*\] \)\?\([^ ]*\) .*/\2/p' /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | head -1 || true)
  debootstrap --variant=minbase --include=nginx-light,nodejs,python3,curl,openssl,ca-certificates \
    bookworm "$root" "${mirror:-http://deb.debian.org/debian}" >"$root.log" 2>&1 || { tail -5 "$root.log" >&2; exit 1; }
  rm -rf "$root.log" "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/usr/share/{doc,man,locale,info}
  mkdir -p "$root/srv/json-server"
  cp "$here"/npm/package*.json "$root/srv/json-server/"
  npm ci --silent --omit=dev --prefix "$root/srv/json-server"
  CGO_ENABLED=0 GOBIN="$root/usr/local/bin" go install github.com/mccutchen/go-httpbin/v2/cmd/go-httpbin@v2.26.0
  image --owners "$root" speedscale-test/servers:1 "$root.tar" /bin/sh
  # nginx alone, with the libraries that it needs.
  mkdir -p "$root.nginx/run" "$root.nginx/tmp"
  for path in /etc/nginx /etc/passwd /etc/group /etc/nsswitch.conf /usr/sbin/nginx /usr/lib/nginx /usr/share/nginx /var/lib/nginx /var/log/nginx \
    $(chroot "$root" ldd /usr/sbin/nginx | sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p; s/^[[:space:]]*\(\/lib[^ ]*\) .*/\1/p'); do
    mkdir -p "$root.nginx$(dirname "$path")"
    cp -aL "$root$path" "$root.nginx$path"
  done
  mkdir "$root.kept"
  mv "$root.tar" "$root.kept/servers.tar"
  mv "$root.nginx" "$root.kept/nginx"
  mv "$root.kept" "$kept"
fi
mkdir -p "$out"
cp "$kept/servers.tar" "$out/"
for version in 1 2; do
  cp "$here/nginx/$version.conf" "$kept/nginx/etc/nginx/nginx.conf"
  image "$kept/nginx" speedscale-test/web:$version "$out/web-$version.tar" /usr/sbin/nginx -g 'daemon off;'
done
