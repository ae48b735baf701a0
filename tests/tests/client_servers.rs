//! netd as a DHCP client against every server that is at hand, from the first lease to the
//! last word; what goes over the link meanwhile is looked at by tshark.

mod client_support;

use client_support::servers::{self, Kind, Serving, serve};
use client_support::{LINK, addresses, end, lan, monitor, netd, wait_for_address, wait_for_lease};
use netns_fixtures::wait_until;
use rspawn_tests::{FIND_UNICAST, LOSE_UNICAST, SOON, host};

/// It is renewed after 20 s and rebound after 35 s: time for a server that is late.
const FIRST: Serving = Serving {
    subnet: 7,
    seconds: 40,
};
const SECOND: Serving = Serving { subnet: 8, ..FIRST };
const DISCOVER: &str = "dhcp.option.dhcp == 1";
const OFFER: &str = "dhcp.option.dhcp == 2";
const RELEASE: &str = "dhcp.option.dhcp == 7";
const REFUSED: &str = "icmp.type == 3 && (ip.src#1 == 10.77.7.48/28 || ip.src#1 == 10.77.8.48/28)";
const NAK: &str = "dhcp.option.dhcp == 6";
/// An acknowledgement without a second exchange.
const RAPID: &str = "dhcp.option.dhcp == 5 && dhcp.option.type == 80";
/// RFC 2131, section 4.3.2: "DHCPREQUEST generated during RENEWING state: 'server
/// identifier' MUST NOT be filled in, 'requested IP address' option MUST NOT be filled in,
/// 'ciaddr' MUST be filled in with client's IP address. [...] this message will be unicast".
const RENEWAL: &str = "dhcp.option.dhcp == 3 && dhcp.ip.client != 0.0.0.0 \
                       && ip.dst != 255.255.255.255 && !(dhcp.option.type == 50) \
                       && !(dhcp.option.type == 54)";
/// The same: "DHCPREQUEST generated during REBINDING state: [...] This message MUST be
/// broadcast to the 0xffffffff IP broadcast address."
const REBINDING: &str = "dhcp.option.dhcp == 3 && dhcp.ip.client != 0.0.0.0 \
                         && ip.dst == 255.255.255.255 && !(dhcp.option.type == 50) \
                         && !(dhcp.option.type == 54)";
/// The same: "DHCPREQUEST generated during INIT-REBOOT state: 'server identifier' MUST NOT
/// be filled in, 'requested IP address' option MUST be filled in with client's notion of its
/// previously assigned address. 'ciaddr' MUST be zero."
const REBOOT: &str = "dhcp.option.dhcp == 3 && dhcp.ip.client == 0.0.0.0 \
                      && dhcp.option.type == 50 && !(dhcp.option.type == 54)";

#[test]
fn dnsmasq_from_the_first_lease_to_the_last_word() {
    from_the_first_lease_to_the_last_word(Kind::Dnsmasq);
}

#[test]
fn kea_from_the_first_lease_to_the_last_word() {
    from_the_first_lease_to_the_last_word(Kind::Kea);
}

#[test]
fn udhcpd_from_the_first_lease_to_the_last_word() {
    from_the_first_lease_to_the_last_word(Kind::Udhcpd);
}

#[test]
fn networkd_of_the_machine_from_the_first_lease_to_the_last_word() {
    from_the_first_lease_to_the_last_word(Kind::Networkd);
}

#[test]
fn networkd_of_debian_13_from_the_first_lease_to_the_last_word() {
    from_the_first_lease_to_the_last_word(Kind::NetworkdOf("trixie"));
}

fn from_the_first_lease_to_the_last_word(kind: Kind) {
    let host = host();
    let lan = lan(&host, "10.77.7.1/24");
    let capture = &lan.capture;
    let server = serve(&host, &lan, kind, FIRST);

    let first = netd(&host);
    wait_for_lease(&host, &FIRST.address("5"));
    capture.wait_for(DISCOVER, 1);
    if kind.knows_rapid_commit() {
        capture.wait_for(RAPID, 1);
        assert_eq!(capture.count(OFFER), 0, "{}", capture.summary());
    } else {
        capture.wait_for(OFFER, 1);
    }

    let monitor = monitor(&host);
    capture.wait_for(RENEWAL, 1);
    let renewed = || monitor.stdout().contains(&FIRST.address("5"));
    assert!(wait_until(SOON, renewed), "{}", monitor.stdout());

    // A renewal that nobody answers; the next word is to everybody.
    let renewals = capture.count(RENEWAL);
    servers::end(server);
    capture.wait_for(RENEWAL, renewals + 1);
    let discovers = capture.count(DISCOVER);
    let told = monitor.stdout().len();
    // The server is there long before the lease ends, and hears no further attempt.
    let nft = |rules: &str| drop(host.command("nft").arg(rules).output().expect_success());
    nft(LOSE_UNICAST);
    let server = serve(&host, &lan, kind, FIRST);
    capture.wait_for(REBINDING, 1);
    let rebound = || {
        let since = monitor.stdout();
        since[told..].contains(&FIRST.address("5"))
    };
    assert!(wait_until(SOON, rebound), "{}", capture.summary());
    nft(FIND_UNICAST);
    assert_eq!(capture.count(DISCOVER), discovers, "{}", capture.summary());

    // What a server sends to the leased address comes to an open port.
    assert_eq!(capture.count(REFUSED), 0, "{}", capture.summary());

    end(first);
    let second = netd(&host);
    capture.wait_for(REBOOT, 1);
    let told = monitor.stdout().len();
    let again = || monitor.stdout()[told..].contains(&FIRST.address("5"));
    assert!(wait_until(SOON, again), "{}", capture.summary());
    assert_eq!(capture.count(DISCOVER), discovers, "{}", capture.summary());
    let gaps = monitor.stdout();
    assert!(!gaps.contains("Deleted"), "{gaps}");

    // RFC 2131, section 4.3.2: "If the DHCP server detects that the client is on the wrong
    // net [...], then the server SHOULD send a DHCPNAK message to the client."
    end(second);
    servers::end(server);
    lan.run("ip address add 10.77.8.1/24 dev eth0; ip address del 10.77.7.1/24 dev eth0");
    host.write(
        "/etc/netd/80-container-host0.network.d/keep.conf",
        "[Network]\nKeepConfiguration=no\n",
    );
    let server = serve(&host, &lan, kind, SECOND);
    let third = netd(&host);
    capture.wait_for(NAK, 1);
    wait_for_lease(&host, &SECOND.address("5"));
    wait_for_address(&host, &FIRST.address("5"), false);

    end(third);
    capture.wait_for(RELEASE, 1);

    assert!(!addresses(&host).contains("10.77."), "{}", addresses(&host));
    assert!(!host.exists(format!("/var/lib/rspawn/client/{LINK}")));
    servers::end(server);
}
