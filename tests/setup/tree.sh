#!/bin/sh
# Makes (once) a Debian tree that boots, and prints its path.
# usage: tree.sh bookworm|trixie
set -eu

suite=$1
cache=${RSPAWN_TREE_CACHE:-/var/cache/rspawn-trees}
tree=$cache/$suite
mirror=${RSPAWN_DEBIAN_MIRROR:-http://deb.debian.org/debian}
# Raised when what is done to the tree below changes.
recipe=1

mkdir -p "$cache"
exec 9>"$cache/.$suite.lock"
flock 9
if [ "$(cat "$tree.recipe" 2>/dev/null || true)" = "$recipe" ]; then
    echo "$tree"
    exit 0
fi

echo "making a Debian $suite tree in $tree" >&2
rm -rf "$tree" "$tree.recipe"
debootstrap --variant=minbase \
    --include=systemd,systemd-sysv,dbus,openssh-server,iproute2,iputils-ping,libnss-myhostname \
    "$suite" "$tree" "$mirror" >"$cache/$suite.log" 2>&1 || {
    tail -20 "$cache/$suite.log" >&2
    exit 1
}

# The image as a user would have it: networkd in it, root with a key, no
# identity of its own.
chroot "$tree" systemctl enable systemd-networkd.service >/dev/null 2>&1
chroot "$tree" systemctl set-default multi-user.target >/dev/null 2>&1
rm -f "$tree/etc/machine-id" "$tree/var/lib/dbus/machine-id" "$tree/etc/hostname"
: >"$tree/etc/machine-id"
chroot "$tree" passwd -d root >/dev/null 2>&1
rm -rf "$tree/var/cache/apt/archives"/*.deb "$tree/var/lib/apt/lists"/*
rm -f "$cache/id_ed25519" "$cache/id_ed25519.pub.new"
echo "$recipe" >"$tree.recipe"
echo "$tree"
