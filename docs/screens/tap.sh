#!/bin/sh
# Captures the screens of speedctl tap, of real traffic of the demo's shop, into this folder.
# Needs bin/speedctl, curl and tmux.
set -eu
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
export SPEEDSCALE_HOME="$work/home" TMUX_TMPDIR="$work" LC_ALL=C.UTF-8 NO_COLOR=1
app=18471 in=18472
bin/speedctl demo-shop --listen "127.0.0.1:$app" >"$work/shop.log" 2>&1 &
shop=$!
bin/speedctl capture shop "$app" --in-port "$in" --out-port 0 --duration 3m >"$work/capture.log" 2>&1 &
capture=$!
trap 'tmux kill-server 2>/dev/null || true; kill -INT $capture $shop 2>/dev/null || true; wait; rm -rf "$work"' EXIT

for _ in $(seq 50); do
	curl -s -o /dev/null "http://127.0.0.1:$in/" && break
	sleep 0.2
done
traffic() {
	for i in 1 2 3; do
		curl -s -o /dev/null "http://127.0.0.1:$in/products/sku-$i"
		curl -s -o /dev/null "http://127.0.0.1:$in/orders/100$i"
	done
	curl -s -o /dev/null -H 'Content-Type: application/json' -H 'Authorization: Bearer of-nobody' \
		-d '{"sku":"tea","quantity":2,"card":"4111111111111111"}' "http://127.0.0.1:$in/orders"
}

# until TEXT: waits for it on the screen. save NAME: keeps the screen.
until_seen() {
	for _ in $(seq 100); do
		tmux capture-pane -p | grep -q -e "$1" && return
		sleep 0.1
	done
	echo "never seen: $1" >&2
	tmux capture-pane -p >&2
	exit 1
}
save() { tmux capture-pane -p | sed 's/ *$//' >"docs/screens/tap-$1-$size.txt"; }

for size in 80x24 140x40; do
	tmux -f /dev/null new-session -d -x "${size%x*}" -y "${size#*x}" bin/speedctl tap --service shop --start 0s
	until_seen '● live'
	traffic
	until_seen 'POST /orders'
	save list
	tmux send-keys / 'status IS "404" OR command IS "PO'
	until_seen 'has no end'
	save filter
	tmux send-keys 'ST"' Enter
	until_seen 'of 7 pairs'
	tmux send-keys G Enter
	until_seen 'JSON'
	save pair
	tmux send-keys q
	until_seen REQUEST
	tmux send-keys s
	until_seen 'name of the snapshot'
	tmux send-keys "orders-$size" Enter
	until_seen 'snapshot "orders'
	save snapshot
	tmux send-keys m
	until_seen MEAN
	save map
	tmux send-keys '?'
	until_seen Filters
	save help
	tmux kill-session
done
