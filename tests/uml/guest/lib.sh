# shellcheck shell=bash
# What the guest's scripts share beside tests/e2e/lib.sh.
[ -n "${FLOE_IN_UML:-}" ] || { echo "this runs inside User-Mode Linux: tests/uml/boot.sh 6.12 bash $0" >&2; exit 2; }
. "$(dirname "${BASH_SOURCE[0]}")/../../e2e/lib.sh"
NAME="uml $FLOE_IN_UML: $NAME"

counters() { floe status --json --cachemgr "$CACHEMGR_SOCK" | python3 -c 'import json, sys; c = json.load(sys.stdin)["counters"]; print(*(c[k] for k in sys.argv[1:]))' "$@"; }
print_counters() {
  local opens reads closes requests
  read -r opens reads closes requests < <(counters kernel_opens kernel_reads kernel_closes registry_requests)
  echo "messages: $opens OPEN, $reads READ, $closes CLOSE; registry requests: $requests"
}
mount_image() { mkdir -p "$WORK/mnt/$2"; floe mount "$1" "$WORK/mnt/$2" --root "$WORK/mount" --cachemgr "$CACHEMGR_SOCK" "${@:3}"; }   # REF NAME
unmount_image() { floe unmount "$WORK/mnt/$1" --root "$WORK/mount"; }
right_tree() {  # NAME
  tree "$WORK/mnt/$1" "$WORK/tmp/got"
  same_tree "$WORK/tmp/got" "$DATA/expected-tree.jsonl"
}
drop_caches() { sync; echo 3 >/proc/sys/vm/drop_caches; }
file_sum() { sha256sum <"$WORK/mnt/$1" | cut -d' ' -f1; }   # PATH below mnt
expected_sum() { python3 -c 'import json, sys
for line in open(sys.argv[1]):
    entry = json.loads(line)
    if entry["path"].lstrip("./") == sys.argv[2]: print(entry["sha256"])' "$DATA/expected-tree.jsonl" "$1"; }

# $REG/more:1: the corpus's layers, so the same cookies, and one layer more: another bootstrap.
push_more() {
  mkdir "$WORK/tmp/extra"
  echo new >"$WORK/tmp/extra/new-file"
  tar -C "$WORK/tmp/extra" -cf "$WORK/tmp/extra.tar" new-file
  python3 "$SUPPORT/oci_push.py" describe "$DATA/oci" | awk '$1 == "layer" {print $2, $4}' >"$WORK/tmp/layers"
  local blobs=()
  while read -r digest diff; do blobs+=(--blob "$DATA/oci/blobs/${digest/://}:application/vnd.oci.image.layer.v1.tar+gzip:$diff"); done <"$WORK/tmp/layers"
  make_image "$WORK/tmp/more" "${blobs[@]}" --layer "$WORK/tmp/extra.tar"
  push_image "$WORK/tmp/more" "$REG/more:1"
  floe index create "$REG/more:1" >/dev/null
}
push_pair() {  # $REG/pair:1: two layers with a file each, near and far
  local name
  for name in near far; do
    mkdir "$WORK/tmp/$name"
    head -c 100000 /dev/urandom >"$WORK/tmp/$name/$name"
    tar -C "$WORK/tmp/$name" -cf "$WORK/tmp/$name.tar" "$name"
  done
  make_image "$WORK/tmp/pair" --layer "$WORK/tmp/near.tar" --layer "$WORK/tmp/far.tar"
  push_image "$WORK/tmp/pair" "$REG/pair:1"
  floe index create "$REG/pair:1" >/dev/null
}
