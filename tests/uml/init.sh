#!/bin/bash
# Process 1 of the guest that boot.sh starts: mounts what a machine has, runs the command, writes its status, halts.
halt_guest() { sync; python3 -c 'import ctypes; ctypes.CDLL(None).reboot(0x4321fedc)'; }
trap halt_guest EXIT
set -e
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts -o ptmxmode=0666 devpts /dev/pts
for dir in /dev/shm /run /tmp /mnt /var/tmp; do mount -t tmpfs -o mode=1777 tmpfs "$dir"; done
ln -sf pts/ptmx /dev/ptmx
ln -sf /proc/self/fd /dev/fd
mkdir /mnt/cache /mnt/host
argument() { sed -n "s/.* $1=\([^ ]*\).*/\1/p" /proc/cmdline; }
scratch=$(argument floe_scratch)
[ -n "$scratch" ]   # hostfs of nothing would be all of the host
mount -t hostfs -o "$scratch" none /mnt/host
source=$(argument floe_source)   # once more: it may lie below one of those directories
mkdir -p "$source" 2>/dev/null || true
mount -t hostfs -o ro,"$source" none "$source"
mount -t ext4 -o user_xattr /dev/ubda /mnt/cache
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up
set +e
bash /mnt/host/command 2>&1 | cat   # a pipe: nobody sits at a terminal
echo "${PIPESTATUS[0]}" >/mnt/host/status
