//! netd's DHCP server with systemd-networkd as the client, in Debian trees that boot, on a
//! link of a container's own and in a zone; what goes over the link meanwhile is looked at
//! by tshark. The lease and its first renewal are also in `boot`.

mod matrix_support;

use matrix_support::{ACK, DISCOVER, NAK, RAPID, REBINDING, REBOOT, RELEASE, RENEWAL};
use netns_fixtures::wait_until;
use rspawn_tests::{BOOT, Capture, SOON, Start};

#[test]
fn networkd_of_debian_12_on_a_link_of_its_own() {
    from_the_first_lease_to_the_last_word("bookworm", false);
}

#[test]
fn networkd_of_debian_12_in_a_zone() {
    from_the_first_lease_to_the_last_word("bookworm", true);
}

#[test]
fn networkd_of_debian_13_on_a_link_of_its_own() {
    from_the_first_lease_to_the_last_word("trixie", false);
}

#[test]
fn networkd_of_debian_13_in_a_zone() {
    from_the_first_lease_to_the_last_word("trixie", true);
}

fn from_the_first_lease_to_the_last_word(suite: &str, in_zone: bool) {
    let host = rspawn_tests::host();
    host.write(
        "/etc/netd/50-matrix.network",
        "[Match]\nName=ve-web vz-lab\n[Network]\nAddress=10.50.0.1/24\n[DHCPServer]\n\
         DefaultLeaseTimeSec=64s\n",
    );
    let netd = host.start_netd();
    let tree = host.tree(suite);
    // It starts when the capture runs.
    host.run(&format!(
        "ln -sf /dev/null {}/etc/systemd/system/systemd-networkd.service",
        tree.display()
    ));
    let (web, link) = if in_zone {
        let start = Start::without_network(&host, "web", &tree).args(["--network-zone=lab"]);
        (start.boot(), "vb-web")
    } else {
        (Start::new(&host, "web", &tree).boot(), "ve-web")
    };
    let address = web.ipv4().to_string();
    let capture = Capture::start(&host, host.command("tcpdump"), link);
    let summary = || capture.summary();
    let answered = |request: &str, more_than: usize, acks: usize| {
        let so = || capture.count(request) > more_than && capture.count(ACK) > acks;
        assert!(wait_until(BOOT, so), "no {request}:\n{}", summary());
    };
    // As in a container that nobody has given an address before.
    web.run_in_network("ip -4 address flush dev host0");
    web.run(
        "rm /etc/systemd/system/systemd-networkd.service; systemctl daemon-reload
         systemctl start systemd-networkd",
    );
    capture.wait_for(ACK, 1);
    assert_eq!(capture.count(RAPID) > 0, suite == "trixie", "{}", summary());
    let leased = || web.sh("cat /run/systemd/netif/leases/*").stdout;
    let named = format!("ADDRESS={address}\n");
    assert!(
        wait_until(SOON, || leased().contains(&named)),
        "{}",
        leased()
    );

    answered(RENEWAL, 0, 1);
    // A renewal that nobody answers; the next word is to everybody.
    let renewals = capture.count(RENEWAL);
    drop(netd);
    host.wait_for_no_netd();
    capture.wait_for(RENEWAL, renewals + 1);
    let (acks, discovers) = (capture.count(ACK), capture.count(DISCOVER));
    let _netd = host.start_netd();
    answered(REBINDING, 0, acks);
    assert_eq!(capture.count(DISCOVER), discovers, "{}", summary());

    // Started anew, it asks for what the link has; which it is told that it may not have
    // where that is of another network.
    let acks = capture.count(ACK);
    web.run("systemctl restart systemd-networkd");
    answered(REBOOT, 0, acks);
    web.run("systemctl stop systemd-networkd");
    web.run_in_network(
        "ip -4 address flush dev host0
         ip address add 10.99.0.9/24 dev host0 valid_lft 600 preferred_lft 600",
    );
    let acks = capture.count(ACK);
    web.run("systemctl start systemd-networkd");
    answered(NAK, 0, acks);

    web.run(
        "mkdir -p /run/systemd/network/80-container-host0.network.d
         printf '[Network]\\nKeepConfiguration=no\\n[DHCPv4]\\nSendRelease=yes\\n' \
             >/run/systemd/network/80-container-host0.network.d/zz.conf
         networkctl reload; systemctl restart systemd-networkd",
    );
    assert!(
        wait_until(SOON, || leased().contains(&named)),
        "{}",
        leased()
    );
    // 252 says it when it begins anew, 257 when it stops.
    web.run("networkctl reconfigure host0; systemctl stop systemd-networkd");
    capture.wait_for(RELEASE, 1);
}
