#!/bin/sh
# Prints the directory below PREFIX in which the C library looks for NSS modules.
# usage: libdir.sh PREFIX
set -eu

prefix=$1
for ask in "dpkg-architecture -qDEB_HOST_MULTIARCH" "${CC:-cc} -print-multiarch" "gcc -print-multiarch"; do
    triple=$($ask 2>/dev/null || true)
    if [ -n "$triple" ] && [ -d "/usr/lib/$triple" ]; then
        echo "$prefix/lib/$triple"
        exit 0
    fi
done
# Without compiler or dpkg: where the C library itself is.
for libc in /usr/lib/*-linux-gnu*/libc.so.6; do
    if [ -e "$libc" ]; then
        echo "$prefix/lib/$(basename "$(dirname "$libc")")"
        exit 0
    fi
done
if [ -e /usr/lib64/libc.so.6 ] && [ ! -h /usr/lib64 ]; then
    echo "$prefix/lib64"
else
    echo "$prefix/lib"
fi
