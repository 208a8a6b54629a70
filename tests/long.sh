#!/bin/bash
# What takes longer than a test run may: a hundred kills in each storm, an hour of fuzzing, and clang's static analyzer. As root, before an issue is closed.
#
# FLOE_KILLS (100): kills of a storm. FLOE_FUZZ_SECONDS (280): how long each fuzz target runs.
cd "$(dirname "$0")/.." || exit 2
FLOE_KILLS=${FLOE_KILLS:-100} FLOE_FUZZ_SECONDS=${FLOE_FUZZ_SECONDS:-280} exec tests/run.sh --only "${1:-fault,fuzz,analyze}"
