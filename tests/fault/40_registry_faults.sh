#!/bin/bash
# Registries as they really are: each fault once, for ever, and gone again, against the bytes, the time, the counters and the log.
. "$(dirname "$0")/../e2e/lib.sh"
DEADLINE_MS=3000 STALL_MS=1000
FAULTS=$SOURCE_DIR/tests/fault/registry_faults.py
# What may stand in no log, no status and no file of the cache. The registry's tokens and signatures hold the word as well.
USER_NAME=CANARY-user PASSWORD=CANARY-password
BASIC=$(printf '%s:%s' $USER_NAME $PASSWORD | base64)

# One file of text that deflate can halve, so that each of its units needs a window too.
mkdir -p "$WORK/tmp/tree"
python3 - "$(python3 "$FAULTS" bytes)" >"$WORK/tmp/tree/data" <<'E3'
import random, sys
sys.stdout.write(random.Random(40).randbytes(int(sys.argv[1]) // 2).hex())
E3
tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$WORK/tmp/tree" -cf "$WORK/tmp/layer.tar" .
make_image "$WORK/tmp/image" --layer "$WORK/tmp/layer.tar:gzip"
rm "$WORK/tmp/layer.tar"
layer=$(describe_image "$WORK/tmp/image" | awk '$1 == "layer" {print $2}')

# Pushed and indexed at a registry that can be pushed to, and taken from its storage.
start_registry
push_image "$WORK/tmp/image" "$REG/app:1"
floe index create --span 262144 "$REG/app:1" >/dev/null
take_over_content() {  # DIR
  local storage=$WORK/registry/docker/registry/v2 file tag
  mkdir -p "$1/blobs" "$1/manifests"
  for file in "$storage"/blobs/sha256/*/*/data; do cp "$file" "$1/blobs/sha256:$(basename "$(dirname "$file")")"; done
  for file in "$storage"/repositories/app/_manifests/revisions/sha256/*; do add_manifest "$1" "sha256:$(basename "$file")" "sha256:$(basename "$file")"; done
  for tag in "$storage"/repositories/app/_manifests/tags/*; do add_manifest "$1" "$(basename "$tag")" "$(cat "$tag/current/link")"; done
}
add_manifest() {  # DIR NAME DIGEST
  cp "$1/blobs/$3" "$1/manifests/$2"
  python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["mediaType"], end="")' "$1/blobs/$3" >"$1/manifests/$2.type"
}
take_over_content "$WORK/tmp/content"
stop registry

spawn faulty python3 "$SUPPORT/faulty_registry.py" "$WORK/tmp/content" "$WORK/tmp/ports" $USER_NAME $PASSWORD
wait_for "the faulty registry" 10 test -s "$WORK/tmp/ports"
read -r port storage_port control_port <"$WORK/tmp/ports"
FAULTY=127.0.0.1:$port
control() { python3 -c 'import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).read().decode())' "http://127.0.0.1:$control_port/$1"; }

mkdir -m 0700 "$WORK/docker" "$WORK/mnt/image"
echo "{\"auths\": {\"$FAULTY\": {\"auth\": \"$BASIC\"}}}" >"$WORK/docker/config.json"
cat >"$WORK/cachemgr.toml" <<EOF
log_level = "debug"
[fill]
request_timeout_ms = $DEADLINE_MS
readahead_units = 0
[registry]
docker_config_dir = "$WORK/docker"
stall_timeout_ms = $STALL_MS
connect_timeout_ms = $STALL_MS
EOF

mounted() {
  start_cachemgr --channel fuse --config "$WORK/cachemgr.toml"
  floe --docker-config "$WORK/docker" mount "$FAULTY/app:1" "$WORK/mnt/image" --root "$WORK/mount" --cachemgr "$CACHEMGR_SOCK"
  control "blob?digest=$layer"
  head -c 1 "$WORK/mnt/image/data" >"$WORK/tmp/first"   # the first token is bought
}
row() {  # NAME
  python3 "$FAULTS" row "$1" --file "$WORK/mnt/image/data" --expected "$WORK/tmp/tree/data" --control "$control_port" --floe "$BIN/floe" \
    --socket "$CACHEMGR_SOCK" --deadline $((DEADLINE_MS / 1000)) --table "$WORK/tmp/table"
}
one_process() { alive "$(pid_of cachemgr)" && expect_equal "$(grep -c ' ready version' "$WORK/log/cachemgr.log")" 1 "starts of the cache manager"; }

# Each kind has its line, with all that an operator needs; no storm of one kind floods the log.
lines_name() {
  local kind lines
  for kind in $(python3 "$FAULTS" kinds); do
    lines=$(grep -cE "fetch fault kind=$kind registry=$FAULTY digest=sha256:[0-9a-f]{64} offset=[0-9]+ length=[0-9]+ attempt=[0-9]+ retried=(true|false) reason=" \
      "$WORK/log/cachemgr.log") || { echo "no line for $kind"; return 1; }
    echo "$kind: $lines lines"
  done
  grep -m1 'kind=redirect_refused' "$WORK/log/cachemgr.log"
  grep -q "127.0.0.1:$storage_port/storage/$layer?\.\.\." "$WORK/log/cachemgr.log"
}
status_tells() {
  floe status --cachemgr "$CACHEMGR_SOCK" >"$WORK/log/status.txt"
  floe status --json --cachemgr "$CACHEMGR_SOCK" >"$WORK/log/status.json"
  grep -E '^(network|integrity) faults: ' "$WORK/log/status.txt"
}
no_secrets() {
  local places=("$WORK/log" "$WORK/cachemgr" "$WORK/mount")
  grep -q "$BASIC" "$WORK/docker/config.json"
  [ "$(control stats | grep -c tokens)" = 1 ]
  if grep -rlaF -e CANARY -e "$BASIC" "${places[@]}"; then return 1; fi
  echo "searched $(find "${places[@]}" -type f | wc -l) files, $(grep -c . "$WORK/log/cachemgr.log") lines of log at level debug"
}
over() {
  floe unmount "$WORK/mnt/image" --root "$WORK/mount"
  stop cachemgr
  wait_for "the keeper's end" 10 no_keeper
}
no_keeper() { ! pgrep -f "floe-keeper --address $WORK/"; }

start=$(now_ms)
check "mounted with a user, a password and tokens" mounted
while IFS= read -r name; do check "$name" row "$name"; done < <(python3 "$FAULTS" list)
printf '\n%s\n%s\n\n' "$(python3 "$FAULTS" head)" "$(cat "$WORK/tmp/table")"
note "req.: requests for the layer's bytes, + tokens bought; deadline $((DEADLINE_MS / 1000)) s, stall timeout $((STALL_MS / 1000)) s; $(seconds $(($(now_ms) - start))) s in all"
check "one process all the time" one_process
check "each kind of fault has its line in the log" lines_name
check "floe status tells" status_tells
check "no credential in a log, a status or a file of the cache" no_secrets
check "unmounted, everything ends" over
finish
