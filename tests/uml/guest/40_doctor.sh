#!/bin/bash
# floe doctor about the cachefiles channel: what it says where it works, and where it does not.
. "$(dirname "$0")/lib.sh"

# The detail of the finding about the channel; no cache manager runs, so the doctor starts one of its own.
cachefiles_finding() {  # SCRATCH
  { floe doctor --json --cachemgr "$CACHEMGR_SOCK" --scratch "$1" 2>/dev/null || true; } |   # no containerd here, which it says too
    python3 -c 'import json, sys
for finding in json.load(sys.stdin):
    if finding["name"] == "channel cachefiles": print(finding["verdict"], finding["detail"])'
}
works() {
  local said
  said=$(cachefiles_finding "$WORK/tmp")
  echo "$said"
  if [ "$FLOE_IN_UML" = 6.1 ]; then [[ $said == GOOD*"lacks fixes"* ]]; else expect_equal "$said" "GOOD works"; fi
}
held() {
  local holder said
  mkfifo "$WORK/tmp/ready"
  python3 -c 'import sys, time
device = open("/dev/cachefiles", "rb+", buffering=0)
open(sys.argv[1], "w").close()
time.sleep(600)' "$WORK/tmp/ready" &
  holder=$!
  : <"$WORK/tmp/ready"
  said=$(cachefiles_finding "$WORK/tmp")
  kill "$holder"
  wait "$holder" || true
  echo "$said"
  [[ $said == NOTE*"/dev/cachefiles is held by python3 (pid $holder)"* ]]
}
no_xattrs() {
  local said
  mkdir "$WORK/tmp/plain"
  mount -t ramfs ramfs "$WORK/tmp/plain"
  said=$(cachefiles_finding "$WORK/tmp/plain")
  umount "$WORK/tmp/plain"
  echo "$said"
  [[ $said == NOTE*"has no user xattrs"* ]]
}
no_device() {
  local said
  mv /dev/cachefiles /dev/cachefiles.away
  said=$(cachefiles_finding "$WORK/tmp")
  mv /dev/cachefiles.away /dev/cachefiles
  echo "$said"
  [[ $said == NOTE*"no /dev/cachefiles"* ]]
}
check "floe doctor: the channel works, or why it is not safe" works
[ "$FLOE_IN_UML" = 6.1 ] && finish   # the rest is the same on both
check "floe doctor: another program has the device, and which" held
check "floe doctor: the file system of the cache has no user xattrs" no_xattrs
check "floe doctor: no device" no_device
finish
