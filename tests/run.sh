#!/bin/bash
# Every test of Floe, on a fresh Debian 12 machine, as root. Installs what it needs (deploy/lib/dependencies.txt).
#
#   tests/run.sh                     everything
#   tests/run.sh --only unit,e2e     some stages (or FLOE_STAGES="unit e2e")
#   tests/run.sh --list              the stages; those of tests/long.sh last
#
# FLOE_FUZZ_SECONDS (10): how long each fuzz target runs. FLOE_E2E, FLOE_FAULT (patterns): which scripts of
# tests/e2e and tests/fault run. FLOE_KILLS (10): kills of a storm.
# The last line is "N passed, N failed, N skipped"; the exit code is 0 when nothing failed.
set -uo pipefail

cd "$(dirname "$0")/.." || exit 2
EVERY_RUN=(format shellcheck release unit e2e fault gosuite uml asan tsan fuzz tidy)
STAGES=("${EVERY_RUN[@]}" analyze)
. deploy/lib/dependencies.sh

CHOSEN=${FLOE_STAGES:-${EVERY_RUN[*]}}
while [ $# -gt 0 ]; do
  case $1 in
    --only) CHOSEN=${2//,/ }; shift 2 ;;
    --list) printf '%s\n' "${STAGES[@]}"; exit 0 ;;
    *) sed -n '2,10p' "$0" >&2; exit 2 ;;
  esac
done
for stage in $CHOSEN; do
  [[ " ${STAGES[*]} " == *" $stage "* ]] || { echo "no such stage: $stage" >&2; exit 2; }
done

REPORTS=$(mktemp -d /var/tmp/floe-tests.XXXXXX)   # not /tmp, which the end-to-end tests replace
export FLOE_RESULTS=$REPORTS/results
: >"$FLOE_RESULTS"
trap 'rm -rf "$REPORTS"' EXIT
JOBS=$(nproc)
export CCACHE_DIR=${CCACHE_DIR:-$HOME/.cache/ccache} PYTHONDONTWRITEBYTECODE=1

result() { printf '%s\t%s\t%s\n' "$1" "$2" "${3:-}" >>"$FLOE_RESULTS"; }

build() {  # PRESET
  cmake --preset "$1" >"$REPORTS/configure.log" 2>&1 || { tail -20 "$REPORTS/configure.log"; return 1; }
  cmake --build --preset "$1" -- -j"$JOBS" >"$REPORTS/build.log" 2>&1 || { grep -E -A8 'error:|^FAILED' "$REPORTS/build.log" | head -60; return 1; }
  tail -1 "$REPORTS/build.log"
}

# The tests of a preset, counted one by one. A program that died without a report is a failure of its own.
unit_tests() {  # PRESET
  local dir=$REPORTS/$1 status=0 before
  mkdir -p "$dir"
  before=$(grep -c ^FAIL "$FLOE_RESULTS")
  GTEST_OUTPUT="json:$dir/" ctest --preset "$1" --output-on-failure -j"$JOBS" >"$REPORTS/ctest.log" 2>&1 || status=$?
  tests/support/gtest_results.py "$dir" "$1" "build/$1/Testing/Temporary/LastTest.log" >>"$FLOE_RESULTS"   # failures in full on standard error
  sed -n '/tests passed/,$p' "$REPORTS/ctest.log"
  if [ $status = 0 ] || [ "$(grep -c ^FAIL "$FLOE_RESULTS")" -gt "$before" ]; then return $status; fi
  grep -E -A30 'ERROR: AddressSanitizer|WARNING: ThreadSanitizer|runtime error|\*\*\*Exception|Timeout' "$REPORTS/ctest.log" | head -120
  return 1
}

stage_format() {
  git ls-files '*.cc' '*.h' | xargs clang-format-19 --dry-run -Werror && result PASS format
}
stage_shellcheck() {
  git ls-files '*.sh' .ci/run | xargs shellcheck && result PASS shellcheck
}
stage_release() { build release && result PASS "release build"; }
stage_unit() { build release && unit_tests release; }
stage_asan() { build asan && unit_tests asan; }
stage_tsan() { build tsan && TSAN_OPTIONS=${TSAN_OPTIONS:-halt_on_error=1} unit_tests tsan; }

fuzz_target() {  # TARGET
  local name log
  name=$(basename "$1") log=$REPORTS/fuzz.$name.log
  mkdir -p "$REPORTS/corpus/$name"
  # Inputs may be long from the start: ten seconds are too few to let them grow.
  if "$1" -max_total_time="${FLOE_FUZZ_SECONDS:-10}" -len_control=0 -rss_limit_mb=2048 -timeout=20 -artifact_prefix="$REPORTS/" \
    "$REPORTS/corpus/$name" >"$log" 2>&1; then
    result PASS "fuzz: $name"
    echo "$name: $(grep -E '^(Done|#[0-9]+.*DONE)' "$log" | tail -1)"
  else
    result FAIL "fuzz: $name" "$(grep -m1 -E 'ERROR|runtime error' "$log")"
    tail -30 "$log"
  fi
}
stage_fuzz() {
  local target
  build fuzz || return 1
  for target in build/fuzz/fuzz/*; do
    [ -f "$target" ] || continue
    while [ "$(jobs -pr | wc -l)" -ge "$JOBS" ]; do wait -n; done
    fuzz_target "$target" &
  done
  wait
}

# Our own sources, not the tests: those are built with every warning and run under the sanitizers.
clang_tidy() {  # STAGE [OPTION]...
  local stage=$1; shift
  build release >/dev/null || return 1
  git ls-files '*.cc' | grep -v ^tests/ | xargs -P"$JOBS" -n1 clang-tidy-19 --quiet -p build/release "$@" >"$REPORTS/tidy.log" 2>"$REPORTS/tidy.err" &&
    result PASS "$stage" && return 0
  grep -E '(error|warning):' "$REPORTS/tidy.log" | sort -u | head -40
  return 1
}
stage_tidy() { clang_tidy clang-tidy '--checks=-clang-analyzer-*'; }
stage_analyze() { clang_tidy "clang's static analyzer" '--checks=-*,clang-analyzer-*,-clang-analyzer-optin.*'; }

stage_gosuite() {
  local status=0 line name why
  build release >/dev/null || return 1
  tests/e2e/gosuite/run.sh >"$REPORTS/gosuite.log" 2>&1 || status=$?
  if [ $status != 0 ]; then tail -100 "$REPORTS/gosuite.log"; fi
  while read -r line; do
    name=${line#*: }
    [[ $line == SKIP* ]] && why="overlayfs renames no lower directory: EXDEV" || why=
    result "${line%%:*}" "gosuite: ${name% (*}" "$why"
  done < <(sed -nE 's/^ +--- (PASS|FAIL|SKIP): [^/ ]+\/(.*)/\1: \2/p' "$REPORTS/gosuite.log")
  tail -1 "$REPORTS/gosuite.log"
  return $status
}

# What this machine's kernel lacks: EROFS over fscache, and Debian 12's own 6.1, in User-Mode Linux.
stage_uml() {
  build release >/dev/null || return 1
  tests/uml/run.sh
}

run_scripts() {  # DIRECTORY PATTERN
  local script status
  build release >/dev/null || return 1
  for script in "$1"/[0-9]*.sh; do
    [[ $script == *$2* ]] || continue
    printf '\n-- %s: %s\n' "$(basename "$script")" "$(sed -n 2s/^#.//p "$script")"
    status=0
    bash "$script" || status=$?
    # 1: its checks have said so themselves.
    [ $status -le 1 ] || result FAIL "$(basename "$script")" "exit $status"
  done
}
stage_e2e() { run_scripts tests/e2e "${FLOE_E2E:-}"; }
# Crashes, faults, full disks.
stage_fault() { run_scripts tests/fault "${FLOE_FAULT:-}"; }

TIMES=()
run_stage() {
  local name=$1 start=$SECONDS before
  printf '\n==== %s\n' "$name"
  before=$(grep -c ^FAIL "$FLOE_RESULTS")
  if ! "stage_$name" && [ "$(grep -c ^FAIL "$FLOE_RESULTS")" = "$before" ]; then result FAIL "stage $name"; fi
  TIMES+=("$(printf '%-12s %4d s' "$name" $((SECONDS - start)))")
}

summary() {
  local failed
  printf '\n==== summary\n'
  printf '%s\n' "${TIMES[@]}"
  # By reason, with the first of those that it kept away.
  awk -F'\t' '$1 == "SKIP" { if (count[$3]++ == 0) first[$3] = $2 }
    END { for (why in count) printf "skipped %d: %s (%s%s)\n", count[why], why, first[why], (count[why] > 1 ? ", ..." : "") }' "$FLOE_RESULTS" | sort
  grep ^FAIL "$FLOE_RESULTS" | awk -F'\t' '{print "FAILED: " $2 ($3 == "" ? "" : " (" $3 ")")}'
  failed=$(grep -c ^FAIL "$FLOE_RESULTS")
  printf '%d passed, %d failed, %d skipped\n' "$(grep -c ^PASS "$FLOE_RESULTS")" "$failed" "$(grep -c ^SKIP "$FLOE_RESULTS")"
  [ "$failed" = 0 ]
}

[ "$(id -u)" = 0 ] || { echo "tests/run.sh: mounts need root" >&2; exit 2; }
install_dependencies build run check uml || exit 2
git config --global --get-all safe.directory | grep -qxF "$PWD" 2>/dev/null || export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0=$PWD
for stage in "${STAGES[@]}"; do
  [[ " $CHOSEN " != *" $stage "* ]] || run_stage "$stage"
done
summary
