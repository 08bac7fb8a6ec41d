# shellcheck shell=bash
# The node's components, in the order in which they need each other.

up() {
  mkdir -p "$state"/{log,pid,cni,volumes}
  touch "$state/hosts"
  prepare_host
  pki
  start etcd --data-dir "$state/etcd" --unsafe-no-fsync --listen-client-urls http://127.0.0.1:2379 \
    --advertise-client-urls http://127.0.0.1:2379 --listen-peer-urls http://127.0.0.1:2380
  start_apiserver
  start_containerd
  await kube-apiserver kubectl get --raw /readyz
  start kube-controller-manager --kubeconfig="$state/pki/kube-controller-manager.conf" --root-ca-file="$state/pki/ca.crt" \
    --service-account-private-key-file="$state/pki/sa.key" --use-service-account-credentials --leader-elect=false --bind-address=127.0.0.1
  start kube-scheduler --kubeconfig="$state/pki/kube-scheduler.conf" --leader-elect=false --bind-address=127.0.0.1
  start_kubelet
  start kube-proxy --kubeconfig="$state/pki/kube-proxy.conf" --hostname-override=kubenode --proxy-mode=nftables \
    --cluster-cidr="$(both "$pods" "$pods6")" --conntrack-max-per-core=0 --healthz-bind-address="$node_ip:10256"
  start_dns
  objects | kubectl apply -f - >/dev/null
  start_metrics
  await kubelet kubectl wait --for=condition=Ready node/kubenode --timeout=1s
  await kube-controller-manager kubectl get serviceaccount default
  echo "export KUBECONFIG=$KUBECONFIG"
}

start() { # NAME ARGUMENT...
  local name=$1; shift
  setsid nohup "$bin/$name" "$@" >"$state/log/$name.log" 2>&1 </dev/null 9>&- &
  echo $! >"$state/pid/$name"
}

await() { # NAME COMMAND...
  local name=$1; shift
  for _ in $(seq 240); do
    if "$@" >/dev/null 2>&1; then return; fi
    kill -0 "$(<"$state/pid/$name")" 2>/dev/null || break # at first it is still setsid's
    sleep 0.25
  done
  say "$name did not start; the end of its log:"
  tail -n 5 "$state/log/$name.log" >&2
  die "all logs are in $state/log; \"kubenode down\" ends what runs"
}

# both joins the values for IPv4 and IPv6, as flags of dual stack take them.
both() { if dual_stack; then echo "$1,$2"; else echo "$1"; fi; }

# A watch lasts for four hours: the one of a test that looks on must not end before the test. The audit log is one file
# to the end, since a test reads all of it.
start_apiserver() {
  local p=$state/pki
  start kube-apiserver --etcd-servers=http://127.0.0.1:2379 --bind-address="$node_ip" --advertise-address="$node_ip" --secure-port=6443 \
    --service-cluster-ip-range="$(both "$services" "$services6")" --allow-privileged=true \
    --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction \
    --tls-cert-file="$p/apiserver.crt" --tls-private-key-file="$p/apiserver.key" --client-ca-file="$p/ca.crt" \
    --service-account-issuer=https://kubernetes.default.svc \
    --service-account-key-file="$p/sa.key" --service-account-signing-key-file="$p/sa.key" \
    --kubelet-certificate-authority="$p/ca.crt" --kubelet-preferred-address-types=InternalIP \
    --kubelet-client-certificate="$p/apiserver-kubelet-client.crt" --kubelet-client-key="$p/apiserver-kubelet-client.key" \
    --requestheader-client-ca-file="$p/front-proxy-ca.crt" --requestheader-allowed-names=front-proxy-client \
    --requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group \
    --requestheader-extra-headers-prefix=X-Remote-Extra- \
    --proxy-client-cert-file="$p/front-proxy-client.crt" --proxy-client-key-file="$p/front-proxy-client.key" \
    --min-request-timeout=14400 \
    --audit-policy-file="$here/config/audit.yaml" --audit-log-path="$state/log/audit.log" --audit-log-maxsize=2000
}

start_containerd() {
  # restrict_oom_score_adj: a sandbox without CAP_SYS_RESOURCE cannot lower a process's OOM score.
  cat >"$state/containerd.toml" <<E
version = 3
root = "$state/containerd/root"
state = "$state/containerd/state"
[grpc]
  address = "$state/containerd.sock"
[plugins.'io.containerd.nri.v1.nri']
  disable = true
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "docker.io/kubenode/pause:1"
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ["/usr/lib/cni"]
  conf_dir = "$state/cni"
E
  local ranges="[{\"subnet\": \"$pods\"}]" routes='{"dst": "0.0.0.0/0"}'
  if dual_stack; then ranges+=", [{\"subnet\": \"$pods6\"}]" routes+=', {"dst": "::/0"}'; fi
  cat >"$state/cni/10-kubenode.conflist" <<E
{"cniVersion": "1.0.0", "name": "kubenode", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "$state/ipam", "ranges": [$ranges], "routes": [$routes]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
E
  start containerd --config "$state/containerd.toml"
  await containerd ctr -a "$state/containerd.sock" version
  load "$cache/pause.tar"
}

start_kubelet() {
  echo "nameserver $node_ip" >"$state/resolv.conf"
  cat >"$state/kubelet.yaml" <<E
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $node_ip
tlsCertFile: $state/pki/kubelet-server.crt
tlsPrivateKeyFile: $state/pki/kubelet-server.key
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $state/pki/ca.crt}}
authorization: {mode: Webhook}
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
makeIPTablesUtilChains: false
clusterDomain: cluster.local
clusterDNS: [$dns_ip]
resolvConf: $state/resolv.conf
containerRuntimeEndpoint: unix://$state/containerd.sock
evictionHard: {nodefs.available: "1%", imagefs.available: "1%", memory.available: "100Mi"}
imageGCHighThresholdPercent: 100
podLogsDir: $state/podlogs
E
  start kubelet --config="$state/kubelet.yaml" --kubeconfig="$state/pki/kubelet.conf" --hostname-override=kubenode \
    --node-ip="$(both "$node_ip" "$node_ip6")" --root-dir="$state/kubelet"
}

# CoreDNS runs beside the node's other components; pods reach it by the service kube-dns.
start_dns() {
  cat >"$state/Corefile" <<E
.:53 {
  bind $node_ip
  errors
  hosts $state/hosts {
    reload 1s
    fallthrough
  }
  kubernetes cluster.local in-addr.arpa ip6.arpa {
    kubeconfig $state/pki/coredns.conf
    pods insecure
  }
  template ANY ANY . {
    rcode NXDOMAIN
  }
}
E
  start coredns -conf "$state/Corefile"
}

# metrics-server serves metrics.k8s.io, some seconds after the kubelet has measured. It ends at once where it has no rights yet.
start_metrics() {
  local p=$state/pki
  start metrics-server --kubeconfig="$p/metrics-server.conf" --authentication-kubeconfig="$p/metrics-server.conf" \
    --authorization-kubeconfig="$p/metrics-server.conf" --bind-address="$node_ip" --secure-port=4443 \
    --tls-cert-file="$p/metrics-server.crt" --tls-private-key-file="$p/metrics-server.key" \
    --kubelet-certificate-authority="$p/ca.crt" --kubelet-preferred-address-types=InternalIP --kubelet-request-timeout=5s --metric-resolution=10s
}

# The cluster's own objects: DNS, metrics, and a default storage class whose few ready volumes on the node's disk stand in for
# a dynamic provisioner.
objects() {
  sed "s/NODE_IP/$node_ip/; s/DNS_IP/$dns_ip/; s/CA_BUNDLE/$(base64 -w0 <"$state/pki/ca.crt" | sed 's#/#\\/#g')/" "$here/config/objects.yaml"
  for i in 1 2 3 4 5 6 7 8; do
    mkdir -p "$state/volumes/$i"
    chmod 777 "$state/volumes/$i"
    cat <<E
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: volume-$i}
spec:
  capacity: {storage: 20Gi}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  storageClassName: standard
  local: {path: $state/volumes/$i}
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [kubenode]}]}]}}
E
  done
}

load() { # ARCHIVE...
  local archive out
  for archive; do
    out=$(ctr -a "$state/containerd.sock" -n k8s.io images import "$archive" 2>&1) || die "cannot load $archive: $out"
  done
}
