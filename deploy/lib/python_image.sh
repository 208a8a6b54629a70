#!/bin/bash
# Makes a Debian image with python3 as an OCI layout, once, and prints its directory. usage: python_image.sh CACHE_DIR
set -euo pipefail
cache=$1
layout=$cache/python-image
source_dir=$(cd "$(dirname "$0")/../.." && pwd)
if [ ! -e "$layout/index.json" ]; then
  mkdir -p "$cache"
  work=$(mktemp -d "$cache/python-image.XXXXXX")
  trap 'rm -rf --one-file-system "$work"' EXIT
  echo "python_image: making a Debian root with mmdebstrap (about a minute)" >&2
  SOURCE_DATE_EPOCH=1700000000 mmdebstrap --quiet --variant=minbase --include=python3 bookworm "$work/root.tar" >&2
  python3 "$source_dir/tests/support/oci_push.py" make "$work/layout" --layer "$work/root.tar:gzip" >/dev/null
  rm -rf "$layout"
  mv "$work/layout" "$layout"
fi
echo "$layout"
