#!/bin/sh
# Tells what runs on this host that files of rspawn have come or gone. What does
# not run needs no telling, and what cannot be told is no reason to fail.

if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || true
fi
if [ -S /run/udev/control ]; then
    udevadm control --reload || true
fi
if [ -d /run/systemd/netif ] && [ -d /run/systemd/system ] &&
    systemctl --quiet is-active systemd-networkd.service; then
    networkctl reload || true
fi
exit 0
