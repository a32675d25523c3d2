#!/bin/sh
# The same calibration (2,000 splits of 50 tasks x 32 trials: Fisher-Holm, Gaffke, stratified permutation) in holdback and in
# numpy, one after the other on the same machine; prints both times and their ratio. Needs cargo and python3 with venv.
# usage: benches/peers/stats.sh [cargo flags, e.g. --no-default-features --features linked]
set -eu
cd "$(dirname "$0")/../.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 -m venv "$scratch/venv"
"$scratch/venv/bin/pip" --quiet --disable-pip-version-check install numpy
cargo bench "$@" --bench stats --no-run
cargo bench "$@" --bench stats -- 'calibrate/' | sed -n 's/^.*time: */holdback   /p'
target=${CARGO_TARGET_DIR:-target}
"$scratch/venv/bin/python" benches/peers/stats.py "$target/criterion/calibrate/2000_splits_50_tasks_32_trials/new/estimates.json"
