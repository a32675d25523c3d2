#!/bin/sh
# The same work through holdback, promptfoo (npm) and Inspect AI (pip): single-call trials against a local server that answers at once,
# one check each. Prints one table with ratios. Everything is installed in a scratch folder outside the repository, kept between runs
# when PEERS_SCRATCH names one. Needs cargo, node with npm, and python3 with venv.
# usage: benches/peers/eval.sh [cargo flags, e.g. --no-default-features --features linked]
# PEERS_TRIALS (2000) for the peers, EVAL_TRIALS (10000) for holdback; HOLDBACK names a binary that is built already.
set -eu
cd "$(dirname "$0")/../.."
if [ -n "${PEERS_SCRATCH:-}" ]; then
  scratch=$PEERS_SCRATCH
  mkdir -p "$scratch"
else
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
fi
if [ ! -x "$scratch/venv/bin/inspect" ]; then
  python3 -m venv "$scratch/venv"
  "$scratch/venv/bin/pip" --quiet --disable-pip-version-check install inspect-ai openai
fi
if [ ! -x "$scratch/node_modules/.bin/promptfoo" ]; then
  npm install --silent --no-fund --no-audit --prefix "$scratch" promptfoo
fi
if [ -z "${HOLDBACK:-}" ]; then
  cargo build --release "$@"
  HOLDBACK=${CARGO_TARGET_DIR:-target}/release/holdback
fi
HOLDBACK=$(cd "$(dirname "$HOLDBACK")" && pwd)/$(basename "$HOLDBACK")
"$scratch/venv/bin/python" benches/peers/eval.py "$scratch" "$HOLDBACK"
