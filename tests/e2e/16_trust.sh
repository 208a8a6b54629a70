#!/bin/bash
# index.trust: whose index is believed, what serves the layer instead, and what `floe status` says of it.
. "$(dirname "$0")/lib.sh"

start_registry
mkdir -p "$WORK/tmp/tree/dir"
printf 'small\n' >"$WORK/tmp/tree/dir/genuine"
head -c 100000 /dev/urandom >"$WORK/tmp/tree/dir/file"
tar -C "$WORK/tmp/tree" --sort=name --owner=0 --group=0 -cf "$WORK/tmp/layer.tar" dir
make_image "$WORK/tmp/image" --layer "$WORK/tmp/layer.tar"
manifest=$(describe_image "$WORK/tmp/image" | awk '$1 == "manifest" {print $2}')

layer_notes() {
  floe status --json --cachemgr "$1/cachemgr.sock" |
    python3 -c 'import json, sys; [print(l["reader"], l["origin"], l["why_not"], sep="|") for m in json.load(sys.stdin)["mounts"] for l in m["layers"]]'
}

# What is mounted under a policy: the name that the mount shows, and what status says of the layer.
mounted_under() {  # REF TRUST NAME READER ORIGIN WHY
  local root=$WORK/mount-$RANDOM dir=$WORK/mnt/trust notes
  mkdir -p "$dir"
  floe mount "$1" "$dir" --root "$root" --trust "$2"
  notes=$(layer_notes "$root")
  floe status --cachemgr "$root/cachemgr.sock" | grep -E "$4" || { echo "floe status names no reader"; return 1; }
  ls "$dir/dir"
  expect_equal "$(find "$dir/dir" -name "$3" | wc -l)" 1 "names like $3"
  cmp "$dir/dir/file" "$WORK/tmp/tree/dir/file"
  floe unmount "$dir" --root "$root"
  rmdir "$dir"
  rm -rf "$root"
  expect_equal "$(cut -d'|' -f1,2 <<<"$notes")" "$4|$5" "reader and origin"
  [[ $notes == *"$6"* ]] || { echo "the reason does not say '$6': $notes"; return 1; }
}

push_image "$WORK/tmp/image" "$REG/forged:1"
floe index create "$REG/forged:1" >/dev/null
python3 "$SUPPORT/tamper_index.py" "$REG/forged" "$manifest" rename genuine:forgery
push_image "$WORK/tmp/image" "$REG/bound:1"
floe index create --bind "$REG/bound:1" >/dev/null

# Who may push there may also move the tag.
check "repository: a forged referrer is believed" mounted_under "$REG/forged:1" repository forgery floe-index repository ""
check "bound: a forged referrer is not; the layer is streamed" \
  mounted_under "$REG/forged:1" bound genuine stream local "index.trust is bound, and the index of manifest $manifest is only a referrer"
check "local: a forged referrer is not; the layer is streamed" \
  mounted_under "$REG/forged:1" local genuine stream local "index.trust is local"
check "bound: a bound index is believed" mounted_under "$REG/bound:1" bound genuine floe-index bound ""
check "local: a bound index is not; the layer is streamed" mounted_under "$REG/bound:1" local genuine stream local "index.trust is local"
finish
