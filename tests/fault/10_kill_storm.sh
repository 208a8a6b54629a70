#!/bin/bash
# The cache manager killed, and replaced, again and again while files are read for the first time.
# FLOE_KILLS (10): kills on each channel; an upgrade (SIGTERM) is done a fifth as often.
. "$(dirname "$0")/../e2e/lib.sh"
KILLS=${FLOE_KILLS:-10}
UPGRADES=$(((KILLS + 4) / 5))

layout=$(python_image)
start_registry
push_image "$layout" "$REG/python:1"
floe index create "$REG/python:1" >/dev/null
start_containerd
plain_pull "$REG/python:1"
chain=$(top_chain "$layout")
snapshot_tree overlayfs "$chain" "$WORK/tmp/expected"

spawn range_log python3 "$SUPPORT/range_log.py" --target "$REG" --port-file "$WORK/range.port" --log "$WORK/tmp/ranges"
wait_for "the logging registry" 10 test -s "$WORK/range.port"
LOGGED=127.0.0.1:$(cat "$WORK/range.port")

drop_caches_often() { while sleep 1; do echo 1 >/proc/sys/vm/drop_caches; done; }

# One storm: readers of all files, a link that is slow enough for the kills, and then what they saw.
storm() {  # CHANNEL KILLS SIGNAL
  local channel=$1 kills=$2 signal=$3 root=$WORK/cachemgr-$1-$3 dir=$WORK/mnt/$1-$3
  mkdir -p "$dir"
  : >"$WORK/tmp/ranges"
  (REG=$LOGGED; start_link 10 $((1000 / kills + 1)); echo "$LINK" >"$WORK/tmp/link")
  spawn dropper drop_caches_often
  python3 "$SOURCE_DIR/tests/fault/kill_storm.py" --mount "$dir" --expected "$WORK/tmp/expected" --kills "$kills" --signal "$signal" \
    --root "$root" --log "$WORK/tmp/kills" --floe "$BIN/floe" --socket "$CACHEMGR_SOCK" --manager-log "$WORK/log/cachemgr.log" \
    --mount-command "'$BIN/floe' mount '$(cat "$WORK/tmp/link")/python:1' '$dir' --root '$WORK/mount-$1-$3' --cachemgr '$CACHEMGR_SOCK' --plain-http" \
    -- "$BIN/floe-cachemgr" --root "$root" --address "$CACHEMGR_SOCK" --channel "$channel" >"$WORK/tmp/storm.out" || { tail -20 "$WORK/tmp/storm.out"; return 1; }
  sed -n 's/^cachemgr pid //p' "$WORK/tmp/storm.out" >"$WORK/pid/cachemgr"
  stop dropper; stop link
  tail -1 "$WORK/tmp/storm.out"
}
seen() { tail -1 "$WORK/tmp/storm.out" | python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }
nothing_wrong() {  # KILLS
  echo "$(seen during_start) while a cache manager was starting; slowest read $(seen slowest_read_ms) ms; $(seen spared) reads were given time, at most $(seen longest_spared_ms) ms"
  grep -o '[0-9]* in flight' "$WORK/tmp/storm.out" | sort -n | uniq -c | awk '{printf "%s with %s, ", $1, $2} END {print "requests in flight"}'
  expect_equal "$(seen kills)" "$1" kills
  expect_equal "$(seen files)" "$(grep -c sha256 "$WORK/tmp/expected")" files
  expect_equal "$(seen wrong)" 0 "wrong files"
  expect_equal "$(seen errors)" 0 errors
  expect_equal "$(seen hangs)" 0 hangs
}
not_again() { python3 "$SOURCE_DIR/tests/fault/refetched.py" "$WORK/cachemgr-$1-$2" "$WORK/tmp/kills" "$WORK/tmp/ranges"; }
over() {  # CHANNEL SIGNAL
  floe unmount "$WORK/mnt/$1-$2" --root "$WORK/mount-$1-$2"
  stop cachemgr
  wait_for "the keeper's end" 10 never keeper_pid
}

round() {  # CHANNEL COUNT SIGNAL WHAT
  check "$1: $2 $4 while files are read" storm "$1" "$2" "$3"
  check "$1: no wrong byte, no error, no hang" nothing_wrong "$2"
  check "$1: what was present is not fetched again" not_again "$1" "$3"
  check "$1: unmounted, everything ends" over "$1" "$3"
}
for channel in fanotify fuse; do
  round $channel "$KILLS" KILL kills
  round $channel "$UPGRADES" TERM upgrades
done
finish
