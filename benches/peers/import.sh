#!/bin/bash
# import.sh [MEGABYTES] [SPANS]: the same transcripts through holdback and ccusage, the same OTLP spans into holdback and Phoenix, in
# one run. ccusage comes from npm, Phoenix from PyPI, both into a scratch folder that goes away. Needs node, python3 with venv, curl
# and a holdback binary (HOLDBACK, or target/release/holdback). PHOENIX=python and CCUSAGE=program take what is installed already.
set -eu
MEGABYTES=${1:-200} SPANS=${2:-100000}
HERE=$(cd "$(dirname "$0")/../.." && pwd)
HOLDBACK=${HOLDBACK:-$HERE/target/release/holdback}
[ -x "$HOLDBACK" ] || { echo "no holdback at $HOLDBACK: build it, or set HOLDBACK" >&2; exit 2; }
SCRATCH=$(mktemp -d)
PIDS=()
trap 'for p in "${PIDS[@]:-}"; do [ -z "$p" ] || kill "$p" 2>/dev/null || true; done; wait; rm -rf "$SCRATCH"' EXIT
cd "$SCRATCH"
port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
wait_for() { for _ in $(seq 600); do (echo > "/dev/tcp/127.0.0.1/$1") 2>/dev/null && return; sleep 0.1; done; echo "nothing listens on $1" >&2; exit 4; }
now() { date +%s.%N; }
since() { python3 -c 'import sys, time; print(f"{time.time() - float(sys.argv[1]):.2f}")' "$1"; }
rate() { python3 -c 'import sys; print(f"{float(sys.argv[1]) / max(float(sys.argv[2]), 1e-9):,.0f}")' "$1" "$2"; }
# Seconds and most memory of a command; what it prints goes to the file `out`.
timed() { python3 - "$@" <<'PY'
import resource, subprocess, sys, time
began = time.time()
done = subprocess.run(sys.argv[1:], stdout=open("out", "w"), stderr=open("err", "w"))
if done.returncode:
    sys.exit(open("err").read())
print(f"{time.time() - began:.2f} {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024}")
PY
}

echo "== transcripts: $MEGABYTES MB"
python3 "$HERE/benches/peers/import_transcripts.py" claude/projects/-work "$MEGABYTES"
cat claude/projects/-work/* > /dev/null
CCUSAGE=${CCUSAGE:-}
if [ -z "$CCUSAGE" ]; then
  # Its program is an optional dependency, which some npm settings leave out.
  NATIVE=@ccusage/ccusage-$(node -p 'process.platform + "-" + process.arch')
  npm i --silent --no-audit --no-fund ccusage "$NATIVE" > npm.log 2>&1 && CCUSAGE=$PWD/node_modules/.bin/ccusage || { echo "ccusage does not install:"; tail -3 npm.log; }
fi
totals() { python3 -c 'import json, sys; t = json.load(open(sys.argv[1]))["totals"]; print(t["inputTokens"], t["outputTokens"], t["cacheReadTokens"], t["cacheCreationTokens"])' "$1"; }
ours() { python3 -c '
import json, sys
done = json.load(open(sys.argv[1]))
print(*(sum(one["tally"]["usage"].get(key) or 0 for one in done) for key in ("input", "output", "cache_read", "cache_write")))' "$1"; }
for round in 1 2 3; do
  if [ -n "$CCUSAGE" ]; then
    read -r SECONDS_ MEMORY < <(CLAUDE_CONFIG_DIR=$PWD/claude timed "$CCUSAGE" claude daily --json --offline)
    echo "ccusage   $SECONDS_ s, $(rate "$MEGABYTES" "$SECONDS_") MB/s, $MEMORY MB: counts only; tokens $(totals out)"
  fi
  rm -rf store
  read -r SECONDS_ MEMORY < <(timed "$HOLDBACK" --store store import claude/projects --json)
  echo "holdback  $SECONDS_ s, $(rate "$MEGABYTES" "$SECONDS_") MB/s, $MEMORY MB: kept, redacted; tokens $(ours out); store $(du -sm store | cut -f1) MB"
done

echo "== OTLP: $SPANS spans, 500 a request, 4 connections"
PHOENIX=${PHOENIX:-}
if [ -z "$PHOENIX" ]; then
  python3 -m venv v && v/bin/pip install -q --disable-pip-version-check arize-phoenix > pip.log 2>&1 && PHOENIX=$PWD/v/bin/python || { echo "Phoenix does not install:"; tail -3 pip.log; }
fi
send() { python3 "$HERE/benches/peers/import_spans.py" "$1" "$SPANS" 2> sent; }
P=$(port); "$HOLDBACK" --store spans otlp --listen "127.0.0.1:$P" --grpc "127.0.0.1:$(port)" 2> otlp.log & PIDS+=($!); OURS=$!
wait_for "$P"
SECONDS_=$(send "http://127.0.0.1:$P")
echo "holdback  $SECONDS_ s, $(rate "$SPANS" "$SECONDS_") spans/s, all on disk when acknowledged ($(cat sent))"
kill "$OURS"; wait "$OURS" 2>/dev/null || true
if [ -n "$PHOENIX" ]; then
  P=$(port)
  PHOENIX_WORKING_DIR=$PWD/phoenix PHOENIX_HOST=127.0.0.1 PHOENIX_PORT=$P PHOENIX_GRPC_PORT=$(port) PHOENIX_TELEMETRY_ENABLED=false \
    "$PHOENIX" -m phoenix.server.main serve > phoenix.log 2>&1 & PIDS+=($!)
  wait_for "$P"
  BEGAN=$(now)
  SECONDS_=$(send "http://127.0.0.1:$P")
  echo "phoenix   $SECONDS_ s, $(rate "$SPANS" "$SECONDS_") spans/s acknowledged from memory ($(cat sent))"
  held() { curl -s "http://127.0.0.1:$P/graphql" -H 'content-type: application/json' -d '{"query":"{projects{edges{node{recordCount}}}}"}' \
    | python3 -c 'import json, sys; print(sum(one["node"]["recordCount"] for one in json.load(sys.stdin)["data"]["projects"]["edges"]))' 2>/dev/null || echo 0; }
  # It takes them in at its own pace: a minute of it is enough to tell.
  for _ in $(seq 120); do [ "$(held)" -ge "$SPANS" ] && break; sleep 0.5; done
  SECONDS_=$(since "$BEGAN")
  echo "phoenix   $SECONDS_ s, $(rate "$(held)" "$SECONDS_") spans/s into its database ($(held) of them)"
fi
