#!/bin/bash
. "$(dirname "$0")/lib.sh"
start_registry
push_image "$DATA/oci" "$REG/corpus:7"
push_image "$DATA/oci-edge" "$REG/edge:1"
check index floe index create "$REG/corpus:7"
check index floe index create "$REG/edge:1"
check index floe index show "$REG/edge:1"
mkdir -p $WORK/mnt/x
check mount floe mount "$REG/edge:1" $WORK/mnt/x --root "$WORK/mount"
finish
