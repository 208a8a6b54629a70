#!/bin/bash
# A layer without any index: what it costs to stream it into the cache, against containerd's pull and unpacking into overlayfs.
# Wall time and CPU seconds of all programs that take part but for the registry. Prints a table (Markdown).
#
#   tests/bench/stream.sh [TAR]...     the image's layers; without one, an eighth of the files below /usr/lib
#
# TARs must not lie below /tmp or /run: they are private here. FLOE_ROUNDS (3); the order alternates.
. "$(dirname "$0")/../e2e/lib.sh"
ROUNDS=${FLOE_ROUNDS:-3}
TICKS=$(getconf CLK_TCK)

make_and_push() {
  local arguments=() tar
  if [ $# = 0 ]; then
    # Their names do not matter; those that are gone meanwhile are left out.
    find /usr/lib -xdev -type f -size -30M | sort | awk 'NR % 8 == 0' >"$WORK/tmp/files"
    tar -C / -cf "$WORK/tmp/layer.tar" --no-recursion -T "$WORK/tmp/files" 2>/dev/null
    set -- "$WORK/tmp/layer.tar"
  fi
  for tar; do arguments+=(--layer "$tar:gzip"); done
  make_image "$WORK/tmp/layout" "${arguments[@]}"
  push_image "$WORK/tmp/layout" "$REG/big:1"
  describe_image "$WORK/tmp/layout" >"$WORK/tmp/layers"
}

# Of a process and of the children that it has waited for.
cpu_ticks() { awk '{sub(/.*\) /, ""); print $12 + $13 + $14 + $15}' "/proc/$(pid_of "$1")/stat"; }
# measure SERVICE COMMAND...: prints wall milliseconds and CPU milliseconds of the command and the service.
measure() {
  local service=$1 before after start end; shift
  before=$(cpu_ticks "$service") start=$(now_ms)
  command_cpu=$(TIMEFORMAT='%U %S'; { time "$@" >/dev/null; } 2>&1 | tail -1)
  end=$(now_ms) after=$(cpu_ticks "$service")
  awk -v wall=$((end - start)) -v ticks=$((after - before)) -v hz="$TICKS" -v cpu="$command_cpu" \
    'BEGIN {split(cpu, part, " "); printf "%d %d\n", wall, 1000 * (ticks / hz + part[1] + part[2])}'
}

by_containerd() {
  start_containerd
  measure containerd plain_pull "$REG/big:1"
  cctr images remove --sync "$REG/big:1" >/dev/null
  stop containerd
  rm -rf "$WORK/containerd"
}
stream_all() { "$BIN/../bench/stream_layer" "$CACHEMGR_SOCK" "$REG" big <"$WORK/tmp/layers"; }
by_floe() {
  start_cachemgr
  measure cachemgr stream_all
  stop cachemgr
  rm -rf "$WORK/cachemgr"
}

table() {
  python3 - "$WORK/tmp/results" "$(layer_bytes "$WORK/tmp/layout")" <<'PYTHON'
import statistics, sys
times = {}
for line in open(sys.argv[1]):
    who, wall, cpu = line.split()
    times.setdefault(who, []).append((int(wall) / 1000, int(cpu) / 1000))
print(f"{int(sys.argv[2]) / 1e6:.0f} MB of layers, {len(times['floe'])} rounds, medians of seconds\n")
print("| | wall | CPU |\n|---|---|---|")
median = {who: [statistics.median(t[i] for t in all) for i in (0, 1)] for who, all in times.items()}
for who, (wall, cpu) in median.items():
    print(f"| {who} | {wall:.2f} | {cpu:.2f} |")
print("| floe / containerd | %.2f | %.2f |" % tuple(f / c for f, c in zip(median["floe"], median["containerd"])))
PYTHON
}

start_registry
make_and_push "$@"
for ((round = 1; round <= ROUNDS; round++)); do
  order=(containerd floe)
  [ $((round % 2)) = 1 ] || order=(floe containerd)
  for who in "${order[@]}"; do
    echo "$who $("by_$who")" | tee -a "$WORK/tmp/results"
  done
done
table
finish
