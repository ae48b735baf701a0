//! What a member of a zone does to the others: it says that it is one of them, or the host.

use std::net::IpAddr;

use netns_fixtures::{Host, Running, wait_until};
use rspawn_tests::{Container, SOON, host, start_in_zone};

/// What `hostile-peer` says that others' addresses are at.
const FORGED_MAC: &str = "02:00:00:00:ba:d0";

/// A zone with a hostile member, one that it is after, and one that it tells lies.
struct Zone<'a> {
    host: &'a Host,
    netd: Running<'a>,
    hostile: Container<'a>,
    web: Container<'a>,
    told: Container<'a>,
}

/// What comes after `word` in the text.
fn after(text: &str, word: &str) -> String {
    let mut words = text.split_whitespace().skip_while(|found| *found != word);
    let found = words.nth(1);
    found
        .unwrap_or_else(|| panic!("no {word}: {text}"))
        .to_owned()
}

fn in_zone(test: impl FnOnce(&mut Zone<'_>)) {
    let host = host();
    // Where br_netfilter is loaded, the host's table would see what passes bridges.
    host.run("for file in /proc/sys/net/bridge/bridge-nf-call-*; do echo 0 >$file || true; done");
    let netd = host.start_netd();
    host.write_program(
        "/usr/bin/hostile-peer",
        std::fs::read(env!("CARGO_BIN_EXE_hostile-peer")).unwrap(),
    );
    let mut zone = Zone {
        host: &host,
        netd,
        hostile: start_in_zone(&host, "lab", "hostile"),
        web: start_in_zone(&host, "lab", "web"),
        told: start_in_zone(&host, "lab", "told"),
    };
    test(&mut zone);
    let ended = zone.netd.ended();
    assert!(
        ended.is_none(),
        "netd has ended: {ended:?}\n{}",
        zone.netd.stderr()
    );
}

fn v6(container: &Container<'_>) -> IpAddr {
    let addresses = container.addresses();
    *addresses
        .iter()
        .find(|ip| ip.is_ipv6())
        .expect("an IPv6 address")
}

fn mac(container: &Container<'_>) -> String {
    after(
        &container.run_in_network("ip -o link show host0"),
        "link/ether",
    )
}

impl Zone<'_> {
    fn gateways(&self) -> [String; 2] {
        let inside = |script: &str| self.hostile.run_in_network(script);
        [
            after(&inside("ip -4 route show default"), "via"),
            after(&inside("ip -6 route show default"), "via"),
        ]
    }

    /// Frames of these kinds go to the one that is told lies, and as from the web.
    fn strike(&self, kinds: &[&str]) {
        let [host4, host6] = self.gateways();
        for kind in kinds {
            self.host
                .command_in_network(self.hostile.network(), "hostile-peer")
                .args([kind, "host0", "1"])
                .args([
                    format!("to_mac={}", mac(&self.told)),
                    format!("own4={}", self.hostile.ipv4()),
                    format!("own6={}", v6(&self.hostile)),
                    format!("host4={host4}"),
                    format!("host6={host6}"),
                    format!("other4={}", self.web.ipv4()),
                    format!("other6={}", v6(&self.web)),
                    format!("other_mac={}", mac(&self.web)),
                ])
                .output()
                .expect_success();
        }
    }

    /// What comes to the one that is told lies while it is told these, from the hostile one.
    /// The last thing that is sent is true, and so everything before that has come or never
    /// will.
    fn heard(&self, kinds: &[&str]) -> String {
        let filter = format!(
            "ether src {} or ether src {FORGED_MAC} or (ether src {} and udp dst port 4700)",
            mac(&self.hostile),
            mac(&self.web)
        );
        let mut tcpdump = self
            .host
            .command_in_network(self.told.network(), "tcpdump")
            .args(["-i", "host0", "-p", "-l", "-n", "-e", "-Q", "in"])
            .args([filter.as_str()])
            .spawn("tcpdump");
        tcpdump.wait_for_output("listening on", SOON);
        self.strike(kinds);
        self.strike(&["udp6-from-own", "udp4-from-own"]);
        let own = self.hostile.ipv4();
        let marker = format!("{own}.9 > ");
        tcpdump.wait_for_output(&marker, SOON);
        tcpdump.signal(libc::SIGTERM);
        tcpdump.wait(SOON);
        tcpdump.stdout()
    }

    /// The neighbours as the one that is told lies knows them, by address.
    fn neighbours(&self) -> Vec<String> {
        let [host4, host6] = self.gateways();
        let (web4, web6) = (self.web.ipv4(), v6(&self.web));
        self.told.run(&format!(
            "ping -c1 -W5 {web4}; ping -6 -c1 -W5 {web6}; ping -c1 -W5 {host4}; ping -6 -c1 -W5 {host6}"
        ));
        let shown = self.told.run_in_network("ip neighbour show dev host0");
        let of = |ip: String| {
            let line = shown
                .lines()
                .find(|line| line.starts_with(&format!("{ip} ")));
            format!(
                "{ip} {}",
                after(line.unwrap_or_else(|| panic!("{shown}")), "lladdr")
            )
        };
        vec![
            of(host4),
            of(host6),
            of(web4.to_string()),
            of(web6.to_string()),
        ]
    }
}

#[test]
fn a_member_cannot_say_that_anothers_address_is_its_own() {
    in_zone(|zone| {
        let before = zone.neighbours();
        let heard = zone.heard(&["arp-as-other", "arp-as-host", "na-as-other", "na-as-host"]);
        assert!(!heard.contains("is-at"), "{heard}");
        assert!(!heard.contains("neighbor advertisement"), "{heard}");
        for ip in [zone.web.ipv4().to_string(), zone.gateways()[0].clone()] {
            assert!(!heard.contains(&format!("tell {ip}")), "{heard}");
        }
        assert_eq!(zone.neighbours(), before);
        // What it says of itself, and asks, is heard.
        assert!(heard.contains("ethertype IPv6"), "{heard}");
        let heard = zone.heard(&["arp-probe-of-other"]);
        let question = format!("who-has {} tell 0.0.0.0", zone.web.ipv4());
        assert!(heard.contains(&question), "{heard}");
        // And an address of its own that nobody gave it, to whoever asks for it.
        let further = zone.gateways()[0].rsplit_once('.').unwrap().0.to_owned() + ".251";
        zone.hostile
            .run(&format!("ip address add {further}/24 dev host0"));
        zone.told.run(&format!("ping -c1 -W5 {further}"));
    });
}

#[test]
fn a_member_cannot_say_it_behind_tags() {
    in_zone(|zone| {
        let before = zone.neighbours();
        let heard = zone.heard(&[
            "arp-as-other-tagged",
            "arp-as-other-tagged-twice",
            "na-as-other-tagged-twice",
            "advertise-router-tagged-twice",
        ]);
        for wrong in ["is-at", "advertisement"] {
            assert!(!heard.contains(wrong), "{heard}");
        }
        assert_eq!(zone.neighbours(), before);
    });
}

#[test]
fn a_member_cannot_send_from_anothers_address() {
    in_zone(|zone| {
        let heard = zone.heard(&["udp4-as-other", "udp6-as-other", "udp4-by-mac-of-other"]);
        let web = [
            zone.web.ipv4().to_string(),
            v6(&zone.web).to_string(),
            mac(&zone.web),
        ];
        for from in web {
            assert!(!heard.contains(&format!("{from}.9 >")), "{heard}");
            assert!(!heard.contains(&format!("{from} >")), "{heard}");
        }
        // The bridge knows where the web is, all the same.
        zone.told.run(&format!("ping -c1 -W5 {}", zone.web.ipv4()));
        zone.host.run("ping -c1 -W5 web");
    });
}

#[test]
fn a_member_serves_no_dhcp_and_is_no_router() {
    in_zone(|zone| {
        zone.told
            .run_in_network("sysctl -qw net.ipv6.conf.host0.accept_ra=2");
        let routes = || {
            zone.told.run_in_network(
                "ip -6 route show default; ip -6 -o address show dev host0 scope global | sed s/valid.*//",
            )
        };
        // The host is one, and would be heard as well.
        zone.host.write(
            "/etc/netd/50-zone.network",
            "[Match]\nName=vz-*\n[Network]\nIPv6SendRA=no\n",
        );
        zone.host.run("rspawnctl reload");
        assert!(wait_until(SOON, || !routes().contains("proto ra")));
        let before = routes();
        let heard = zone.heard(&["serve-dhcp", "advertise-router", "redirect6"]);
        for wrong in ["router advertisement", "redirect", "BOOTP/DHCP"] {
            assert!(!heard.contains(wrong), "{heard}");
        }
        assert_eq!(routes(), before);
    });
}

/// As on a host that a member leaves and another joins: what is somebody's follows who is
/// there.
#[test]
fn what_a_member_had_is_anybodys_once_it_has_ended() {
    in_zone(|zone| {
        let web = zone.web.ipv4();
        let forged = |zone: &Zone<'_>| {
            zone.heard(&["arp-as-other"])
                .contains(&format!("tell {web}"))
        };
        assert!(!forged(zone));
        let port = zone.host.run("cat /sys/class/net/vb-web/ifindex");
        zone.web.end(libc::SIGTERM);
        let known = || {
            zone.host
                .run("nft list set bridge rspawn own_ipv4; nft list set bridge rspawn taken_ipv4")
        };
        assert!(
            wait_until(SOON, || !known().contains(&web.to_string())),
            "{port} {}",
            known()
        );
    });
}
