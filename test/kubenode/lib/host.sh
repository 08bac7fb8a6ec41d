# shellcheck shell=bash
# What the node changes of the machine: links, kernel settings and packet filter rules. restore_host takes it back.

# Kernel settings that the node's components change.
settings=(net.ipv4.ip_forward net.ipv6.conf.all.forwarding vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops
  kernel.keys.root_maxkeys kernel.keys.root_maxbytes net.netfilter.nf_conntrack_max
  net.netfilter.nf_conntrack_tcp_timeout_established net.netfilter.nf_conntrack_tcp_timeout_close_wait)

# Folders that components make outside the node's own.
folders=(/run/containerd /var/lib/cni /var/lib/kubelet /var/log/containers)

prepare_host() {
  if other_kubelet; then die "a kubelet that is not ours runs on this machine; end it first"; fi
  if ipv6_works; then
    families="IPv4 IPv6"
  else
    families=IPv4
    say "this machine has no usable IPv6 (or KUBENODE_IPV6=0): the node has IPv4 only"
  fi
  echo "$families" >"$state/families"
  packet_filter >"$state/packetfilter.before"
  local folder
  for folder in "${folders[@]}"; do [ -d "$folder" ] || echo "$folder"; done >"$state/folders.new"
  local key
  for key in "${settings[@]}"; do sysctl -e "$key" 2>/dev/null || true; done >"$state/sysctl.before"

  sysctl -qw net.ipv4.ip_forward=1
  # A bridge and not a dummy device, which small kernels lack.
  ip link add kube0 type bridge
  ip addr add "$node_ip/32" dev kube0
  if dual_stack; then
    accept_routes_while_forwarding
    sysctl -qw net.ipv6.conf.all.forwarding=1
    ip -6 addr add "$node_ip6/128" dev kube0 nodad
  fi
  ip link set kube0 up
}

dual_stack() { [ "$families" != IPv4 ]; }

# A machine that forwards no longer takes its routes from router advertisements, unless told so.
accept_routes_while_forwarding() {
  local file key
  for file in /proc/sys/net/ipv6/conf/*/accept_ra; do
    [ "$(<"$file")" = 1 ] || continue
    key=${file#/proc/sys/}
    echo "$key = 1" >>"$state/sysctl.before"
    echo 2 >"$file"
  done
}

ipv6_works() {
  [ "${KUBENODE_IPV6:-1}" != 0 ] && [ -e /proc/net/if_inet6 ] && [ "$(sysctl -n net.ipv6.conf.all.disable_ipv6 2>/dev/null)" = 0 ] &&
    [ "$(sysctl -n net.ipv6.conf.default.disable_ipv6 2>/dev/null)" = 0 ] &&
    nft -c 'add table ip6 kubenode; add chain ip6 kubenode nat { type nat hook postrouting priority 100; }' 2>/dev/null
}

# Two kubelets in one network would undo each other's rules; one in a container of its own is fine.
other_kubelet() {
  local pid
  for pid in $(pgrep -x kubelet; pgrep -x k3s-server); do
    if [ "$(readlink "/proc/$pid/ns/net")" = "$(readlink /proc/self/ns/net)" ]; then return 0; fi
  done
  return 1
}

restore_host() {
  local link family
  for link in cni0 kube0; do ip link delete $link 2>/dev/null || true; done
  if other_kubelet; then
    say "a kubelet that is not ours runs on this machine: packet filter rules are left as they are"
  else
    for family in ip ip6; do nft delete table $family kube-proxy 2>/dev/null || true; done
    purge_rules iptables ip
    purge_rules ip6tables ip6
  fi
  remove_files
  if [ -f "$state/sysctl.before" ]; then
    # What belongs to a link or module that is gone cannot be set any more.
    sysctl -qep "$state/sysctl.before" 2>/dev/null || true
  fi
}

# Removes what components wrote outside the node's own folder, and the folders that were made for it.
remove_files() {
  local file id
  for file in /var/lib/cni/results/kubenode-*-eth0; do
    [ -f "$file" ] || continue
    id=${file#*/kubenode-}
    rm -f "$file" "/var/lib/cni/results/cni-loopback-${id%-eth0}-lo"
  done
  other_kubelet || rm -f /var/lib/kubelet/device-plugins/kubelet.sock
  find /var/log/containers -lname "$state/*" -delete 2>/dev/null || true
  [ -f "$state/folders.new" ] || return 0
  while read -r file; do find "$file" -depth -type d -empty -delete 2>/dev/null || true; done <"$state/folders.new"
}

# Removes the rules and chains of CNI plugins and of any kube-proxy or kubelet, those of earlier runs too, and the
# empty base chains and tables that iptables made for them.
purge_rules() { # COMMAND FAMILY
  command -v "$1" >/dev/null || return 0
  local table chain
  for table in nat filter mangle raw security; do
    if "$1" --version | grep -q nf_tables && ! packet_filter | grep -x "$2 $table" >/dev/null; then continue; fi
    purge_table "$1" $table
    for chain in $(nft list table "$2" $table 2>/dev/null | empty_chains); do
      was_there "$2 $table $chain" || nft delete chain "$2" $table "$chain"
    done
    if ! packet_filter | grep "^$2 $table " >/dev/null && ! was_there "$2 $table"; then nft delete table "$2" $table; fi
  done
}

# packet_filter lists tables and chains, as "FAMILY TABLE" and "FAMILY TABLE CHAIN".
packet_filter() { nft list ruleset 2>/dev/null | awk '$1 == "table" { t = $2 " " $3; print t } $1 == "chain" { print t, $2 }'; }

was_there() { grep -qx "$1" "$state/packetfilter.before" 2>/dev/null; }

# empty_chains prints the base chains of a listed table that have no rule and accept.
empty_chains() {
  awk '$1 == "chain" { chain = $2; accepts = rules = 0; next }
    / policy accept;$/ { accepts = 1; next }
    $1 == "}" { if (chain && accepts && !rules) print chain; chain = ""; next }
    { rules++ }'
}

purge_table() { # COMMAND TABLE
  local rules; rules=$("$1" -t "$2" -S 2>/dev/null) || return 0
  local chain number chains
  # Rules of other chains that lead to theirs, by number and from the last, so that the numbers stay true.
  awk '$1 == "-A" { n[$2]++; if ($0 ~ / -[jg] (CNI|KUBE)-/ && $2 !~ /^(CNI|KUBE)-/) print n[$2], $2 }' <<<"$rules" | sort -rn |
    while read -r number chain; do "$1" -w -t "$2" -D "$chain" "$number"; done
  chains=$(sed -nE 's/^-N ((CNI|KUBE)-.*)/\1/p' <<<"$rules")
  for chain in $chains; do "$1" -w -t "$2" -F "$chain"; done
  for chain in $chains; do "$1" -w -t "$2" -X "$chain"; done
}
