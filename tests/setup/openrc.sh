#!/bin/sh
# Fetches (once) Debian's OpenRC for the tree of bookworm, and prints the directory that it
# is unpacked in. Not installed: on the machine it would take systemd's place.
set -eu

cache=${RSPAWN_TREE_CACHE:-/var/cache/rspawn-trees}/openrc
if [ ! -e "$cache/sbin/openrc-init" ]; then
    rm -rf "$cache"
    mkdir -p "$cache"
    cd "$cache"
    apt-get download -qq openrc libeinfo1 librc1 >/dev/null 2>&1
    for package in *.deb; do
        dpkg-deb -x "$package" .
        rm "$package"
    done
fi
echo "$cache"
