#!/bin/bash
# What a read costs on each channel: nothing cached, half of a blob cached, all of it. Prints a table (Markdown).
#
#   tests/bench/channels.sh [JSON]     JSON: also written to this file
#
# JSON must not be below /tmp or /run: they are private here. FLOE_ROUNDS (5), FLOE_CHANNELS ("fuse fanotify").
# In each round every channel begins with an empty cache; their order alternates.
. "$(dirname "$0")/../e2e/lib.sh"
read -ra CHANNELS <<<"${FLOE_CHANNELS:-fuse fanotify}"
ROUNDS=${FLOE_ROUNDS:-5}
MEGABYTES=96
RESULTS=$WORK/tmp/results
READ_FILE=$SOURCE_DIR/tests/bench/read_file.py

make_and_push() {
  mkdir -p "$WORK/tmp/tree"
  # Half of it compresses, as in real layers.
  python3 - "$WORK/tmp/tree/big" "$MEGABYTES" <<'EOF'
import os, random, sys
random.seed(1)
words = [os.urandom(16) for _ in range(512)]
with open(sys.argv[1], "wb") as file:
    for _ in range(int(sys.argv[2])):
        file.write(os.urandom(1 << 19) + b"".join(random.choices(words, k=1 << 15)))
EOF
  tar -C "$WORK/tmp/tree" -cf "$WORK/tmp/layer.tar" .
  make_image "$WORK/tmp/layout" --layer "$WORK/tmp/layer.tar:gzip"
  push_image "$WORK/tmp/layout" "$REG/big:1"
  floe index create "$REG/big:1" >/dev/null 2>&1
}

measure() {  # ROUND CHANNEL STATE ARGUMENT...: of read_file.py
  local round=$1 channel=$2 state=$3 line; shift 3
  line=$(python3 "$READ_FILE" "$WORK/mnt/big/big" "$WORK/tmp/tree/big" "$@")
  echo "$round $channel $state $line" | tee -a "$RESULTS"
}
# Only what the mount itself has cached: what is below it stays in memory, and a read costs what the channel costs. For complete blobs
# only: over fanotify, reading a hole of the data file would fill it.
drop_mount() {
  find "$WORK/cachemgr" -type f -size +1M -exec cat {} + >/dev/null
  python3 -c 'import os, sys; os.posix_fadvise(os.open(sys.argv[1], os.O_RDONLY), 0, 0, os.POSIX_FADV_DONTNEED)' "$WORK/mnt/big/big"
}
is_complete() { floe status --json --cachemgr "$CACHEMGR_SOCK" | grep -q '"complete": true'; }
drop_caches() { sync; echo 3 >/proc/sys/vm/drop_caches; }
begin() {  # CHANNEL
  rm -rf "$WORK/cachemgr" "$WORK/mount"
  start_cachemgr --channel "$1"
  floe mount "$REG/big:1" "$WORK/mnt/big" --root "$WORK/mount" --cachemgr "$CACHEMGR_SOCK" >/dev/null
  expect_equal "$(floe status --json --cachemgr "$CACHEMGR_SOCK" | python3 -c 'import json, sys; print(json.load(sys.stdin)["mounts"][0]["channel"])')" "$1" channel
  drop_caches
}
end() {
  floe unmount "$WORK/mnt/big" --root "$WORK/mount"
  stop cachemgr
  wait_for "the keeper's end" 10 never keeper_pid
}
one_round() {  # ROUND CHANNEL
  begin "$2"
  measure "$1" "$2" cold random 0 1 --reads 60
  end
  begin "$2"
  measure "$1" "$2" cold sequential 0 0.5
  drop_caches
  measure "$1" "$2" half sequential 0 0.5
  drop_caches
  measure "$1" "$2" half random 0 0.5
  measure "$1" "$2" - sequential 0.5 1 >/dev/null
  wait_for "the blob to be complete" 30 is_complete
  drop_caches
  measure "$1" "$2" filled sequential 0 1
  drop_caches
  measure "$1" "$2" filled random 0 1
  drop_mount
  measure "$1" "$2" filled-in-memory random 0 1
  measure "$1" "$2" - sequential 0 1 >/dev/null
  measure "$1" "$2" hot random 0 1
  end
}
rounds() {
  local round channel
  for round in $(seq "$ROUNDS"); do
    for channel in "${CHANNELS[@]}"; do one_round "$round" "$channel"; done
    mapfile -t CHANNELS < <(printf '%s\n' "${CHANNELS[@]}" | tac)
  done
}
table() {
  echo "Linux $(uname -r), $(nproc) cores, $ROUNDS rounds, load $(cut -d' ' -f1 /proc/loadavg); medians; the ratio is the median of those within a round."
  python3 "$SOURCE_DIR/tests/bench/channel_table.py" "$RESULTS" ${1:+"$1"}
}

start_registry
mkdir "$WORK/mnt/big"
check "an image of $MEGABYTES MiB in one file, with its index" make_and_push
check "$ROUNDS rounds, every byte compared" rounds
table "$@"
finish
