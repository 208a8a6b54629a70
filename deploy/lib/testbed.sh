# shellcheck shell=bash disable=SC2034,SC2119,SC2120  # what stands here is used by the scripts that source it
# A private containerd, registry and Floe on loopback, for the demo and the end-to-end tests. Source it; the script then runs
# as process 1 of its own PID and mount namespaces, over a private /run and /tmp, with everything it makes under $WORK.
# Whatever happens to it, the outer half below ends all of its processes and removes the directory.
set -euo pipefail

SOURCE_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
SUPPORT=$SOURCE_DIR/tests/support
BIN=${FLOE_BIN:-$SOURCE_DIR/build/release/bin}
CACHE_DIR=${XDG_CACHE_HOME:-$HOME/.cache}/floe
NAME=$(basename "$0" .sh)

# ---- the outer half: namespaces, and the sweep after the inner half has ended in whatever way ----

remove_cgroups() {  # NAME: containerd leaves the (empty) cgroup of its namespace behind
  local dir
  while IFS= read -r dir; do rmdir "$dir" 2>/dev/null || true; done < <(find /sys/fs/cgroup -depth -type d -path "*/$1*" 2>/dev/null)
}

sweep() {
  [ -z "${INNER_PID:-}" ] || kill -KILL "$INNER_PID" 2>/dev/null || true
  wait 2>/dev/null || true
  remove_cgroups "$TESTBED_NAMESPACE"
  if [ -n "${FLOE_KEEP:-}" ]; then echo "kept: $WORK"; else rm -rf --one-file-system "$WORK"; fi
}

if [ -z "${FLOE_TESTBED_INSIDE:-}" ]; then
  [ "$(id -u)" = 0 ] || { echo "$NAME: needs root" >&2; exit 2; }
  WORK=$(mktemp -d "${FLOE_TESTBED_TMP:-/var/tmp}/floe-testbed.XXXXXX")
  TESTBED_NAMESPACE=floe-$(basename "$WORK")
  export FLOE_TESTBED_INSIDE=1 WORK TESTBED_NAMESPACE
  trap sweep EXIT
  trap 'exit 130' INT TERM
  unshare --mount --pid --fork --kill-child --mount-proc --propagation private bash "$0" "$@" &
  INNER_PID=$!
  status=0; wait "$INNER_PID" || status=$?
  INNER_PID=
  exit "$status"
fi

# ---- the inner half ----

mount -t tmpfs -o mode=0755 tmpfs /run
# A checkout below /tmp stays visible: then /tmp is everybody's.
case $SOURCE_DIR in /tmp/*) PRIVATE_TMP= ;; *) PRIVATE_TMP=1; mount -t tmpfs -o mode=1777 tmpfs /tmp ;; esac
mkdir -p "$WORK"/{log,pid,tmp,mnt} /run/lock
unset TMPDIR

now_ms() { local t=${EPOCHREALTIME/[.,]/}; echo $((t / 1000)); }
seconds() { printf '%d.%02d' $(($1 / 1000)) $(($1 % 1000 / 10)); }   # milliseconds -> "1.23"
megabytes() { printf '%d.%d' $(($1 / 1000000)) $(($1 % 1000000 / 100000)); }
wait_for() {  # WHAT SECONDS COMMAND...
  local what=$1 end=$(($(now_ms) + $2 * 1000)); shift 2
  until "$@" >/dev/null 2>&1; do
    [ "$(now_ms)" -lt "$end" ] || { echo "timed out waiting for $what" >&2; return 1; }
    sleep 0.05
  done
}

# ---- processes ----

spawn() {  # NAME COMMAND...
  local name=$1; shift
  "$@" >>"$WORK/log/$name.log" 2>&1 </dev/null &
  echo $! >"$WORK/pid/$name"
}
pid_of() { cat "$WORK/pid/$1"; }
alive() {  # a zombie is not alive
  local state
  state=$(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -c1) || return 1
  [ -n "$state" ] && [ "$state" != Z ]
}
gone() { ! alive "$1"; }
stop() {  # NAME [SIGNAL]
  local pid signal=${2:-TERM}
  [ -e "$WORK/pid/$1" ] || return 0
  pid=$(pid_of "$1"); rm -f "$WORK/pid/$1"
  kill "-$signal" "$pid" 2>/dev/null || return 0
  wait_for "the end of $1" 20 gone "$pid" || { echo "$1 ignored SIG$signal" >&2; kill -KILL "$pid"; wait_for "$1" 10 gone "$pid"; return 1; }
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
answers_http() { python3 -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=2)' "http://$1/v2/"; }

start_registry() {  # sets REG; the same storage and port when called again
  REG=${REG:-127.0.0.1:$(free_port)}
  cat >"$WORK/registry.yml" <<EOF
version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $WORK/registry}, delete: {enabled: true}}
http: {addr: $REG}
EOF
  spawn registry docker-registry serve "$WORK/registry.yml"
  wait_for "docker-registry at $REG" 15 answers_http "$REG"
}

start_link() {  # [RTT_MS] [MBIT]: sets LINK, an address of the registry behind a slow link
  local ports=$WORK/link.ports
  rm -f "$ports"
  spawn link python3 "$SUPPORT/slow_link.py" serve --target "$REG" --rtt-ms "${1:-20}" --mbit "${2:-200}" --ports-file "$ports"
  wait_for "the slow link" 10 test -s "$ports"
  read -r LINK LINK_CONTROL <"$ports"
  LINK=127.0.0.1:$LINK
}
link() { python3 "$SUPPORT/slow_link.py" ctl "$LINK_CONTROL" "$1"; }
link_bytes_down() { link stats | python3 -c 'import json, sys; print(json.load(sys.stdin)["down"])'; }

CONTAINERD_SOCK=$WORK/containerd.sock CACHEMGR_SOCK=$WORK/cachemgr.sock SNAPSHOTTER_SOCK=$WORK/floe.sock

start_containerd() {
  cat >"$WORK/containerd.toml" <<EOF
version = 2
root = "$WORK/containerd"
state = "/run/containerd-e2e"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]
[grpc]
  address = "$CONTAINERD_SOCK"
[proxy_plugins.floe]
  type = "snapshot"
  address = "$SNAPSHOTTER_SOCK"
  [proxy_plugins.floe.exports]
    root = "$WORK/snapshotter"
EOF
  spawn containerd containerd --config "$WORK/containerd.toml" --log-level warn
  wait_for "containerd" 20 ctr --address "$CONTAINERD_SOCK" version
}

start_cachemgr() {  # [ARGUMENT]...
  spawn cachemgr "$BIN/floe-cachemgr" --root "$WORK/cachemgr" --address "$CACHEMGR_SOCK" "$@"
  wait_for "floe-cachemgr" 15 "$BIN/floe" status --cachemgr "$CACHEMGR_SOCK"
}
start_snapshotter() {  # [ARGUMENT]...
  spawn snapshotter "$BIN/floe-snapshotter" --root "$WORK/snapshotter" --address "$SNAPSHOTTER_SOCK" --cachemgr "$CACHEMGR_SOCK" "$@"
  wait_for "floe-snapshotter" 30 containerd_reaches_snapshotter
}
# A list of no snapshots does not reach it, and containerd dials anew only after a while.
containerd_reaches_snapshotter() {
  cctr snapshots --snapshotter floe remove probe || true
  cctr snapshots --snapshotter floe prepare probe && cctr snapshots --snapshotter floe remove probe
}
start_floe() { start_cachemgr "$@"; start_snapshotter; }
stop_floe() { stop snapshotter; stop cachemgr; }

# ---- containerd ----

cctr() { ctr --address "$CONTAINERD_SOCK" --namespace "$TESTBED_NAMESPACE" "$@"; }
floe() { "$BIN/floe" "$@"; }
lazy_pull() { floe pull --address "$CONTAINERD_SOCK" --namespace "$TESTBED_NAMESPACE" --snapshotter floe "$@"; }
plain_pull() { cctr images pull --plain-http --snapshotter "${2:-overlayfs}" "$1" >/dev/null; }
run_container() {  # SNAPSHOTTER REF COMMAND...
  local snapshotter=$1 ref=$2; shift 2
  cctr run --rm --snapshotter "$snapshotter" "$ref" "c$RANDOM$RANDOM" "$@" </dev/null
}

# Prepare and not View: ctr protects only what it prepares from the garbage collector.
mount_snapshot() {  # SNAPSHOTTER CHAIN DIR
  mkdir -p "$3"
  cctr snapshots --snapshotter "$1" prepare "on-$(basename "$3")" "$2" >/dev/null
  cctr snapshots --snapshotter "$1" mounts "$3" "on-$(basename "$3")" >"$WORK/tmp/mount.sh"
  bash -e "$WORK/tmp/mount.sh"
}
unmount_snapshot() {  # SNAPSHOTTER DIR
  umount "$2"; rmdir "$2"
  cctr snapshots --snapshotter "$1" remove "on-$(basename "$2")"
}
snapshot_tree() {  # SNAPSHOTTER CHAIN FILE
  local dir=$WORK/mnt/tree-$1-${2##*:}
  mount_snapshot "$1" "$2" "$dir"
  tree "$dir" "$3"
  unmount_snapshot "$1" "$dir"
}

# ---- images ----

tree() { python3 "$SUPPORT/tree.py" "$1" >"$2"; }   # DIR FILE
same_tree() {  # GOT EXPECTED
  cmp -s "$1" "$2" && { echo "$(grep -c . "$2") entries, equal"; return 0; }
  diff "$2" "$1" | head -20 | cut -c1-300
  return 1
}
make_image() { python3 "$SUPPORT/oci_push.py" make "$@" >/dev/null; }
push_image() { python3 "$SUPPORT/oci_push.py" push "$1" "$2" >/dev/null; }   # LAYOUT REF
describe_image() { python3 "$SUPPORT/oci_push.py" describe "$1"; }
top_chain() { describe_image "$1" | awk '$1 == "layer" {c = $5} END {print c}'; }
chain_of() { describe_image "$1" | awk -v n="$2" '$1 == "layer" && ++i == n {print $5}'; }   # LAYOUT NUMBER (from 1)
layer_bytes() { describe_image "$1" | awk '$1 == "layer" {s += $3} END {print s}'; }
python_image() { "$SOURCE_DIR/deploy/lib/python_image.sh" "$CACHE_DIR"; }   # prints the layout's directory

# ---- the end ----

# In order: containers and images go, which takes the snapshots and their mounts along; then the services end.
stop_services() {
  local name image
  if [ -e "$WORK/pid/containerd" ]; then
    end_containers
    for image in $(cctr images list --quiet 2>/dev/null); do cctr images remove --sync "$image" >/dev/null 2>&1 || true; done
  fi
  for name in link snapshotter cachemgr containerd registry; do stop "$name" || true; done
  for name in "$WORK"/pid/*; do [ ! -e "$name" ] || stop "$(basename "$name")" || true; done
}
# Whatever is left, for the cases that went wrong.
sweep_mounts() {
  local dir
  while IFS= read -r dir; do umount "$dir" 2>/dev/null || umount --lazy "$dir" || true; done < <(mounts_below_work)
}
end_containers() {
  local id
  for id in $(cctr tasks list --quiet 2>/dev/null); do cctr tasks kill --signal KILL "$id" 2>/dev/null || true; done
  for id in $(cctr containers list --quiet 2>/dev/null); do
    cctr tasks delete --force "$id" >/dev/null 2>&1 || true
    cctr containers delete "$id" 2>/dev/null || true
  done
}
mounts_below_work() { awk -v w="$WORK/" 'index($5 "/", w) == 1 || index($5, "/run/containerd") == 1 {print $5}' /proc/self/mountinfo | tac; }
loops_below_work() { grep -l "$WORK" /sys/block/loop*/loop/backing_file 2>/dev/null || true; }
other_processes() {  # but for this script and its subshells
  local dir pid own line
  own=$(tr '\0' ' ' </proc/$$/cmdline)
  for dir in /proc/[0-9]*; do
    pid=${dir#/proc/}
    line=$(tr '\0' ' ' 2>/dev/null <"$dir/cmdline") || continue
    [ -z "$line" ] || [ "$line" = "$own" ] || ! alive "$pid" || printf '%s %s\n' "$pid" "$line"
  done
}

