#!/bin/sh
# Installs the Debian packages that the tests, the demo and the benches run
# against. Does nothing when all of them are there.
set -eu

packages="
avahi-autoipd busybox-static ca-certificates dbus debootstrap debian-archive-keyring
dhcpcd-base dnsmasq-base gcc iproute2 iputils-arping iputils-ping isc-dhcp-client
isc-dhcp-relay kea-admin kea-dhcp4-server libc-bin libc6-dev make ndisc6 netcat-openbsd nftables openssh-client procps python3-minimal radvd strace systemd
systemd-container tcpdump tshark udev udhcpc util-linux
"

missing=
for package in $packages; do
    state=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# Installing must not start daemons on the machine that tests run on.
trap 'rm -f /usr/sbin/policy-rc.d' EXIT
if [ ! -e /usr/sbin/policy-rc.d ]; then
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod +x /usr/sbin/policy-rc.d
else
    trap - EXIT
fi
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $missing >/dev/null
