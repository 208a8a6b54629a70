# shellcheck shell=bash disable=SC2034,SC2119,SC2120  # what stands here is used by the scripts that source it
# What all end-to-end scripts share. A script sources it first:
#
#     #!/bin/bash
#     . "$(dirname "$0")/lib.sh"
#     start_registry; start_containerd; start_floe
#     check "what must hold" some_function
#     finish
#
# deploy/lib/testbed.sh says where it runs and how it is cleaned up.
#
# A line of results is appended to $FLOE_RESULTS (when set) for each check: PASS|FAIL|SKIP <tab> name <tab> detail.
. "$(dirname "${BASH_SOURCE[0]}")/../../deploy/lib/testbed.sh"
DATA=$SOURCE_DIR/tests/data

note() { printf '      %s\n' "$*"; }

record() { [ -z "${FLOE_RESULTS:-}" ] || printf '%s\t%s\t%s\n' "$1" "$NAME: $2" "${3:-}" >>"$FLOE_RESULTS"; }
FAILED=0 PASSED=0 SKIPPED=0 FINISHED=
pass() { PASSED=$((PASSED + 1)); printf 'ok    %s\n' "$1"; record PASS "$1"; }
fail() { FAILED=$((FAILED + 1)); printf 'FAIL  %s%s\n' "$1" "${2:+: $2}"; record FAIL "$1" "${2:-}"; }
skip() { SKIPPED=$((SKIPPED + 1)); printf 'skip  %s: %s\n' "$1" "$2"; record SKIP "$1" "$2"; }

# check NAME COMMAND...: the command runs in a subshell that stops at its first failing line.
check() {
  local name=$1 status=0; shift
  set +e
  ( set -e; "$@" ) >"$WORK/log/check.out" 2>&1
  status=$?
  set -e
  sed 's/^/      /' "$WORK/log/check.out" | { if [ $status = 0 ]; then tail -20; else tail -60; fi; }
  if [ $status = 0 ]; then pass "$name"; else fail "$name" "exit $status"; show_logs; fi
}

show_logs() {
  local file
  for file in "$WORK"/log/{cachemgr,snapshotter}.log; do
    [ ! -s "$file" ] || { echo "      -- end of $(basename "$file")"; tail -8 "$file" | cut -c1-400 | sed 's/^/      /'; }
  done
}

keeper_pid() { pgrep -f "floe-keeper --address $WORK/"; }   # it ends by itself once it holds nothing
never() { if "$@"; then return 1; fi; }   # `! command` would not stop a check
expect_equal() { [ "$1" = "$2" ] || { echo "${3:-values}: expected '$2', got '$1'"; return 1; }; }

# expect_failure PATTERN COMMAND...: it exits non-zero, says one line that matches, and is not killed by a signal.
expect_failure() {
  local pattern=$1 status=0; shift
  "$@" >"$WORK/log/failure.out" 2>"$WORK/log/failure.err" || status=$?
  cat "$WORK/log/failure.err"
  [ $status -ne 0 ] || { echo "expected a failure: $*"; return 1; }
  [ $status -lt 126 ] || { echo "ended by a signal or not run ($status): $*"; return 1; }
  grep -Eq -- "$pattern" "$WORK/log/failure.err" || { echo "no line matches /$pattern/"; return 1; }
  # Beside the lines of progress.
  [ "$(grep -vc '^layer ' "$WORK/log/failure.err")" = 1 ] || { echo "more than one line on standard error"; return 1; }
}

# ---- the end ----

# What the programs left by themselves, before anything is swept: processes, mounts, loop devices, temporary files.
check_leaks() {
  local what left
  for what in other_processes mounts_below_work loops_below_work; do
    left=$($what)
    [ -z "$left" ] || { printf '%s:\n%s\n' "$what" "$left"; return 1; }
  done
  left=
  [ -z "$PRIVATE_TMP" ] || left=$(find /tmp -mindepth 1 | head -5)
  [ -z "$left" ] || { printf 'left in /tmp:\n%s\n' "$left"; return 1; }
}

finish() {
  FINISHED=1
  trap - EXIT
  stop_services
  check "nothing is left behind" check_leaks
  sweep_mounts
  printf '%s: %d passed, %d failed, %d skipped\n' "$NAME" $PASSED $FAILED $SKIPPED
  [ $FAILED = 0 ] || exit 1
  exit 0
}
on_exit() {
  local status=$?
  [ -n "$FINISHED" ] || fail "the script ran to its end" "ended early with status $status at line ${BASH_LINENO[0]}"
  show_logs
  { stop_services; sweep_mounts; } >/dev/null 2>&1 || true
  exit 1
}
trap on_exit EXIT
trap 'exit 130' INT TERM
