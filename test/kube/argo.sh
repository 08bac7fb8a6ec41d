#!/usr/bin/env bash
# Writes what a cluster needs for Argo Rollouts, from its Go module, which has the manifest beside the source:
#   argo-rollouts.tar   speedscale-test/argo-rollouts:1, its controller
#   argo-rollouts.yaml  the manifest of the project, with that image
# argo/go.mod has the version, with the Kubernetes libraries of the test node, so that most of what the controller is made of
# is compiled already. The result, of 95 MB, is kept in a cache until one of the two files changes.
# Usage: argo.sh FOLDER
set -euo pipefail

out=${1:?usage: argo.sh FOLDER}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${KUBENODE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/kubenode}
kept=$cache/argo-rollouts-$(cat "$0" "$here/argo/go.mod" | sha256sum | cut -c1-16)

if [ ! -d "$kept" ]; then
  mkdir -p "$cache"
  work=$(mktemp -d "$cache/build-XXXXXX")
  trap 'rm -rf "$work"' EXIT
  mkdir "$work/root" "$work/kept"
  cd "$here/argo"
  GOGC=400 CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w' -o "$work/root/" github.com/argoproj/argo-rollouts/cmd/rollouts-controller
  "$here/../kubenode/kubenode" image --user 999:999 "$work/root" speedscale-test/argo-rollouts:1 "$work/kept/argo-rollouts.tar" /rollouts-controller
  sed 's#image: quay.io/argoproj/argo-rollouts:.*#image: docker.io/speedscale-test/argo-rollouts:1#; s/imagePullPolicy: Always/imagePullPolicy: Never/' \
    "$(go list -m -f '{{.Dir}}' github.com/argoproj/argo-rollouts)/manifests/install.yaml" >"$work/kept/argo-rollouts.yaml"
  mv "$work/kept" "$kept"
  cd - >/dev/null
fi
mkdir -p "$out"
cp "$kept/argo-rollouts.tar" "$kept/argo-rollouts.yaml" "$out/"
