#!/bin/bash
# Everything that needs EROFS over fscache, in User-Mode Linux kernels of both versions: builds them when they are not there,
# then runs each list below in a guest of its own, two at a time, the longest first. usage: run.sh (tests/run.sh calls it; build/release is built)
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 2

# 6.12 has all of it. 6.1, a stock Debian 12's: no restore after kill -9 (6.8), no file-backed mounts (6.12).
LISTS=(
  "6.1 programs.sh 10_mount.sh 40_doctor.sh ../../e2e/30_fuse_loop.sh"
  "6.12 10_mount.sh 40_doctor.sh"
  "6.12 20_take_over.sh"
  "6.12 30_containers.sh"
  "6.12 programs.sh"
)
for version in 6.12 6.1; do tests/uml/kernel.sh $version >/dev/null || exit 1; done

run_list() {  # VERSION SCRIPT...
  local version=$1; shift
  # shellcheck disable=SC2016 # for the guest's shell
  exec env UML_TIMEOUT=600 tests/uml/boot.sh "$version" bash -c 'status=0; for script; do bash "tests/uml/guest/$script" || status=1; done; exit $status' lists "$@" 2>&1
}
LOGS=$(mktemp -d /var/tmp/floe-uml-logs.XXXXXX)
trap 'kill $(jobs -p) 2>/dev/null; wait; rm -rf "$LOGS"' EXIT
status=0
next=0 running=()
for list in "${LISTS[@]}"; do
  if [ ${#running[@]} -ge 2 ]; then wait -n || status=1; running=("${running[@]:1}"); fi
  # shellcheck disable=SC2086 # words
  run_list $list >"$LOGS/$next" &
  running+=($!)
  next=$((next + 1))
done
for ((i = 0; i < ${#running[@]}; i++)); do wait -n || status=1; done
for ((i = 0; i < next; i++)); do
  printf '\n-- %s\n' "${LISTS[$i]}"
  grep -vE 'prepare_(ondemand_)?read|I/O error, dev loop|Second cache directory|already exists in domain' "$LOGS/$i"
done
exit $status
