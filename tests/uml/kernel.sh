#!/bin/bash
# Prints the path of a User-Mode Linux kernel with EROFS over fscache, built once from Debian's own source.
#
#   tests/uml/kernel.sh 6.12 | 6.1
#
# Kept outside the tree, in ~/.cache/floe/uml/<package version>-<hash of configuration and this script>/linux. The source
# package is fetched with apt-get and unpacked there too; nothing is installed.
set -euo pipefail

HERE=$(cd "$(dirname "$0")" && pwd)
VERSION=${1:?usage: kernel.sh 6.12 | 6.1}
CONFIG=$HERE/$VERSION.config
PACKAGE=linux-source-$VERSION
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/floe/uml
[ -s "$CONFIG" ] || { echo "kernel.sh: no configuration for $VERSION" >&2; exit 2; }

# The newest that apt knows; without its lists, whatever was built last.
known() { apt-cache policy "$PACKAGE" 2>/dev/null | awk '$1 == "Candidate:" && $2 != "(none)" {print $2}'; }
recipe=$(cat "$CONFIG" "$0" | sha256sum | cut -c1-12)
candidate=$(known)
if [ -z "$candidate" ]; then
  kept=$(find "$CACHE" -maxdepth 2 -path "*/$VERSION.*-$recipe/linux" 2>/dev/null | sort -V | tail -1)
  [ -z "$kept" ] || { echo "$kept"; exit 0; }
  apt-get -qq update >&2
  candidate=$(known)
fi
[ -n "$candidate" ] || { echo "kernel.sh: apt has no $PACKAGE: bookworm-security (or bookworm-backports) must be among its sources" >&2; exit 1; }

DIR=$CACHE/${candidate//[^A-Za-z0-9.+~-]/_}-$recipe
mkdir -p "$CACHE"
exec 9>"$CACHE/$VERSION.lock"
flock 9
[ -x "$DIR/linux" ] && { echo "$DIR/linux"; exit 0; }

WORK=$(mktemp -d "$CACHE/build.XXXXXX")
trap 'rm -rf "$WORK"' EXIT
started=$SECONDS
echo "building User-Mode Linux $candidate: once for this version and configuration" >&2
(cd "$WORK" && apt-get -qq -o APT::Sandbox::User=root download "$PACKAGE=$candidate") >&2
mkdir "$WORK/source" "$WORK/build"
# What no User-Mode Linux is compiled from, but most of the bytes.
dpkg-deb --fsys-tarfile "$WORK"/linux-source-*.deb | tar -xO "./usr/src/linux-source-$VERSION.tar.xz" | tar -xJ -C "$WORK/source" --strip-components=1 \
  --exclude='*/Documentation/*/*' --exclude='*/drivers/gpu/*.[ch]' --exclude='*/drivers/net/*/*.[ch]' --exclude='*.dts*' --exclude='*/tools/testing/*' --exclude='*/sound/*.[ch]'
cp "$CONFIG" "$WORK/build/.config"
kbuild() { make -C "$WORK/source" ARCH=um O="$WORK/build" "$@" >"$WORK/make.log" 2>&1 || { tail -40 "$WORK/make.log" >&2; return 1; }; }
kbuild olddefconfig
for option in EROFS_FS_ONDEMAND CACHEFILES_ONDEMAND HOSTFS BLK_DEV_UBD FUSE_FS OVERLAY_FS BLK_DEV_LOOP; do
  # olddefconfig drops silently what lacks a dependency.
  grep -qx "CONFIG_$option=y" "$WORK/build/.config" || { echo "kernel.sh: CONFIG_$option was dropped from $CONFIG" >&2; exit 1; }
done
kbuild -j"$(nproc)" linux
strip -o "$WORK/linux" "$WORK/build/linux"
mkdir -p "$DIR"
mv "$WORK/linux" "$DIR/linux"
echo "built in $((SECONDS - started)) s" >&2
echo "$DIR/linux"
