#!/bin/bash
# replay.sh [CALLS]: the same recorded loop served again by holdback and by mitmproxy's server replay: time and bytes on disk, with the
# limits we set ourselves (5 x faster, 20 x smaller). Everything happens in a scratch folder that goes away; mitmproxy is installed
# there from PyPI. Needs python3 with venv and a holdback binary (HOLDBACK, or target/release/holdback). Exit code 1: a limit was missed.
set -eu
CALLS=${1:-61}
ROUNDS=${ROUNDS:-5}
HERE=$(cd "$(dirname "$0")/../.." && pwd)
HOLDBACK=${HOLDBACK:-$HERE/target/release/holdback}
[ -x "$HOLDBACK" ] || { echo "no holdback at $HOLDBACK: build it, or set HOLDBACK" >&2; exit 2; }
HOLDBACK=$(realpath "$HOLDBACK")
SCRATCH=$(mktemp -d)
PIDS=()
trap 'for p in "${PIDS[@]:-}"; do [ -z "$p" ] || kill "$p" 2>/dev/null || true; done; rm -rf "$SCRATCH"' EXIT
cd "$SCRATCH"
unset HOLDBACK_STORE HOLDBACK_TOKEN OPENAI_BASE_URL http_proxy HTTP_PROXY https_proxy HTTPS_PROXY
python3 -m venv v
v/bin/pip install -q --disable-pip-version-check mitmproxy

# The loop: each request is the one before and 4 KiB more, over one connection, as agents ask. It notes how long it waited for answers.
cat > loop.py <<'PY'
import http.client, json, os, sys, time, urllib.parse
base, calls = urllib.parse.urlparse(os.environ["OPENAI_BASE_URL"]), int(sys.argv[1])
connection = http.client.HTTPConnection(base.hostname, base.port)
messages = [{"role": "system", "content": "Be kind. " * 4000}, {"role": "user", "content": "Go."}]
headers = {"content-type": "application/json", "authorization": "Bearer x"}
waited = 0.0
for n in range(calls):
    body = json.dumps({"model": "mock/echo", "messages": messages}).encode()
    begun = time.perf_counter()
    connection.request("POST", base.path + "/chat/completions", body, headers)
    answer = connection.getresponse()
    text = answer.read()
    waited += time.perf_counter() - begun
    if answer.status != 200:
        sys.exit(f"call {n + 1}: {answer.status} {text[:200]!r}")
    messages += [json.loads(text)["choices"][0]["message"], {"role": "user", "content": f"{n} " + "more " * 800}]
with open(os.environ.get("WAITED", os.devnull), "a") as file:
    print(f"{waited:.4f}", file=file)
PY

listening() {
    for _ in $(seq 300); do (echo > "/dev/tcp/127.0.0.1/$1") 2>/dev/null && return; sleep 0.1; done
    echo "nothing listens on $1" >&2; exit 4
}
port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
mitm() { v/bin/mitmdump -q --set confdir=conf "$@" > mitm.log 2>&1 & M=$!; PIDS+=("$M"); }
gone() { kill "$1"; wait "$1" 2>/dev/null || true; }
now() { date +%s.%N; }

# A provider: mock models behind our own proxy, for both alike.
"$HOLDBACK" --store elsewhere proxy --mock --listen 127.0.0.1:0 2> provider.log & PIDS+=($!)
for _ in $(seq 100); do grep -q http:// provider.log && break; sleep 0.1; done
UP=$(grep -o 'http://[0-9.:]*' provider.log | head -1)

# The same loop recorded by both.
P=$(port); mitm --mode "reverse:$UP" -p "$P" -w flows; listening "$P"
OPENAI_BASE_URL=http://127.0.0.1:$P/v1 python3 loop.py "$CALLS"
gone "$M"
OPENAI_BASE_URL=$UP/v1 "$HOLDBACK" --store store record -q --upstream "openai=$UP" -- python3 loop.py "$CALLS"
THEIR_BYTES=$(du -sb flows | cut -f1)
OUR_BYTES=$(find store/log -type f -printf '%s\n' | awk '{ sum += $1 } END { print sum }')

# And served again, in turns: from a cold start to the last answer.
TRACE=$("$HOLDBACK" --store store traces ls --json | python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["id"])')
for _ in $(seq "$ROUNDS"); do
    P=$(port); BEGUN=$(now)
    mitm -S flows --set server_replay_kill_extra=true --set server_replay_ignore_host=true --set server_replay_ignore_port=true \
        --set connection_strategy=lazy --mode reverse:http://127.0.0.1:9 -p "$P"
    listening "$P"
    OPENAI_BASE_URL=http://127.0.0.1:$P/v1 WAITED=their.waits python3 loop.py "$CALLS"
    echo "$BEGUN $(now)" >> their.walls
    gone "$M"
    BEGUN=$(now)
    WAITED=$SCRATCH/our.waits "$HOLDBACK" --store store replay "$TRACE" --in-place --json -- python3 loop.py "$CALLS" > replayed.json
    echo "$BEGUN $(now)" >> our.walls
done

python3 - "$CALLS" "$THEIR_BYTES" "$OUR_BYTES" <<'PY'
import statistics, sys
calls, theirs, ours = (int(word) for word in sys.argv[1:])
waits = lambda name: statistics.median(float(line) for line in open(name))
walls = lambda name: statistics.median(float(b) - float(a) for a, b in (line.split() for line in open(name)))
def line(what, their, our, unit, limit=None):
    ratio = their / our
    word = "" if limit is None else f"  limit {limit} x: {'met' if ratio >= limit else 'missed'}"
    print(f"{what:<34} {their:>12{unit}} {our:>12{unit}} {ratio:>7.1f} x{word}")
    return limit is None or ratio >= limit
print(f"{calls} calls, medians{'':<18} {'mitmproxy':>12} {'holdback':>12}   ratio")
good = [
    line("seconds waited for answers", waits("their.waits"), waits("our.waits"), ".4f", 5),
    line("seconds from cold start to the end", walls("their.walls"), walls("our.walls"), ".3f", 5),
    line("bytes on disk", theirs, ours, ",d", 20),
]
sys.exit(0 if all(good) else 1)
PY
