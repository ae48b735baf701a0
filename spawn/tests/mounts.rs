//! What the user asks to be mounted.

mod common;

use common::{Netd, SOON, host, rspawn};
use registry::protocol::{Registered, ToSupervisor};

#[test]
fn nothing_covers_what_is_mounted_below_it() {
    let host = host();
    let tree = host.busybox_tree();
    host.run("mkdir -p /srv/in/below /srv/more; echo in >/srv/in/file; echo more >/srv/more/file");
    let options = [
        "--bind=/srv/more:/a/b/below",
        "--bind-ro=/srv/in:/a/b",
        "--tmpfs=/a",
        "/bin/sh",
        "-c",
        "cat /a/b/file /a/b/below/file; echo x >/a/x && echo tmpfs",
    ];
    let output = rspawn(&host, &tree, &options).output();
    assert_eq!(output.expect_success().stdout, "in\nmore\ntmpfs\n");
}

/// The file that keeps the address of `host0` is for links that netd serves.
#[test]
fn networkd_keeps_its_address_on_a_link_of_its_own_only() {
    let host = host();
    let tree = host.busybox_tree();
    host.run("ip link add br0 type bridge");
    let netd = Netd::new(&host);
    for (network, shown) in [
        ("--network-veth", "KeepConfiguration=dhcp"),
        ("--network-bridge=br0", ""),
    ] {
        let script = "cat /run/systemd/network/*/*; true";
        let mut web = rspawn(&host, &tree, &[network, "/bin/sh", "-c", script]).spawn("web");
        let supervisor = netd.accept();
        let (_, held) = supervisor.hear_registration();
        supervisor.say(&ToSupervisor::Registered(Registered::default()));
        drop(held);
        web.wait(SOON);
        let found = web
            .stdout()
            .lines()
            .find(|line| line.starts_with("Keep"))
            .unwrap_or_default()
            .to_owned();
        assert_eq!(found, shown, "{network}");
    }
}
