#!/bin/bash
# What takes longer than a test run may: a hundred kills in each storm, an hour of fuzzing, and clang's static analyzer. As root, before an issue is closed.
#
#   tests/long.sh [STAGES]   fault,fuzz,analyze
#
# FLOE_KILLS (100): kills of a storm. FLOE_FUZZ_SECONDS: how long each fuzz target runs (its part of the hour).
cd "$(dirname "$0")/.." || exit 2
TARGETS=$(grep -rh '^floe_fuzz(' tests/fuzz --include=CMakeLists.txt | wc -l)
FLOE_KILLS=${FLOE_KILLS:-100} FLOE_FUZZ_SECONDS=${FLOE_FUZZ_SECONDS:-$((3600 / TARGETS + 1))} exec tests/run.sh --only "${1:-fault,fuzz,analyze}"
