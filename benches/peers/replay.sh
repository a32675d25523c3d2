#!/bin/bash
# replay.sh [CALLS]: the same recorded loop served again by holdback and by mitmproxy's server replay: wall time and bytes on disk.
# Everything happens in a scratch folder that goes away; mitmproxy is installed there from PyPI. Needs python3 with venv, curl and
# a holdback binary (HOLDBACK, or target/release/holdback).
set -eu
CALLS=${1:-61}
HERE=$(cd "$(dirname "$0")/../.." && pwd)
HOLDBACK=${HOLDBACK:-$HERE/target/release/holdback}
[ -x "$HOLDBACK" ] || { echo "no holdback at $HOLDBACK: build it, or set HOLDBACK" >&2; exit 2; }
SCRATCH=$(mktemp -d)
PIDS=()
trap 'for p in "${PIDS[@]:-}"; do [ -z "$p" ] || kill "$p" 2>/dev/null || true; done; rm -rf "$SCRATCH"' EXIT
cd "$SCRATCH"
python3 -m venv v && v/bin/pip install -q --disable-pip-version-check mitmproxy

# The loop: each request is the one before and 4 KiB more.
cat > loop.py <<'PY'
import json, os, sys, urllib.request
base, calls = os.environ["OPENAI_BASE_URL"], int(sys.argv[1])
messages = [{"role": "system", "content": "Be kind. " * 4000}, {"role": "user", "content": "Go."}]
for n in range(calls):
    body = json.dumps({"model": "mock/echo", "messages": messages}).encode()
    request = urllib.request.Request(base + "/chat/completions", body, {"content-type": "application/json", "authorization": "Bearer x"})
    answer = json.load(urllib.request.urlopen(request))
    messages += [answer["choices"][0]["message"], {"role": "user", "content": f"{n} " + "more " * 800}]
PY

"$HOLDBACK" --store elsewhere proxy --mock --listen 127.0.0.1:0 2> provider.log & PIDS+=($!)
for _ in $(seq 50); do grep -q http:// provider.log && break; sleep 0.1; done
UP=$(grep -o 'http://[0-9.:]*' provider.log | head -1)

port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
wait_for() { for _ in $(seq 100); do (echo > "/dev/tcp/127.0.0.1/$1") 2>/dev/null && return; sleep 0.1; done; echo "nothing listens on $1" >&2; exit 4; }
timed() { python3 - "$@" <<'PY'
import subprocess, sys, time
t = time.time(); subprocess.run(sys.argv[1:], check=True); print(f"{time.time() - t:.3f}")
PY
}

P=$(port); v/bin/mitmdump -q --mode "reverse:$UP" -p "$P" -w flows --set confdir=conf & PIDS+=($!); M=$!
wait_for "$P"; OPENAI_BASE_URL=http://127.0.0.1:$P/v1 python3 loop.py "$CALLS"; kill "$M"; wait "$M" 2>/dev/null || true
OPENAI_BASE_URL=$UP/v1 "$HOLDBACK" --store store record -q --upstream "openai=$UP" -- python3 loop.py "$CALLS"

P=$(port); v/bin/mitmdump -q -S flows --set server_replay_kill_extra=true --mode "reverse:http://127.0.0.1:9" -p "$P" --set confdir=conf & PIDS+=($!)
wait_for "$P"
export OPENAI_BASE_URL=http://127.0.0.1:$P/v1
THEIRS=$(timed python3 loop.py "$CALLS")
unset OPENAI_BASE_URL
OURS=$(timed "$HOLDBACK" --store store replay last --in-place -- python3 loop.py "$CALLS" | tail -1)
echo "calls      $CALLS"
echo "mitmproxy  ${THEIRS} s for the loop, $(du -sb flows | cut -f1) bytes"
echo "holdback   ${OURS} s with starting and the loop, $(du -sb store/log | cut -f1) bytes (two traces by now)"
