#!/bin/busybox sh
# The first process of a guest: file systems, loopback, the steps, the end.
export PATH=/bin:/usr/bin:/sbin:/usr/sbin
/bin/busybox mkdir -p /proc /sys /dev /tmp /run /usr/bin /sbin /usr/sbin
# What the archive brings itself (file_system.rs) stays; busybox names each such file.
/bin/busybox --install -s 2>/dev/null
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
chmod 1777 /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs tracefs /sys/kernel/tracing
ip link set lo up
export BUSYBOX=/bin/busybox PORT=9010 SCRATCH=/tmp
. /programs.sh
[ -e /sys/kernel/btf/vmlinux ] || echo "@@ lacks the kernel's own BTF"
. /steps.sh
section complaints
dmesg | grep -E 'WARNING:|BUG:|Oops|blocked for more than|detected stall'
end complaints 0
echo "@@ done"
# With -no-reboot this ends the emulator.
reboot -f
