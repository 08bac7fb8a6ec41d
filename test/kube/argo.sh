#!/usr/bin/env bash
# Writes what a cluster needs for Argo Rollouts, from its Go module, which has the manifest beside the source:
#   argo-rollouts.tar   speedscale-test/argo-rollouts:1, its controller
#   argo-rollouts.yaml  the manifest of the project, with that image
# It has hundreds of dependencies and is built in some minutes; the result, of 95 MB, is kept in a cache until this script changes.
# Usage: argo.sh FOLDER
set -euo pipefail

out=${1:?usage: argo.sh FOLDER}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${KUBENODE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/kubenode}
kept=$cache/argo-rollouts-$(sha256sum <"$0" | cut -c1-16)
# The newest one that Go 1.26.8 builds: later ones ask for 1.26.10.
version=v1.10.1

if [ ! -d "$kept" ]; then
  mkdir -p "$cache"
  work=$(mktemp -d "$cache/build-XXXXXX")
  trap 'rm -rf "$work"' EXIT
  mkdir "$work/root" "$work/kept"
  module=$(cd "$work" && go mod download -json "github.com/argoproj/argo-rollouts@$version" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
  cp -r "${module:?the module is not to be had}" "$work/source"
  chmod -R u+w "$work/source"
  (cd "$work/source" && CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w' -o "$work/root/" ./cmd/rollouts-controller)
  "$here/../kubenode/kubenode" image --user 999:999 "$work/root" speedscale-test/argo-rollouts:1 "$work/kept/argo-rollouts.tar" /rollouts-controller
  sed 's#image: quay.io/argoproj/argo-rollouts:.*#image: docker.io/speedscale-test/argo-rollouts:1#; s/imagePullPolicy: Always/imagePullPolicy: Never/' \
    "$module/manifests/install.yaml" >"$work/kept/argo-rollouts.yaml"
  mv "$work/kept" "$kept"
fi
mkdir -p "$out"
cp "$kept/argo-rollouts.tar" "$kept/argo-rollouts.yaml" "$out/"
