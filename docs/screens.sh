#!/bin/sh
# Captures the screens of speedctl, as a user sees them, into docs/screens/<name>-<size>.txt:
# a replay of the demo's snapshot, in tmux, at both sizes. Needs bin/speedctl and tmux.
# Those of a replay in a cluster are captured by test/kube, with SPEEDSCALE_SCREENS.
set -eu
cd "$(dirname "$0")/.."
command -v tmux >/dev/null || { echo "tmux is not installed" >&2; exit 1; }
out=docs/screens
dir=$(mktemp -d)
runs=0 # each in a tmux server of its own: one that is killed takes a while to go
tm() { tmux -u -f /dev/null -S "$dir/tmux-$runs" "$@"; }
trap 'tm kill-server 2>/dev/null || true; rm -rf "$dir"' EXIT
mkdir -p "$out"
export SPEEDSCALE_HOME="$dir/home" NO_COLOR=1
unset CI || true
PATH="$PWD/bin:$PATH"
speedctl demo --keep "$SPEEDSCALE_HOME" >/dev/null 2>&1

# shows TEXT: waits until the terminal shows it.
shows() {
	n=0
	until tm capture-pane -p | grep -q -- "$1"; do
		n=$((n + 1))
		[ "$n" -lt 200 ] || { echo "the terminal does not show $1:" >&2; tm capture-pane -p >&2; exit 1; }
		sleep 0.1
	done
}
press() { tm send-keys "$@"; }
capture() { tm capture-pane -p | sed 's/ *$//' >"$out/$1-$size.txt"; echo "$out/$1-$size.txt"; }
replay() {
	tm kill-server 2>/dev/null || true
	runs=$((runs + 1))
	tm new-session -d -x "${size%x*}" -y "${size#*x}" \
		"speedctl replay demo --test-against 127.0.0.1:18080 --ignore createdAt $2 -- speedctl demo-shop --listen 127.0.0.1:18080 --version $1; sleep 60"
}

for size in 80x24 140x40; do
	replay v2 '--rate 60 --for 14s --fail-if "requests.failed > 0" --fail-if "latency.p95 > 500"'
	shows '● generator'
	sleep 5
	capture replay-running
	press p
	shows 'view paused'
	capture replay-paused
	press p Enter
	shows 'Failing pair'
	capture replay-pair
	press Escape
	shows 'Failing endpoints'
	press c
	shows 'Cancel the replay'
	capture replay-cancel
	press n
	shows 'Missed Goals'
	capture replay-missed
	replay v1 '--rate 60 --for 4s'
	shows 'Passed'
	capture replay-passed
done
