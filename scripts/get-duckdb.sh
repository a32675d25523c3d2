#!/bin/sh
# Fetches the prebuilt DuckDB library and prints the folder that holds it.
#
#   scripts/get-duckdb.sh            prints the folder, exit 0; or says why not on stderr, exit 1
#
# It comes from the npm package that DuckDB's own Node binding ships, by the ordinary npm client, checked against the
# pinned sha-512; without npm, from DuckDB's release archive. DUCKDB_LIB_DIR, when set, is taken as it is.
set -eu
VERSION=1.5.5
NPM_VERSION=1.5.5-r.5

say() { echo "get-duckdb: $*" >&2; }

if [ -n "${DUCKDB_LIB_DIR:-}" ]; then
  printf '%s\n' "$DUCKDB_LIB_DIR"
  exit 0
fi

case "$(uname -s)-$(uname -m)" in
  Linux-x86_64)
    npm=linux-x64 lib=libduckdb.so archive=libduckdb-linux-amd64.zip
    integrity=kCyq6BXhn6QXfwF8yVdVKriSSHP+rfVWcJ56cG8qZzlOZpxyvT5WGm6jMshxg4ditLlOsHsIN/D47RYrcjXuHQ== ;;
  Linux-aarch64 | Linux-arm64)
    npm=linux-arm64 lib=libduckdb.so archive=libduckdb-linux-arm64.zip
    integrity=CafH2AIvXtpwDynG3KB/4uEOHRGlFoB7auCRMIwH3BKNIobsANV5LSpDJ3tfyRCFIsK6e8AT1eseWVnu2Dv3cw== ;;
  Darwin-arm64)
    npm=darwin-arm64 lib=libduckdb.dylib archive=libduckdb-osx-universal.zip
    integrity=WJdeLTFy4pRg60rkbp9smtlP1iIQ8ErtIJkxS+2LQtM1ZZMSByyW+3WPpNoKe7IwPtVl2fLlPw7tDmQW4Z974g== ;;
  Darwin-x86_64)
    npm=darwin-x64 lib=libduckdb.dylib archive=libduckdb-osx-universal.zip
    integrity=rN0KjX13MwVQ5V5ufykolty/tf4SaafOpGWcUA1Cegf98jPeRdsJsEE1IMXn8n3u6WvMSZEVJmHJ3ma4Hr7Vzg== ;;
  *) say "no prebuilt DuckDB $VERSION is known for $(uname -s) $(uname -m)"; exit 1 ;;
esac

root=$(cd "$(dirname "$0")/.." && pwd)
dir=${CARGO_TARGET_DIR:-$root/target}/duckdb-$VERSION
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
if [ -f "$dir/$lib" ]; then
  printf '%s\n' "$dir"
  exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# from_npm: `npm pack` fetches, the pinned sha-512 decides.
from_npm() {
  command -v npm > /dev/null 2>&1 || { say "npm is not here"; return 1; }
  say "fetching @duckdb/node-bindings-$npm $NPM_VERSION with npm (24 MB)"
  (cd "$work" && npm pack --silent "@duckdb/node-bindings-$npm@$NPM_VERSION" > pack.name 2> pack.err) || {
    say "npm pack failed: $(tail -n 1 "$work/pack.err")"; return 1; }
  got=$(openssl dgst -sha512 -binary "$work"/*.tgz | openssl base64 -A)
  [ "$got" = "$integrity" ] || { say "the package's sha-512 is not the pinned one: not used"; return 1; }
  tar -xzf "$work"/*.tgz -C "$work" "package/$lib"
  mv "$work/package/$lib" "$dir/$lib.part"
}

from_release() {
  command -v curl > /dev/null 2>&1 && command -v unzip > /dev/null 2>&1 || { say "curl and unzip are not here"; return 1; }
  url=https://github.com/duckdb/duckdb/releases/download/v$VERSION/$archive
  say "fetching $url"
  curl -fsSL --max-time 300 -o "$work/lib.zip" "$url" || { say "the release archive can't be reached"; return 1; }
  unzip -q -o "$work/lib.zip" "$lib" -d "$work"
  mv "$work/$lib" "$dir/$lib.part"
}

from_npm || from_release || exit 1
mv "$dir/$lib.part" "$dir/$lib"
printf '%s\n' "$dir"
