#!/bin/bash
# The snapshotter's database damaged, and gone: refused with the command that repairs it, which loses nothing that can be read.
. "$(dirname "$0")/../e2e/lib.sh"

SNAPSHOTS=160
DATABASE=$WORK/snapshotter/metadata.db
snapshotter() { "$BIN/floe-snapshotter" --root "$WORK/snapshotter" "$@"; }
listed() { cctr snapshots --snapshotter floe list | awk 'NR > 1 {print $1}' | sort; }

fill_the_store() {
  local i
  lazy_pull "$REG/corpus:7"
  for i in $(seq "$SNAPSHOTS"); do
    cctr snapshots --snapshotter floe prepare "active-$i" >/dev/null
    echo "precious $i" >"$(upper_of "active-$i")/file"
    [ $((i % 2)) = 0 ] || cctr snapshots --snapshotter floe commit "layer-$i" "active-$i"
  done
  listed >"$WORK/tmp/before"
  wc -l <"$WORK/tmp/before"
}
upper_of() { cctr snapshots --snapshotter floe mounts /none "$1" | grep -oE '[^ ,=]*/snapshots/[0-9]+/fs' | head -1; }
damage_pages() {  # the file's own, without what is in the log beside it
  stop snapshotter
  expect_equal "$(find "$WORK/snapshotter" -name 'metadata.db-wal' | wc -l)" 0 "logs beside the closed store"
  python3 - "$DATABASE" <<'EOF'
import os, random, sys
random.seed(7)
pages = os.path.getsize(sys.argv[1]) // 4096
with open(sys.argv[1], "r+b") as file:
    for page in random.sample(range(8, pages), 2):   # behind the schema's and the roots of the tables
        file.seek(page * 4096)
        file.write(os.urandom(4096))
        print(f"page {page} of {pages} is rubbish")
EOF
}
refused() { expect_failure "$1.*--root $WORK/snapshotter --repair" snapshotter --address "$SNAPSHOTTER_SOCK" --cachemgr "$CACHEMGR_SOCK"; }
repaired() { snapshotter --repair | tee "$WORK/tmp/repair.out"; grep -q "$1" "$WORK/tmp/repair.out"; }
sound_again() {
  snapshotter --repair | grep 'is sound: nothing was done'
  start_snapshotter
}
most_are_there() {
  local name
  listed >"$WORK/tmp/after"
  echo "$(wc -l <"$WORK/tmp/after") of $(wc -l <"$WORK/tmp/before") snapshots"
  expect_equal "$(comm -13 "$WORK/tmp/before" "$WORK/tmp/after" | wc -l)" 0 "snapshots that never were"
  [ "$(wc -l <"$WORK/tmp/after")" -ge $((SNAPSHOTS / 2)) ]
  while read -r name; do
    expect_equal "$(cat "$(upper_of "$name")/file")" "precious ${name#active-}"
  done < <(grep ^active- "$WORK/tmp/after")
}
nothing_is_deleted() {  # what is lost lies aside
  local i
  for i in $(seq "$SNAPSHOTS"); do
    grep -rlqx "precious $i" "$WORK/snapshotter/snapshots" "$WORK/snapshotter/lost+found" || { echo "file $i is gone"; return 1; }
  done
}
store_goes() {
  stop snapshotter
  rm "$DATABASE"*
}
in_use() { snapshotter --repair; }
# On copies of the damaged root: killed at any moment, then run to its end; on a disk that is too small, then on one that is not.
# Each time it must end with the same snapshots as an undisturbed repair, and no file may be gone.
disturbed_repairs() {
  stop snapshotter
  mkdir "$WORK/tmp/full"
  mount -t tmpfs tmpfs "$WORK/tmp/full"
  python3 - "$BIN/floe-snapshotter" "$WORK/snapshotter" "$WORK/tmp/copy" "$WORK/tmp/full" "$SNAPSHOTS" <<'EOF'
import glob, os, random, shutil, sqlite3, subprocess, sys, time
program, root, copy, full, snapshots = sys.argv[1:]
def repair(where): return subprocess.run([program, "--root", where, "--repair"], capture_output=True, text=True)
def begin(where):
    if os.path.isdir(where): shutil.rmtree(where)
    shutil.copytree(root, where, symlinks=True, ignore=shutil.ignore_patterns("mnt"))
def outcome(where):
    ended = repair(where)
    assert ended.returncode == 0, ended
    found = set()
    for file in glob.glob(where + "/snapshots/*/fs/file") + glob.glob(where + "/lost+found/*/*/fs/file"):
        found.add(open(file).read().strip())
    assert found == {f"precious {i + 1}" for i in range(int(snapshots))}, (ended, len(found))
    assert not os.path.exists(where + "/metadata.db-wal")
    return sorted(sqlite3.connect(f"file:{where}/metadata.db?immutable=1", uri=True).execute("SELECT id, name, parent_id FROM snapshots"))
begin(copy)
start = time.monotonic()
expected = outcome(copy)
seconds = time.monotonic() - start
killed = 0
for _ in range(40):
    begin(copy)
    while True:
        running = subprocess.Popen([program, "--root", copy, "--repair"], stdout=subprocess.DEVNULL)
        time.sleep(random.uniform(0, seconds))
        running.kill()
        killed += running.wait() != 0
        if random.random() < 0.6: break
    assert outcome(copy) == expected
print(f"{killed} repairs killed, within {1000 * seconds:.0f} ms: {len(expected)} snapshots kept, each time")
assert killed > 20
refused = 0
def limit(size): subprocess.run(["mount", "-o", f"remount,size={size}", full], check=True)
for free in list(range(0, 160, 4)) + [200, 300, 400]:
    limit("64m")
    begin(full + "/root")
    used = os.statvfs(full)
    limit((used.f_blocks - used.f_bfree + free) * used.f_bsize)
    refused += repair(full + "/root").returncode != 0
    limit("64m")
    assert outcome(full + "/root") == expected, free
print(f"{refused} repairs refused for want of space: the same snapshots kept once there was some")
assert 5 < refused < 40
EOF
  umount "$WORK/tmp/full"
  rm -r "$WORK/tmp/full" "$WORK/tmp/copy"
}
# What the repair tells the operator to do.
pulled_again() {
  local name
  while read -r name; do cctr snapshots --snapshotter floe rm "$name"; done < <(listed | grep -E '^(active|layer)-')
  cctr images rm --sync "$REG/corpus:7"
  expect_equal "$(listed | wc -l)" 0 "snapshots"
  lazy_pull "$REG/corpus:7"
  snapshot_tree floe "$(top_chain "$DATA/oci")" "$WORK/tmp/got"
  same_tree "$WORK/tmp/got" "$DATA/expected-tree.jsonl"
}

start_registry
start_containerd
push_image "$DATA/oci" "$REG/corpus:7"
floe index create "$REG/corpus:7" >/dev/null 2>&1
start_floe
check "a lazy image and $SNAPSHOTS snapshots with files" fill_the_store
check "a repair while the snapshotter runs is refused" expect_failure 'another process uses' in_use
check "two pages are overwritten while it is stopped" damage_pages
check "it refuses to start and says how to repair" refused damaged
check "repairs that are killed, or find the disk full, are run again" disturbed_repairs
check "the repair keeps what can be read" repaired ': [1-9][0-9]* snapshots kept'
check "now it is sound, and starts" sound_again
check "what is listed was there before and has its files" most_are_there
check "no file was deleted" nothing_is_deleted
check "the store is removed while it is stopped" store_goes
check "that, too, is refused: no new one by itself" refused 'store is gone'
check "the repair puts the snapshots' files aside" repaired ': 0 snapshots kept'
check "it starts" sound_again
check "no file was deleted" nothing_is_deleted
check "what is lost is removed in containerd, the image pulled again: lazily, and its tree is right" pulled_again
finish
