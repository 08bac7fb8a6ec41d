#!/usr/bin/env bash
# Makes the rules that nodes of earlier runs left, and has them removed. Prints the packet filter and the kernel
# settings before and after. Runs in a network of its own.
set -euo pipefail
state=$1 node_ip=198.18.255.1 node_ip6=fd00:198:18::1
say() { echo "$*" >&2; }
die() { say "$@"; exit 1; }
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/../lib/host.sh"

show() {
  nft list ruleset 2>/dev/null
  sysctl net.ipv4.ip_forward net.ipv6.conf.all.forwarding
  ip -oneline link
}

iptables -A INPUT -p tcp --dport 22 -m comment --comment 'the "owner"' -j ACCEPT
show
prepare_host
for c in iptables ip6tables; do
  $c -t nat -N CNI-0123
  $c -t nat -A CNI-0123 -j ACCEPT
  $c -t nat -A POSTROUTING -m comment --comment 'name: "pods" id: "x"' -j CNI-0123
  $c -t nat -N CNI-HOSTPORT-DNAT
  $c -t nat -N CNI-DN-0123
  $c -t nat -A CNI-HOSTPORT-DNAT -j CNI-DN-0123
  $c -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
  $c -t nat -A OUTPUT -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
  $c -t mangle -N KUBE-KUBELET-CANARY
  $c -N KUBE-FIREWALL
  $c -A OUTPUT -j KUBE-FIREWALL
  $c -I INPUT -j KUBE-FIREWALL
done
nft 'add table ip kube-proxy; add chain ip kube-proxy services'
restore_host
echo ---
show
