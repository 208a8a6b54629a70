#!/bin/bash
# A Debian python image without any index, over loopback: streamed against containerd's overlayfs pull and unpack.
. "$(dirname "$0")/lib.sh"

ROUNDS=${FLOE_STREAM_ROUNDS:-3}
FIRST_FILE=usr/bin/python3.11
layout=$(python_image)
chain=$(top_chain "$layout")
start_registry
push_image "$layout" "$REG/python:1"
start_containerd
start_floe

ticks=$(getconf CLK_TCK)
# CPU milliseconds of these programs and of the children that they have waited for.
cpu_ms() {
  local name sum=0
  for name in "$@"; do sum=$((sum + $(sed 's/.*) //' "/proc/$(pid_of "$name")/stat" | awk '{print $12 + $13 + $14 + $15}'))); done
  echo $((sum * 1000 / ticks))
}

TIMEFORMAT='%U %S'
client_ms() { awk '{printf "%d\n", ($1 + $2) * 1000}' "$WORK/tmp/client"; }

# From the pull's start until the first file is read: wall and CPU milliseconds, appended to a table.
measure() {  # SNAPSHOTTER PROGRAM... -- PULL...
  local snapshotter=$1 programs=() start cpu first; shift
  while [ "$1" != -- ]; do programs+=("$1"); shift; done
  shift
  sync
  cpu=$(cpu_ms "${programs[@]}") start=$(now_ms)
  # The client's part counts: ctr downloads itself.
  { time "$@" >"$WORK/log/pull.out" 2>&1; } 2>"$WORK/tmp/client" || { cat "$WORK/log/pull.out"; return 1; }
  mount_snapshot "$snapshotter" "$chain" "$WORK/mnt/first"
  first=$(sha256sum <"$WORK/mnt/first/$FIRST_FILE")
  printf '%s %d %d\n' "$snapshotter" $(($(now_ms) - start)) $(($(cpu_ms "${programs[@]}") - cpu + $(client_ms))) >>"$WORK/tmp/measured"
  unmount_snapshot "$snapshotter" "$WORK/mnt/first"
  echo "$first" >"$WORK/tmp/first.$snapshotter"
}
wipe() {
  cctr images rm --sync "$REG/python:1" >/dev/null
  cctr content ls -q | xargs -r -n1 ctr --address "$CONTAINERD_SOCK" --namespace "$TESTBED_NAMESPACE" content rm >/dev/null
  stop_floe
  [ -z "$(mounts_below_work)" ] || { echo "mounts are left: $(mounts_below_work)"; return 1; }
  rm -rf "$WORK/cachemgr" "$WORK/snapshotter"
  start_floe
}
round() {
  measure overlayfs containerd -- plain_pull "$REG/python:1"
  wipe
  measure floe containerd cachemgr snapshotter -- lazy_pull "$REG/python:1"
  expect_equal "$(grep -cw lazy "$WORK/log/pull.out")" "$(describe_image "$layout" | grep -c ^layer)" "lazy layers"
  expect_equal "$(cat "$WORK/tmp/first.floe")" "$(cat "$WORK/tmp/first.overlayfs")" "the first file"
  wipe
  tail -2 "$WORK/tmp/measured"
}
# Medians over the rounds. The aims are 0.7 and 0.6; a shared machine is too noisy to fail a run for less than half as much again.
compare() {
  python3 - "$WORK/tmp/measured" <<'PYTHON'
import statistics, sys
rows = [line.split() for line in open(sys.argv[1])]
median = {(name, column): statistics.median(int(row[column]) for row in rows if row[0] == name)
          for name in ("overlayfs", "floe") for column in (1, 2)}
failed = False
for column, what, aim in ((1, "wall time", 0.7), (2, "CPU time", 0.6)):
    floe, overlayfs = median["floe", column], median["overlayfs", column]
    ratio = floe / overlayfs
    print(f"{what}: floe {floe / 1000:.2f} s, overlayfs {overlayfs / 1000:.2f} s, ratio {ratio:.2f}" + ("" if ratio <= aim else f"  SHORT of {aim}"))
    failed = failed or ratio > aim * 1.5
sys.exit(failed)
PYTHON
}

for number in $(seq "$ROUNDS"); do check "round $number" round; done
check "streamed against overlayfs (the aims: at most 0.7 of its wall time and 0.6 of its CPU time)" compare
finish
