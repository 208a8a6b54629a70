#!/bin/bash
# Power cuts and kills, simulated: what the cache does to the disk is recorded, cut at every sync and between, and opened again.
. "$(dirname "$0")/../e2e/lib.sh"
export FLOE_POWER_CUT_ROUNDS=$((4 * ${FLOE_KILLS:-10}))

nothing_wrong() { "$BIN/../tests/cachemgr_power_cut_test" --gtest_brief=1; }
check "$FLOE_POWER_CUT_ROUNDS histories: no wrong byte after any cut" nothing_wrong
finish
