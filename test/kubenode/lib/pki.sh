# shellcheck shell=bash
# Certificates, new for every node: one authority for servers and clients, one for the API server's aggregation layer.

pki() {
  mkdir -p "$state/pki"
  (
    umask 077
    cd "$state/pki" || exit
    authority ca
    authority front-proxy-ca
    openssl genrsa -out sa.key 2048 2>/dev/null
    local names=DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local
    issue ca apiserver /CN=kube-apiserver serverAuth "$names,IP:$node_ip,IP:$api_ip,IP:$node_ip6,IP:$api_ip6"
    issue ca kubelet-server /O=system:nodes/CN=system:node:kubenode serverAuth "DNS:kubenode,IP:$node_ip,IP:$node_ip6"
    issue ca apiserver-kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client clientAuth
    issue ca metrics-server /CN=metrics-server serverAuth DNS:metrics-server.kube-system.svc
    issue front-proxy-ca front-proxy-client /CN=front-proxy-client clientAuth
    credentials /O=system:masters/CN=admin "$KUBECONFIG"
    credentials /O=system:nodes/CN=system:node:kubenode kubelet.conf
    for name in kube-controller-manager kube-scheduler kube-proxy coredns metrics-server; do
      credentials "/CN=system:$name" "$name.conf"
    done
  )
}

authority() { # NAME
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 -subj "/CN=kubenode-$1" \
    -addext keyUsage=critical,keyCertSign,cRLSign -keyout "$1.key" -out "$1.crt" 2>/dev/null
}

issue() { # AUTHORITY NAME SUBJECT USAGE [ALTNAMES]
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 -subj "$3" -CA "$1.crt" -CAkey "$1.key" \
    -addext basicConstraints=critical,CA:false -addext keyUsage=critical,digitalSignature -addext "extendedKeyUsage=$4" \
    ${5:+-addext "subjectAltName=$5"} -keyout "$2.key" -out "$2.crt" 2>/dev/null
}

credentials() { # SUBJECT KUBECONFIG
  issue ca client "$1" clientAuth
  cat >"$2" <<E
apiVersion: v1
kind: Config
clusters: [{name: kubenode, cluster: {server: "https://$node_ip:6443", certificate-authority-data: $(base64 -w0 <ca.crt)}}]
users: [{name: kubenode, user: {client-certificate-data: $(base64 -w0 <client.crt), client-key-data: $(base64 -w0 <client.key)}}]
contexts: [{name: kubenode, context: {cluster: kubenode, user: kubenode}}]
current-context: kubenode
E
  rm client.crt client.key
}
