#!/bin/sh
# Stops netd before its files go. Containers that run keep their network.

if [ -d /run/systemd/system ] && systemctl --quiet is-active netd.service; then
    systemctl disable --now --quiet netd.service || true
fi
if [ -d /run/openrc ] && [ -x /etc/init.d/netd ]; then
    rc-service --ifstarted netd stop || true
    rc-update --quiet delete netd || true
fi
exit 0
