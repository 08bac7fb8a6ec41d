# shellcheck shell=bash
# The end of a node: nothing of it is left, and nothing that it did not start is ended.

down() {
  local name
  for name in kubelet kube-proxy coredns metrics-server kube-scheduler kube-controller-manager; do stop $name; done
  stop_containers
  for name in containerd kube-apiserver etcd; do stop $name; done
  awk -v s="$state/" 'index($2, s) == 1 {print $2}' /proc/mounts | sort -r | while read -r m; do umount -l "$m" || true; done
  restore_host
  remove_cgroups
  rm -rf "$state"
}

# stop ends a component. The pid counts only while it still is the program that was started under it.
stop() { # NAME
  local pid; pid=$(cat "$state/pid/$1" 2>/dev/null) || return 0
  ours "$pid" || return 0
  kill "$pid" 2>/dev/null || true
  for _ in $(seq 40); do ours "$pid" || return 0; sleep 0.25; done
  kill -9 "$pid" 2>/dev/null || true
}

ours() { # PID
  case $(readlink "/proc/$1/exe") in "$bin"/*) return 0 ;; *) return 1 ;; esac
} 2>/dev/null

# stop_containers asks containerd, while it answers, and then ends what is left of the shims and their containers.
stop_containers() {
  local id
  if timeout 5 ctr -a "$state/containerd.sock" version >/dev/null 2>&1; then
    for id in $(containers tasks ls -q); do containers tasks kill -s 9 "$id" || true; done
    sleep 0.5
    for id in $(containers tasks ls -q); do containers tasks rm -f "$id" || true; done
    for id in $(containers containers ls -q); do containers containers rm "$id" || true; done
  fi >/dev/null 2>&1
  local pid
  for pid in $(pgrep -f "^$bin/containerd-shim-runc-v2 .*-address $state/containerd.sock"); do
    if ours "$pid"; then kill -9 "$pid" 2>/dev/null || true; fi
  done
  local bundle
  for bundle in "$state"/containerd/state/io.containerd.runtime.v2.task/k8s.io/*; do
    [ -f "$bundle/init.pid" ] || continue
    pid=$(<"$bundle/init.pid")
    # The pid counts only while it is of that container.
    if grep -qs "${bundle##*/}" "/proc/$pid/cgroup"; then kill -9 "$pid" 2>/dev/null || true; fi
    rm -rf "/run/containerd/runc/k8s.io/${bundle##*/}"
    sed -n 's#.*"address": *"unix://\([^"]*\)".*#\1#p' "$bundle/bootstrap.json" 2>/dev/null | xargs -r rm -f
  done
}

containers() { timeout 20 ctr -a "$state/containerd.sock" -n k8s.io "$@"; }

# The kubelet's groups are emptied by now; one that another kubelet fills cannot be removed.
remove_cgroups() {
  find /sys/fs/cgroup -depth -type d -path '*/kubepods*' -exec rmdir {} + 2>/dev/null || true
}
