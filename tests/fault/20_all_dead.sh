#!/bin/bash
# Keeper and cache manager killed together, while a read waits and a program has a file of the mount open.
. "$(dirname "$0")/../e2e/lib.sh"

start_registry
start_link 1 0
push_image "$DATA/oci" "$REG/corpus:7"
floe index create "$REG/corpus:7" >/dev/null

mount_image() { mkdir -p "$WORK/mnt/$1"; floe mount "$LINK/corpus:7" "$WORK/mnt/$1" --root "$WORK/mount-$1" --cachemgr "$CACHEMGR_SOCK" --plain-http; }
expected_sum() { python3 -c 'import json, sys
for line in open(sys.argv[1]):
    entry = json.loads(line)
    if entry["path"] == sys.argv[2]: print(entry["sha256"])' "$DATA/expected-tree.jsonl" "$1"; }
zeros_sum() { head -c "$(stat -c %s "$1")" /dev/zero | sha256sum | cut -d' ' -f1; }
inflight() { floe status --json --cachemgr "$CACHEMGR_SOCK" | grep -q '"reads_inflight": [1-9]'; }
mounted() { grep -q " $WORK/mnt/$1 " /proc/self/mountinfo; }

# A program that reads a file of the mount on demand: each line of its input is a file; it answers with the digest or the errno.
cat >"$WORK/tmp/reader.py" <<'E2'
import hashlib, os, sys
directory = os.open(sys.argv[1], os.O_RDONLY)
for line in sys.stdin:
    try:
        with open(os.open(line.strip(), os.O_RDONLY, dir_fd=directory), "rb") as file:
            print(hashlib.sha256(file.read()).hexdigest(), flush=True)
    except OSError as error:
        print(error.strerror, flush=True)
E2

everything_dies() {  # CHANNEL
  local said zeros
  mount_image "used-$1"
  mount_image "unused-$1"
  mkfifo "$WORK/tmp/ask-$1"
  python3 "$WORK/tmp/reader.py" "$WORK/mnt/used-$1" <"$WORK/tmp/ask-$1" >"$WORK/tmp/answers-$1" &
  echo $! >"$WORK/pid/reader-$1"
  sleep 600 >"$WORK/tmp/ask-$1" &   # keeps its input open
  echo $! >"$WORK/pid/asker-$1"
  zeros=$(zeros_sum "$WORK/mnt/used-$1/sizes/random")
  link hold >/dev/null
  echo sizes/random >"$WORK/tmp/ask-$1"
  wait_for "a pending read" 20 inflight
  kill -KILL "$(pid_of cachemgr)" "$(keeper_pid)"
  rm -f "$WORK/pid/cachemgr"
  wait_for "the reader's answer" 20 test -s "$WORK/tmp/answers-$1"
  said=$(cat "$WORK/tmp/answers-$1")
  case $said in
    "$zeros") echo "the reader saw zeros" ;;
    "$(expected_sum sizes/random)") echo "the reader saw right bytes" ;;
    *) echo "the reader saw: $said" ;;
  esac
  if [ "$1" = fanotify ]; then expect_equal "$said" "$zeros"; else expect_equal "$said" "Input/output error"; fi
  link release >/dev/null
}
next_start() {  # CHANNEL
  local status
  start_cachemgr --channel "$1"
  status=$(floe status --cachemgr "$CACHEMGR_SOCK")
  grep -E 'LOST|DEAD' <<<"$status"
  never grep "mnt/unused-$1" <<<"$status"
  never mounted "unused-$1"
  if [ "$1" = fanotify ]; then
    grep -F "MOUNT LOST" "$WORK/log/cachemgr.log" | sed 's/.*error //' | tail -1
    grep -q "mnt/used-$1 .*LOST" <<<"$status"
    status=0
    floe doctor --cachemgr "$CACHEMGR_SOCK" --address "$WORK/none" >"$WORK/tmp/doctor" 2>&1 || status=$?
    grep LOST "$WORK/tmp/doctor"
    [ "$status" != 0 ]
    # What the running program reads from now on is watched again.
    ask_reader "$1" many/entry-00001
  else
    grep -q "mnt/used-$1 .*DEAD" <<<"$status"
  fi
}
ask_reader() {  # CHANNEL FILE
  local before
  before=$(grep -c . "$WORK/tmp/answers-$1")
  echo "$2" >"$WORK/tmp/ask-$1"
  wait_for "the reader's answer" 20 more_answers "$1" "$before"
  expect_equal "$(tail -1 "$WORK/tmp/answers-$1")" "$(expected_sum "$2")" "$2 through the old mount"
}
more_answers() { [ "$(grep -c . "$WORK/tmp/answers-$1")" -gt "$2" ]; }
mounted_anew() {  # CHANNEL
  umount --lazy "$WORK/mnt/used-$1"
  mount_image "used-$1"
  tree "$WORK/mnt/used-$1" "$WORK/tmp/got"
  same_tree "$WORK/tmp/got" "$DATA/expected-tree.jsonl"
  floe status --cachemgr "$CACHEMGR_SOCK" | sed -n '/^mounts/,/^$/p'
  stop "reader-$1"; stop "asker-$1"
  floe unmount "$WORK/mnt/used-$1" --root "$WORK/mount-used-$1"
  stop cachemgr
  wait_for "the keeper's end" 10 never keeper_pid
}

for channel in fanotify fuse fuse-loop; do
  start_cachemgr --channel $channel
  check "$channel: both are killed: what the reader sees" everything_dies $channel
  check "$channel: the next start finds what is left, and says so" next_start $channel
  check "$channel: mounted anew it is right; everything ends" mounted_anew $channel
  rm -rf "$WORK/cachemgr"
done
finish
