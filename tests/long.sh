#!/bin/bash
# What takes longer than a test run may: an hour of fuzzing, and clang's static analyzer. As root, before an issue is closed.
#
# FLOE_FUZZ_SECONDS (200): how long each fuzz target runs.
cd "$(dirname "$0")/.." || exit 2
FLOE_FUZZ_SECONDS=${FLOE_FUZZ_SECONDS:-200} exec tests/run.sh --only "${1:-fuzz,analyze}"
