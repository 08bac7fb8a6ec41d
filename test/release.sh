#!/bin/sh
# Installs what a release made as users do, and goes through the quick start with it.
# Usage: release.sh DIR VERSION, where DIR has a release's files. Needs curl, python3 and jq.
set -eu
dist=$(cd "$1" && pwd) version=$2
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
pids=
trap 'for p in $pids; do kill "$p" 2>/dev/null || true; done; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
failed=0

ok() { printf 'ok    %s\n' "$*"; }
skip() { printf 'SKIP  %s\n' "$*"; }
bad() {
	printf 'FAIL  %s\n' "$*"
	failed=1
}

# has NAME TEXT FILE: the file has the text.
has() {
	if grep -q -e "$2" "$3"; then
		ok "$1"
	else
		bad "$1: no \"$2\" in:"
		head -n 40 "$3"
	fi
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# until_listens PORT waits 30 s for a server.
until_listens() {
	for _ in $(seq 300); do
		curl -s -o /dev/null --max-time 5 "http://127.0.0.1:$1/" && return
		sleep 0.1
	done
	bad "nothing listens on port $1: $(cat "$work/out")"
	exit 1
}

# ---- what there is ----

(cd "$dist" && sha256sum --quiet -c checksums.txt) && ok "checksums of $(wc -l <"$dist/checksums.txt") files" || bad checksums
for os in linux darwin windows; do
	for arch in amd64 arm64; do
		ext=tar.gz binary=speedctl
		[ $os = windows ] && ext=zip binary=speedctl.exe
		archive=speedctl_${version}_${os}_$arch.$ext
		sbom=$dist/speedctl_${version}_${os}_$arch.cdx.json
		if [ ! -f "$dist/$archive" ] || [ ! -f "$sbom" ]; then
			bad "$archive or its SBOM is missing"
			continue
		fi
		case $ext in
		zip) python3 -m zipfile -l "$dist/$archive" | cut -d' ' -f1 ;;
		*) tar -tzf "$dist/$archive" ;;
		esac >"$work/list" || bad "$archive cannot be read"
		missing=
		for f in $binary LICENSE README.md completions/speedctl.bash completions/speedctl.zsh completions/speedctl.fish completions/speedctl.ps1 \
			completions/kubectl_complete-speedscale man/speedctl.1.gz man/speedctl-replay.1.gz; do
			grep -qx "$f" "$work/list" || missing="$missing $f"
		done
		[ -z "$missing" ] && ok "$archive" || bad "$archive has no$missing"
		found=$(jq -r '.components[] | select(.name == "github.com/spf13/cobra") | .purl' "$sbom")
		case $found in
		pkg:golang/github.com/spf13/cobra@v*) ok "SBOM of $os $arch: $(jq '.components | length' "$sbom") modules, $found" ;;
		*) bad "$sbom does not list cobra" ;;
		esac
	done
done

manifest=$dist/krew/speedscale.yaml
has "krew manifest" "bin: speedctl.exe" "$manifest"
sum=$(sha256sum <"$dist/speedctl_${version}_linux_amd64.tar.gz" | cut -d' ' -f1)
has "krew manifest: checksum" "sha256: $sum" "$manifest"
has "brew cask: checksum" "$sum" "$dist/homebrew/Casks/speedctl.rb"

[ "$(uname -sm)" = "Linux x86_64" ] || {
	skip "installing: this is not Linux on amd64"
	exit $failed
}

# ---- the quick start, with nothing but the archive ----

mkdir "$work/speedctl" "$work/home" "$work/coreutils"
tar -xzf "$dist/speedctl_${version}_linux_amd64.tar.gz" -C "$work/speedctl"
for c in sh cat cp ls mkdir rm sleep env; do ln -s "$(command -v $c)" "$work/coreutils/$c"; done
# clean takes the place of the shell that calls it, so that a signal reaches the command.
clean() {
	cd "$work/home"
	exec env -i HOME="$work/home" PATH="$work/speedctl:$work/coreutils" "$@"
}

(clean speedctl version) >"$work/out"
has "speedctl version" "^speedctl $version (" "$work/out"
(clean speedctl demo) >"$work/out" 2>&1 && ok "speedctl demo" || bad "speedctl demo: $(tail -n 20 "$work/out")"
has "speedctl demo finds the regression" "found the regression" "$work/out"

# A service, its dependency, and a new version of it that has lost a field.
cat >"$work/shop.py" <<'PY'
import http.server, json, socketserver, sys, urllib.request

port, version, prices = int(sys.argv[1]), sys.argv[2], sys.argv[3]

class Shop(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        doc = {"item": self.path.strip("/"), "version": 1}
        if version == "prices":
            doc = {"price": 12}
        elif version == "v1" and self.path != "/":
            doc |= json.load(urllib.request.urlopen(prices + self.path, timeout=10))
        body = json.dumps(doc).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass

# Not an HTTPServer, which asks for the name of its address, and waits where no DNS is.
socketserver.ThreadingTCPServer.daemon_threads = True
socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer(("127.0.0.1", port), Shop).serve_forever()
PY
python=$(python3 -c 'import sys; print(sys.executable)') # behind what wraps it
port=$(free_port) in=$(free_port) prices=$(free_port)
program() { # NAME VERSION
	printf '#!/bin/sh\nexec %s %s %s %s http://prices.test:%s\n' "$python" "$work/shop.py" "$port" "$2" "$prices" >"$work/speedctl/$1"
	chmod +x "$work/speedctl/$1"
}
program shop v1
program shop-new v2

"$python" "$work/shop.py" "$prices" prices - &
dependency=$! pids="$pids $!"
until_listens "$prices"
clean speedctl capture shop "$port" --in-port "$in" --out-port 0 --host-alias prices.test=127.0.0.1 -- shop >"$work/out" 2>&1 &
capture=$! pids="$pids $!"
until_listens "$port"
for item in apple pear plum; do
	curl -sf --max-time 10 "http://127.0.0.1:$in/$item" | grep -q '"price": 12' || bad "the captured service does not answer"
done
kill -TERM "$capture"
wait "$capture" || true # it has the code of an interrupt
kill "$dependency"
has "speedctl capture" "Captured 3 inbound and 3 outbound" "$work/out"
(clean speedctl create snapshot --name checkout --start 15m) >"$work/out" 2>&1 || bad "speedctl create snapshot"
has "speedctl create snapshot" "checkout" "$work/out"

# The dependency is away now.
clean speedctl mock checkout --out-port 0 -- shop >"$work/out" 2>&1 &
mock=$! pids="$pids $!"
until_listens "$port"
curl -s --max-time 10 "http://127.0.0.1:$port/pear" | grep -q '"price": 12' && ok "speedctl mock" || bad "speedctl mock"
kill -TERM "$mock"
wait "$mock" || true
has "speedctl mock says what it answered" "1 matched, 0 missed" "$work/out"

replay() { # NAME CODE
	code=0
	(clean speedctl replay checkout --test-against "http://127.0.0.1:$port" --out-port 0 --ignore Date -- "$1") >"$work/out" 2>&1 || code=$?
	[ "$code" = "$2" ] && ok "speedctl replay against $1 exits with $code" || bad "speedctl replay against $1 exits with $code, want $2: $(cat "$work/out")"
}
replay shop 0
replay shop-new 3
has "speedctl replay names the field" "price" "$work/out"
(clean speedctl get report latest --html report.html) >"$work/out" 2>&1 || bad "speedctl get report"
has "speedctl get report" "<html" "$work/home/report.html"

# ---- install.sh, from a server of this folder ----

web=$(free_port)
(cd "$dist" && exec python3 -c 'import http.server, socketserver, sys
socketserver.ThreadingTCPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()' "$web") >/dev/null 2>&1 &
pids="$pids $!"
until_listens "$web"
install() { HOME="$work/installed" SPEEDSCALE_URL="http://127.0.0.1:$web" "$@" sh "$root/install.sh"; }
mkdir "$work/installed"
install env >"$work/out" 2>&1 || bad "install.sh: $(cat "$work/out")"
has "install.sh" "^speedctl $version (" "$work/out"
"$work/installed/.speedscale/kubectl-speedscale" version >"$work/out"
has "install.sh: kubectl-speedscale" "$version" "$work/out"
install env SPEEDSCALE_INSTALL="$work/elsewhere" >/dev/null 2>&1
[ -x "$work/elsewhere/speedctl" ] && ok "install.sh into another folder" || bad "install.sh into another folder"
mkdir "$work/forged"
cp "$dist/checksums.txt" "$work/forged/"
head -c 1000000 "$dist/speedctl_${version}_linux_amd64.tar.gz" >"$work/forged/speedctl_${version}_linux_amd64.tar.gz"
if install env SPEEDSCALE_URL="file://$work/forged" SPEEDSCALE_INSTALL="$work/none" >"$work/out" 2>&1; then bad "install.sh takes a forged archive"; fi
has "install.sh refuses a forged archive" "nothing was installed" "$work/out"
[ ! -e "$work/none" ] || bad "install.sh left something of a forged archive"

# ---- the package of Debian ----

deb=$dist/speedctl_${version}_linux_amd64.deb
if [ "$(id -u)" != 0 ] || ! command -v dpkg >/dev/null; then
	skip "the package: needs Debian and root"
elif dpkg -s speedctl >/dev/null 2>&1; then
	skip "the package: speedctl is installed here already"
else
	dpkg -i "$deb" >"$work/out" 2>&1 || bad "dpkg -i: $(cat "$work/out")"
	/usr/bin/kubectl-speedscale version >"$work/out"
	has "dpkg -i" "$version" "$work/out"
	dpkg -L speedctl | while read -r f; do [ -d "$f" ] || echo "$f"; done >"$work/files"
	for f in /usr/bin/speedctl /usr/bin/kubectl_complete-speedscale /usr/share/man/man1/speedctl.1.gz /usr/share/bash-completion/completions/speedctl; do
		has "the package has $f" "^$f\$" "$work/files"
	done
	dpkg -P speedctl >"$work/out" 2>&1 || bad "dpkg -P: $(cat "$work/out")"
	left=
	while read -r f; do [ ! -e "$f" ] || left="$left $f"; done <"$work/files"
	[ -z "$left" ] && ok "dpkg -P leaves nothing" || bad "dpkg -P leaves$left"
fi
exit $failed
