//! Other managers of the host's links keep off ours.

use netns_fixtures::wait_until;
use rspawn_tests::{SOON, Start, host, networkd_setup, start_dbus, start_networkd, start_udevd};

#[test]
fn networkd_with_udev_keeps_off_our_links() {
    let host = host();
    install_packaging(&host);
    let _bus = start_dbus(&host);
    let _udevd = start_udevd(&host);
    keeps_off(&host);
}

#[test]
fn networkd_without_udev_keeps_off_our_links() {
    let host = host();
    install_packaging(&host);
    // As in a container: networkd asks udev unless /sys is read-only.
    host.run("mount -o remount,bind,ro /sys");
    let _bus = start_dbus(&host);
    keeps_off(&host);
}

/// What `make install` puts beside the programs.
fn install_packaging(host: &netns_fixtures::Host) {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    host.run(&format!(
        "for file in $(find {root}/packaging -name '*.rules'); do install -D -m644 $file /usr/lib/udev/rules.d/$(basename $file); done
         for file in $(find {root}/packaging -name '*.network'); do install -D -m644 $file /usr/lib/systemd/network/$(basename $file); done
         for file in $(find {root}/packaging -name '*.link'); do install -D -m644 $file /usr/lib/systemd/network/$(basename $file); done"
    ));
}

fn keeps_off(host: &netns_fixtures::Host) {
    let _networkd = start_networkd(host);
    let _netd = host.start_netd();
    let tree = host.busybox_tree();
    let web = Start::new(host, "web", &tree)
        .args(["-a", "/bin/sleep", "1000"])
        .start();
    let setup = || networkd_setup(host, "ve-web");
    assert!(
        wait_until(SOON, || setup() == "unmanaged"),
        "networkd: {}",
        setup()
    );
    let addresses = host.run("ip -4 -o address show dev ve-web");
    assert_eq!(
        addresses.lines().count(),
        1,
        "networkd added its own: {addresses}"
    );
    host.run("ping -c1 -W5 web");
    // A link of the same kind that is not ours is networkd's as before.
    host.run(
        "ip link add ve-other type veth peer name x; ip link set ve-other up; ip link set x up",
    );
    assert!(
        wait_until(SOON, || networkd_setup(host, "ve-other")
            .starts_with("config")),
        "{}",
        networkd_setup(host, "ve-other")
    );
    assert_eq!(setup(), "unmanaged");
    assert_eq!(host.run("ip -4 -o address show dev ve-web"), addresses);
    assert!(web.addresses().contains(&web.ipv4()));
}
