#!/bin/sh
# The pictures of the report and the view in README.md: page-pictures.sh HOLDBACK OUT. Needs chromium; says so and leaves the old
# pictures when there is none.
set -eu
HOLDBACK=$(realpath "$1")
OUT=$(realpath "$2")
BROWSER=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)
if [ -z "$BROWSER" ]; then
  echo "page-pictures: there is no chromium; the pictures stay as they are" >&2
  exit 0
fi
WORK=$(mktemp -d)
VIEW=
trap 'if [ -n "$VIEW" ]; then kill "$VIEW" 2> /dev/null || true; fi; rm -rf "$WORK"' EXIT
cd "$WORK"
"$HOLDBACK" demo > /dev/null 2>&1
shoot() { # FILE SIZE ADDRESS
  "$BROWSER" --headless=new --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir="$WORK/profile" --force-device-scale-factor=1 \
    --virtual-time-budget=4000 --window-size="$2" --screenshot="$OUT/$1" "$3" > /dev/null 2>&1
}
shoot report.png 1280,1500 "file://$WORK/reports/demo.html"
"$HOLDBACK" view --listen 127.0.0.1:0 > address 2> /dev/null &
VIEW=$!
until [ -s address ]; do sleep 0.1; done
shoot view.png 1280,1000 "$(cat address)traces/demo-stuck"
