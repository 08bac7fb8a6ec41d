#!/usr/bin/env bash
# Runs the tests in a cluster, with the images of dist/images in it. Usage: run.sh WHERE VERSION [FLAG OF go test…]
#
#   node         a node of its own (test/kubenode), started here and ended afterwards; Linux, root
#   kind         the kind cluster that KUBECONFIG means; KIND_CLUSTER_NAME is kind's own variable
#   kubeconfig   the cluster that KUBECONFIG means; E2E_LOAD is a command that takes an archive and gives its image to that
#                cluster, without which the images are there already
#
# The test installs Speedscale and takes it away again: the cluster must be free of it, and one for tests.
set -euo pipefail

where=${1:?usage: run.sh WHERE VERSION} version=${2:?usage: run.sh WHERE VERSION}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
images=$here/../../dist/images
kubenode=$here/../kubenode/kubenode

case $where in
  node)
    export PATH="${KUBENODE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/kubenode}/bin:$PATH"
    environment=$("$kubenode" up)
    eval "$environment"
    trap '"$kubenode" down' EXIT
    "$kubenode" load "$images"/*.tar
    ;;
  kind) for archive in "$images"/*.tar; do kind load image-archive "$archive"; done ;;
  kubeconfig)
    : "${KUBECONFIG:?E2E=kubeconfig needs KUBECONFIG, of a cluster for tests}"
    if [ -n "${E2E_LOAD:-}" ]; then for archive in "$images"/*.tar; do $E2E_LOAD "$archive"; done; fi
    ;;
  *) echo "run.sh: $where: want node, kind or kubeconfig" >&2; exit 2 ;;
esac
cd "$here/../.."
# Tests that run side by side wait for the cluster half of the time; more of them would only be slower.
SPEEDSCALE_E2E_VERSION=$version CGO_ENABLED=0 "${GO:-go}" test -trimpath -count 1 -timeout 90m -parallel 6 -v ./test/kube "${@:3}"
