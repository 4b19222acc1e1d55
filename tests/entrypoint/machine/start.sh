#!/bin/sh
# Make a machine's files in a namespace, and become its systemd, which is process 1 in there.
# Usage: start.sh FOLDER CONSOLE OPT_OPTIONS
set -eu

folder=$1 console=$2 opt_options=$3
root=$folder/root
system=usr/lib/systemd/system
# What a booting machine needs of Debian's own units, and no more.
targets='basic final local-fs multi-user network network-online paths poweroff shutdown slices
    sockets swap sysinit time-set time-sync timers umount'

# Systemd would mount the real machine's devices here if nothing were mounted.
make_devices() {
    mount -t tmpfs dev "$root/dev"
    mkdir "$root/dev/pts" "$root/dev/shm"
    for each in null zero full random urandom tty; do
        touch "$root/dev/$each"
        mount --bind "/dev/$each" "$root/dev/$each"
    done
    touch "$root/dev/console"
    mount --bind "$console" "$root/dev/console"
}

copy_units() {
    mkdir "$root/own"
    for each in $targets; do
        cp "/$system/$each.target" "$root/own/"
    done
    cp /$system/systemd-poweroff.service /$system/systemd-journald.* \
        /$system/systemd-journald-dev-log.socket "$root/own/"
    mkdir "$root/own/sysinit.target.wants"
    ln -s ../systemd-journald.service "$root/own/sysinit.target.wants/"
    mount --bind "$root/own" "$root/$system"
}

mount -t tmpfs root "$root"
cd "$root"
mkdir -p dev etc/systemd/system opt old proc run sys tmp usr var/lib
ln -s ../run var/run
for each in bin lib lib64 sbin; do
    ln -s "usr/$each" $each
done
mount --bind /usr usr
mount -o remount,bind,ro usr
make_devices
copy_units
mount --bind "$folder/programs" usr/local/bin
cp /etc/passwd /etc/group /etc/os-release etc/
echo 0123456789abcdef0123456789abcdef >etc/machine-id
printf '[Journal]\nStorage=none\n' >etc/systemd/journald.conf
# For this long a power-off waits for what ignores SIGTERM; Debian's own is 90 s.
printf '[Manager]\nDefaultTimeoutStopSec=1s\n' >etc/systemd/system.conf
# The disk: what is in there is there at the next boot too.
mount --bind "$folder/units" etc/systemd/system
mount --bind "$folder/lib" var/lib
mount --bind "$folder/opt" opt
mount -o "remount,bind,$opt_options" opt
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
# By this file a program powers the real machine off.
[ ! -e proc/sysrq-trigger ] || mount --bind /dev/null proc/sysrq-trigger
mount -t sysfs -o ro sys sys
mount -t cgroup2 cgroup sys/fs/cgroup
ip link set lo up
ip addr add 169.254.169.254/32 dev lo
pivot_root . old
umount -l /old
rmdir /old
exec env -i container=test PATH=/usr/local/bin:/usr/sbin:/usr/bin \
    setpriv --bounding-set -sys_module,-sys_rawio,-sys_time \
    /usr/lib/systemd/systemd --system --unit=multi-user.target --log-target=console --show-status=1
