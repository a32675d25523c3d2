#!/bin/sh
# Runs fuzz targets: scripts/fuzz.sh SECONDS [TARGET...], all of them when none is named, JOBS (2) at a time.
# Corpora, crashes and logs go to FUZZ_OUT (fuzz/out). A crash ends its own target only; the last lines tell how each went.
set -eu
cd "$(dirname "$0")/.."
seconds=${1:?usage: scripts/fuzz.sh SECONDS [TARGET...]}
shift
out=${FUZZ_OUT:-$PWD/fuzz/out}
host=$(rustc +nightly -vV | sed -n 's/^host: //p')
bin=${CARGO_TARGET_DIR:-$PWD/fuzz/target}/$host/release
# The importers hold no unsafe code, so a sanitizer would only slow them down.
[ -n "${NO_BUILD:-}" ] || cargo +nightly fuzz build -s none
[ $# -gt 0 ] || set -- $(cargo +nightly fuzz list)

export seconds out bin
one='
  target=$0
  mkdir -p "$out/corpus/$target" "$out/crashes"
  for seed in fuzz/seeds/import/"$target".*; do [ ! -f "$seed" ] || cp "$seed" "$out/corpus/$target/"; done
  case $target in
    detect) cp fuzz/seeds/import/* "$out/corpus/$target/" ;;
    otlp-listen) cp fuzz/seeds/import/otlp.* "$out/corpus/$target/" ;;
    provider_*) for kind in exchanges openai-chunks gemini-script; do cp fuzz/seeds/import/$kind.* "$out/corpus/$target/"; done ;;
  esac
  # The words of a format, so that its fields are soon found.
  cat "$out/corpus/$target"/*.* 2>/dev/null | LC_ALL=C grep -aoE "\"[A-Za-z_][A-Za-z0-9_.:-]*\"" | sort -u > "$out/$target.dict" || true
  code=0
  "$bin/$target" "$out/corpus/$target" -dict="$out/$target.dict" -max_total_time="$seconds" -timeout=25 -rss_limit_mb=2048 \
    -max_len=16384 -artifact_prefix="$out/crashes/$target-" -print_final_stats=1 > "$out/$target.log" 2>&1 || code=$?
  runs=$(sed -n "s/^stat::number_of_executed_units: *//p" "$out/$target.log")
  cov=$(grep -aoE "cov: [0-9]+" "$out/$target.log" | tail -1)
  echo "$target: exit $code, ${runs:-?} executions, ${cov:-?}" | tee -a "$out/summary"
  [ $code -eq 0 ]
'
printf '%s\n' "$@" | xargs -P "${JOBS:-2}" -I{} sh -c "$one" {}
