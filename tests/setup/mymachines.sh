#!/bin/sh
# Fetches (once) systemd's NSS module for containers, which the bench measures ours
# against, and prints its path. Unpacked, not installed: installing it would change
# the machine's nsswitch.conf.
set -eu

cache=${RSPAWN_TREE_CACHE:-/var/cache/rspawn-trees}/mymachines
module=$(ls "$cache"/usr/lib/*/libnss_mymachines.so.2 "$cache"/lib/*/libnss_mymachines.so.2 2>/dev/null | head -n 1)
if [ -z "$module" ]; then
    rm -rf "$cache"
    mkdir -p "$cache"
    cd "$cache"
    apt-get download -qq libnss-mymachines >/dev/null
    dpkg-deb -x libnss-mymachines_*.deb .
    module=$(ls "$cache"/usr/lib/*/libnss_mymachines.so.2 "$cache"/lib/*/libnss_mymachines.so.2 2>/dev/null | head -n 1)
fi
echo "$module"
