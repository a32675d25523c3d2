#!/bin/sh
# The same calls through holdback, mitmproxy and LiteLLM's proxy, all recording, one after the other on this machine, against the
# bench's own fast upstream. Prints one table with ratios. Needs cargo and python3 with venv; the two are installed by pip into a
# scratch folder that is gone afterwards. HOLDBACK_BENCH_CALLS=N calls each (500).
# usage: benches/peers/proxy.sh [cargo flags, e.g. --no-default-features --features linked]
set -eu
cd "$(dirname "$0")/../.."
scratch=$(mktemp -d)
running=
stop() {
    for id in $running; do kill "$id" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$scratch"
}
trap stop EXIT
trap 'exit 130' INT TERM

# Their dependencies don't agree with each other, so each has a home of its own.
for tool in mitmproxy litellm; do
    python3 -m venv "$scratch/$tool"
done
"$scratch/mitmproxy/bin/pip" --quiet --disable-pip-version-check install mitmproxy
"$scratch/litellm/bin/pip" --quiet --disable-pip-version-check install 'litellm[proxy]'
cargo bench "$@" --bench proxy --no-run

free() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
upstream=$(free) mitm=$(free) lite=$(free)

"$scratch/mitmproxy/bin/mitmdump" --quiet --mode "reverse:http://127.0.0.1:$upstream" --listen-host 127.0.0.1 \
    --listen-port "$mitm" --set confdir="$scratch/mitm" --save-stream-file "$scratch/flows" >"$scratch/mitmproxy.log" 2>&1 &
running="$running $!"
cat >"$scratch/litellm.yaml" <<END
model_list:
  - model_name: gpt-x
    litellm_params: {model: openai/gpt-x, api_base: "http://127.0.0.1:$upstream/v1", api_key: none}
litellm_settings: {telemetry: false, num_retries: 0}
END
# It fetches a table of prices from the network at its start unless told that the one it brings will do, and wants a key of its
# own unless told that only this machine asks.
LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY=true LITELLM_LOCAL_MODEL_COST_MAP=True LITELLM_LOG=ERROR \
    "$scratch/litellm/bin/litellm" --config "$scratch/litellm.yaml" \
    --host 127.0.0.1 --port "$lite" >"$scratch/litellm.log" 2>&1 &
running="$running $!"

for port in $mitm $lite; do
    python3 - "$port" <<'END' || { tail -n 20 "$scratch"/*.log >&2; exit 4; }
import socket, sys, time
for _ in range(1500):
    try:
        socket.create_connection(("127.0.0.1", int(sys.argv[1])), 1).close()
        sys.exit(0)
    except OSError:
        time.sleep(0.2)
sys.exit("nobody listens at port " + sys.argv[1])
END
done

HOLDBACK_BENCH_CALLS=${HOLDBACK_BENCH_CALLS:-500} HOLDBACK_BENCH_PORT=$upstream \
    HOLDBACK_BENCH_PEERS="mitmproxy=127.0.0.1:$mitm,LiteLLM=127.0.0.1:$lite" cargo bench "$@" --quiet --bench proxy
ls -l "$scratch/flows" | awk '{ print "mitmproxy wrote " $5 " bytes of flows" }'
