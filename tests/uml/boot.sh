#!/bin/bash
# Runs a command in a real kernel with EROFS over fscache: User-Mode Linux, an ordinary process.
#
#   tests/uml/boot.sh 6.12|6.1 COMMAND...
#
# The guest's root is this machine's, read-only (hostfs). It writes to an ext4 image, mounted on /mnt/cache, to file systems in
# memory, and to /mnt/host, the scratch directory that both share and that goes with the run; FLOE_RESULTS is carried out of
# there. The command's output is this script's, and so is its exit status. UML_MEMORY (1G), UML_DISK (3G), UML_TIMEOUT (900 s).
set -euo pipefail

HERE=$(cd "$(dirname "$0")" && pwd)
VERSION=${1:?usage: boot.sh 6.12|6.1 COMMAND...}; shift
KERNEL=$("$HERE/kernel.sh" "$VERSION")

SCRATCH=$(mktemp -d /var/tmp/floe-uml.XXXXXX)
cleanup() {
  [ -z "${GUEST:-}" ] || { kill -KILL -- "-$GUEST" 2>/dev/null || true; wait "$GUEST" 2>/dev/null || true; }
  rm -rf --one-file-system "$SCRATCH"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

truncate -s "${UML_DISK:-3G}" "$SCRATCH/disk"
mkfs.ext4 -q -F -E lazy_itable_init=1,lazy_journal_init=1 "$SCRATCH/disk"
: >"$SCRATCH/results"; : >"$SCRATCH/console"
{
  printf 'export %s=%q\n' FLOE_RESULTS /mnt/host/results FLOE_TESTBED_TMP /mnt/cache FLOE_IN_UML "$VERSION" HOME "$HOME" PATH "$PATH" TERM dumb LANG C.UTF-8
  for name in XDG_CACHE_HOME FLOE_BIN FLOE_CHANNEL; do [ -z "${!name:-}" ] || printf 'export %s=%q\n' "$name" "${!name}"; done
  printf 'cd %q\n' "$PWD"
  printf '%q ' "$@"
  echo
} >"$SCRATCH/command"

# In a process group of its own: UML is several processes.
set -m
timeout --kill-after=10 "${UML_TIMEOUT:-900}" "$KERNEL" mem="${UML_MEMORY:-1G}" ubda="$SCRATCH/disk" root=/dev/root rootfstype=hostfs rootflags=/ ro quiet \
  init="$HERE/init.sh" floe_scratch="$SCRATCH" floe_source="$(cd "$HERE/../.." && pwd)" con=null ssl=null con0=fd:0,fd:1 </dev/null >"$SCRATCH/console" 2>&1 &
GUEST=$!
set +m
tail -n +1 --pid="$GUEST" -f "$SCRATCH/console" | sed -u 's/\r$//' &
SHOWN=$!
wait "$GUEST" || true
GUEST=
wait "$SHOWN" || true
[ -z "${FLOE_RESULTS:-}" ] || cat "$SCRATCH/results" >>"$FLOE_RESULTS"
[ -s "$SCRATCH/status" ] || { echo "boot.sh: the guest ended without a status (kernel panic, or longer than ${UML_TIMEOUT:-900} s)" >&2; exit 1; }
exit "$(cat "$SCRATCH/status")"
