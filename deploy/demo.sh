#!/bin/bash
# Shows Floe on this machine: a Debian image with python3, pushed to a registry on loopback, run lazily and run plainly.
#
#   deploy/demo.sh
#
# Needs root and Debian 12; installs what it needs (deploy/lib/dependencies.txt) and builds Floe. Both runs read the registry
# over a link of FLOE_DEMO_MBIT (200; 0: no limit) and FLOE_DEMO_RTT_MS (20). Everything that runs is private and ends with
# the script; the build and the image (in ~/.cache/floe) stay for the next time.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -z "${FLOE_TESTBED_INSIDE:-}" ]; then
  . deploy/lib/dependencies.sh
  install_dependencies build run
  echo "building Floe (build/release)"
  cmake --preset release >/dev/null
  cmake --build --preset release --target floe floe-snapshotter floe-cachemgr | tail -1
fi
. deploy/lib/testbed.sh
trap '{ stop_services; sweep_mounts; } >/dev/null 2>&1' EXIT

PROGRAM='import json, email, http.client, sqlite3; print("hello from python")'
RTT_MS=${FLOE_DEMO_RTT_MS:-20} MBIT=${FLOE_DEMO_MBIT:-200}

first_output() {  # SNAPSHOTTER REF FILE: runs the program, notes when its first line came
  run_container "$1" "$2" python3 -c "$PROGRAM" | { read -r line; now_ms >"$3"; echo "  $line"; cat; }
}

layout=$(python_image)
total=$(layer_bytes "$layout")
echo "starting docker-registry, containerd and Floe in $WORK"
start_registry
start_containerd
start_floe
push_image "$layout" "$REG/python:demo"
echo "indexing (once for an image, where it is built)"
floe index create "$REG/python:demo" | sed 's/^/  /'
start_link "$RTT_MS" "$MBIT"

echo "lazily: floe pull, ctr run"
start=$(now_ms)
lazy_pull --plain-http "$LINK/python:demo" | sed 's/^/  /'
lazy_pull_ms=$(($(now_ms) - start))
first_output floe "$LINK/python:demo" "$WORK/tmp/first"
lazy_ms=$(($(cat "$WORK/tmp/first") - start)) lazy_bytes=$(link_bytes_down)

echo "plainly: ctr images pull, ctr run on overlayfs"
link reset >/dev/null
start=$(now_ms)
plain_pull "$LINK/python:demo"
plain_pull_ms=$(($(now_ms) - start))
first_output overlayfs "$LINK/python:demo" "$WORK/tmp/first"
plain_ms=$(($(cat "$WORK/tmp/first") - start)) plain_bytes=$(link_bytes_down)

echo "once more, with the registry stopped"
stop link
stop registry
start=$(now_ms)
first_output floe "$LINK/python:demo" "$WORK/tmp/first"
again_ms=$(($(cat "$WORK/tmp/first") - start))

row() { printf '%-28s %14s %14s\n' "$@"; }
echo
row "link: $MBIT Mbit/s, $RTT_MS ms" "overlayfs" "Floe"
row "pull, seconds" "$(seconds $plain_pull_ms)" "$(seconds $lazy_pull_ms)"
row "first output, seconds" "$(seconds $plain_ms)" "$(seconds $lazy_ms)"
row "bytes of the image" "$total" "$total"
row "bytes fetched, all included" "$plain_bytes" "$lazy_bytes"
row "share of the image" "$((plain_bytes * 100 / total)) %" "$((lazy_bytes * 100 / total)) %"
row "again, from the cache" "" "$(seconds $again_ms)"
