#!/bin/bash
# The command line: doctor, status, trust, and the life of the private cache manager behind floe mount.
. "$(dirname "$0")/lib.sh"

start_registry
start_containerd
push_image "$DATA/oci" "$REG/corpus:7"
push_image "$DATA/oci" "$REG/bound:7"
root=$WORK/mount
mkdir "$WORK/mnt/one" "$WORK/mnt/two"
floe_mount() { floe mount "$REG/corpus:7" "$WORK/mnt/$1" --root "$root" "${@:2}"; }
floe_unmount() { floe unmount "$WORK/mnt/$1" --root "$root"; }
doctor() { floe doctor --address "$CONTAINERD_SOCK" --containerd-config "$1" --cachemgr "$CACHEMGR_SOCK" --scratch "$WORK" "${@:2}"; }
private_cachemgrs() { grep -lx floe-cachemgr /proc/[0-9]*/comm 2>/dev/null | wc -l; }

version() { [[ $(floe --version) == "floe "[0-9]* ]]; }
usage_errors() {
  local status=0
  floe pull 2>"$WORK/tmp/err" || status=$?
  expect_equal "$status" 2 "exit code"
  expect_equal "$(grep -c . "$WORK/tmp/err")" 1 "lines on standard error"
}
doctor_misses_the_plugin() {
  printf 'version = 2\n' >"$WORK/tmp/empty.toml"
  expect_failure 'missing' doctor "$WORK/tmp/empty.toml"
  grep -F '[proxy_plugins.floe]' "$WORK/log/failure.out"
}
doctor_is_content() {
  doctor "$WORK/containerd.toml"
  doctor "$WORK/containerd.toml" --json | python3 -c 'import json, sys
findings = json.load(sys.stdin)
assert {"kernel", "containerd", "cache manager"} <= {f["area"] for f in findings}, findings
assert not [f for f in findings if f["verdict"] == "MISSING"], findings'
}
one_cachemgr_for_two_mounts() {
  floe_mount one
  floe_mount two
  expect_equal "$(private_cachemgrs)" 1 "private cache managers"
  expect_failure 'mounted' floe_mount one
  floe_unmount one
  expect_equal "$(private_cachemgrs)" 1 "private cache managers"
  tree "$WORK/mnt/two" "$WORK/tmp/got"
  same_tree "$WORK/tmp/got" "$DATA/expected-tree.jsonl"
  floe_unmount two
  expect_equal "$(private_cachemgrs)" 0 "private cache managers"
  expect_equal "$(find "$root/mounts" -mindepth 1 | wc -l)" 0 "records"
}
unmount_after_a_kill() {
  floe_mount one
  cat "$WORK/mnt/one/links/target" >/dev/null
  kill -KILL "$(grep -lx floe-cachemgr /proc/[0-9]*/comm | cut -d/ -f3)"
  floe_unmount one
  never mountpoint -q "$WORK/mnt/one"
  wait_for "the end of the private cache manager" 10 no_cachemgr
}
no_cachemgr() { [ "$(private_cachemgrs)" = 0 ]; }
busy_stays() {
  floe_mount one
  exec 9<"$WORK/mnt/one/links/target"
  expect_failure 'busy|use' floe_unmount one
  mountpoint -q "$WORK/mnt/one"
  exec 9<&-
  floe_unmount one
}
another_cachemgr() {
  floe_mount one --cachemgr "$CACHEMGR_SOCK"
  expect_equal "$(private_cachemgrs)" 1 "cache managers"
  floe status --cachemgr "$CACHEMGR_SOCK" | grep "$WORK/mnt/one"
  floe_unmount one
  never mountpoint -q "$WORK/mnt/one"
}
# NAME PID CAPABILITIES: those of main.cc, as far as this machine gives them, and no way to more.
has_only() {
  local had
  had=$(awk '/^CapBnd/ {print $2}' /proc/self/status)
  set -- "$1" "$2" "$(printf '%016x' $((16#$3 & 16#$had)))"
  expect_equal "$(awk '/^Cap(Prm|Eff)/ {print $2}' "/proc/$2/status" | sort -u)" "$3" "$1's capabilities"
  expect_equal "$(awk '/^NoNewPrivs/ {print $2}' "/proc/$2/status")" 1 "$1's no_new_privs"
}
least_privilege() {
  has_only floe-cachemgr "$(pid_of cachemgr)" 0000000001284002
  has_only floe-snapshotter "$(pid_of snapshotter)" 000000000020001b
  has_only floe-keeper "$(keeper_pid)" 0000000000000000
}
only_root_may_connect() {
  local sockets
  sockets=$(find "$WORK" -type s | grep -v containerd)
  echo "$sockets"
  expect_equal "$(wc -l <<<"$sockets")" 3 sockets
  expect_equal "$(xargs stat -c '%a %u' <<<"$sockets" | sort -u)" "600 0" "mode and owner of the sockets"
  expect_equal "$(stat -c %a "$WORK/cachemgr" "$WORK/snapshotter" | sort -u)" 700 "modes of the roots"
}
trust() {
  expect_failure 'trust|bound|repository' floe_mount one --no-stream --trust bound
  expect_failure 'trust|local|repository' floe_mount one --no-stream --trust local
  floe index create --bind-tag bound "$REG/bound:7" >/dev/null
  floe mount "$REG/bound:bound" "$WORK/mnt/one" --root "$root" --trust bound
  tree "$WORK/mnt/one" "$WORK/tmp/got"
  floe_unmount one
  same_tree "$WORK/tmp/got" "$DATA/expected-tree.jsonl"
}

check "floe --version" version
check "a wrong command line: exit code 2 and one line" usage_errors
check "floe doctor says what is missing" doctor_misses_the_plugin
floe index create "$REG/corpus:7" >/dev/null
check "two mounts share one private cache manager, which ends with the last" one_cachemgr_for_two_mounts
check "a busy mount stays" busy_stays
check "floe unmount after the private cache manager was killed" unmount_after_a_kill
check "index.trust: a repository's index is not bound, a bound one is" trust
start_floe
check "floe doctor has nothing to say about a complete configuration" doctor_is_content
check "the daemons keep the capabilities they need and gain none" least_privilege
check "their sockets and directories are root's alone" only_root_may_connect
check "floe mount with another cache manager" another_cachemgr
finish
