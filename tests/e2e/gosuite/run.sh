#!/bin/bash
# Runs containerd's own snapshotter suite (snapshots/testsuite, Debian's golang-github-containerd-containerd-dev) against
# floe-snapshotter. Needs root; mounts in a mount namespace of its own. Arguments go to the Go test, for example -test.run=Suite/Walk.
#
#     tests/e2e/gosuite/run.sh [go test arguments...]
#
# FLOE_BIN: directory of the programs (default: build/release/bin, else build/dev/bin).
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
source_dir=$(cd "$here/../../.." && pwd)
program=
for dir in "${FLOE_BIN:-}" "$source_dir/build/release/bin" "$source_dir/build/dev/bin"; do
  if [ -n "$dir" ] && [ -x "$dir/floe-snapshotter" ]; then program=$dir/floe-snapshotter; break; fi
done
[ -n "$program" ] || { echo "run.sh: floe-snapshotter is not built" >&2; exit 2; }
[ "$(id -u)" = 0 ] || { echo "run.sh: needs root" >&2; exit 2; }

work=$(mktemp -d "${FLOE_E2E_TMP:-/var/tmp}/floe-gosuite.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT

# The suite's packages are found below GOPATH only, so the test is built there as well; Debian's tree itself stays untouched.
mkdir -p "$work/go/src/floe" "$work/tmp"
ln -s "$here" "$work/go/src/floe/gosuite"
(
  cd "$work/go/src/floe/gosuite"
  GO111MODULE=off GOFLAGS='' GOPATH="$work/go:/usr/share/gocode" GOCACHE="${GOCACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/go-build}" \
    go test -c -o "$work/suite.test" .
)

status=0
TMPDIR=$work/tmp unshare --mount --propagation private \
  "$work/suite.test" -test.root -floe.snapshotter="$program" -test.v -test.timeout=10m "$@" >"$work/log" 2>&1 || status=$?
grep -E '^ *--- (PASS|FAIL|SKIP)' "$work/log" || true
if [ $status = 0 ] && ! grep -q '^--- PASS: TestSnapshotterSuite' "$work/log"; then
  status=1
fi
if [ $status != 0 ]; then
  cat "$work/log"
  echo "FAIL  containerd's snapshotter suite"
else
  echo "ok    containerd's snapshotter suite: $(grep -cE '^    --- PASS' "$work/log") cases passed, $(grep -cE '^    --- SKIP' "$work/log" || true) skipped"
fi
exit $status
