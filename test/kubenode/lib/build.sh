# shellcheck shell=bash
# The programs of the node, and the Debian packages that it uses.

build() {
  install_packages
  mkdir -p "$bin" "$cache/pause"
  build_image_tool
  local want; want=$(cat "$here"/{controlplane,runtime,dns}/go.mod "$here"/{controlplane,dns}/*.go "$here"/pause/pause.c "$here"/lib/build.sh | sha256sum)
  [ "$(cat "$bin/.built" 2>/dev/null)" != "$want" ] || return 0
  say "building Kubernetes, containerd, etcd and CoreDNS; the first time takes minutes"

  local version; version=$(awk '$1 == "k8s.io/kubernetes" {print $2; exit}' "$here/controlplane/go.mod")
  local v=k8s.io/component-base/version minor=${version#v1.}
  local flags="-X $v.gitVersion=$version -X $v.gitMajor=1 -X $v.gitMinor=${minor%%.*}"
  go_build controlplane "$bin/controlplane" "$flags" .
  for p in kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet metrics-server; do ln -sf controlplane "$bin/$p"; done
  # By itself, since it is started thousands of times. In older caches it is a link to controlplane, which must not be written to.
  rm -f "$bin/kubectl" && go_build controlplane "$bin/kubectl" "$flags" k8s.io/kubernetes/cmd/kubectl
  go_build dns "$bin/coredns" '' .
  go_build runtime "$bin/" '' github.com/containerd/containerd/v2/cmd/{containerd,containerd-shim-runc-v2,ctr}
  go_build runtime "$bin/etcd" '' go.etcd.io/etcd/server/v3
  gcc -static -Os -o "$cache/pause/pause" "$here/pause/pause.c"
  "$bin/image" --user 65535:65535 "$cache/pause" kubenode/pause:1 "$cache/pause.tar" /pause
  echo "$want" >"$bin/.built"
}

# What is built alike, here and for the product, is compiled once: see TestOneVersionOfEachDependency. With GOGC the compiler
# takes less time and more memory.
go_build() { # MODULE OUT LDFLAGS PACKAGE...
  local module=$1 out=$2 flags=$3; shift 3
  (cd "$here/$module" && GOGC=400 CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w $flags" -o "$out" "$@")
}

build_image_tool() {
  mkdir -p "$bin"
  (cd "$here" && CGO_ENABLED=0 go build -trimpath -buildvcs=false -o "$bin/image" ./image)
}

install_packages() {
  local missing=() want
  for want in runc iptables nft=nftables conntrack openssl curl gcc sysctl=procps ip=iproute2 flock=util-linux; do
    command -v "${want%%=*}" >/dev/null || missing+=("${want#*=}")
  done
  [ -x /usr/lib/cni/bridge ] || missing+=(containernetworking-plugins)
  [ -f /usr/include/stdlib.h ] || missing+=(libc6-dev)
  [ ${#missing[@]} -gt 0 ] || return 0
  command -v apt-get >/dev/null || die "install these first (Debian's names): ${missing[*]}"
  say "installing ${missing[*]}"
  # RUNLEVEL keeps the packages' services from starting.
  export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}
