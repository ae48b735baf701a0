//! What files say, and which of them counts.

mod dhcp_server;
mod router;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::dhcp::server::ServerConfig;
use crate::ra::Lifetime;
use crate::subnets::Subnets;

/// The directories of a host.
struct Etc(tempfile::TempDir);

impl Etc {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, path: &str, text: &str) -> &Self {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn mask(&self, path: &str) -> &Self {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink("/dev/null", path).unwrap();
        self
    }

    fn load(&self) -> (Profiles, Vec<String>) {
        let directories = ["etc", "run", "usr"].map(|name| self.0.path().join(name));
        let host = HostFacts {
            name: "alpha".into(),
            machine_id: None,
        };
        let (profiles, messages) = Profiles::load(&Directories(directories.into()), host);
        let root = format!("{}/", self.0.path().display());
        let texts = messages
            .iter()
            .map(|message| message.to_string().replace(&root, ""));
        (profiles, texts.collect())
    }

    /// The profile of `ve-web`, by files of which there is nothing to be said.
    #[track_caller]
    fn web(&self) -> Profile {
        let (profiles, messages) = self.load();
        assert_eq!(messages, Vec::<String>::new());
        of_link(&profiles, "ve-web")
    }
}

fn link(name: &str) -> LinkFacts {
    LinkFacts {
        names: vec![name.to_owned()],
        kind: "veth".into(),
        link_type: "ether".into(),
    }
}

fn of_link(profiles: &Profiles, name: &str) -> Profile {
    Profile::clone(&profiles.for_link(&link(name)))
}

fn fixed(text: &str) -> Subnet4 {
    Subnet4::Fixed(text.parse().unwrap())
}

/// A file with a lease time by which it is told from others.
fn lease(seconds: u64) -> String {
    format!("[Match]\nName=ve-*\n[DHCPServer]\nDefaultLeaseTimeSec={seconds}\n")
}

fn seconds(profile: &Profile) -> u64 {
    profile.dhcp.lease_time.map_or(0, |time| time.as_secs())
}

#[test]
fn without_files_the_built_in_profile_holds() {
    let profile = Etc::new().web();
    assert_eq!(profile.name, "80-container-ve.network");
    assert_eq!(
        profile,
        Profile {
            name: profile.name.clone(),
            v4: Subnet4::Any(28),
            client: ClientProfile {
                link_local: true,
                ..ClientProfile::default()
            },
            ..Profile::default()
        }
    );
    assert_eq!(of_link(&Profiles::default(), "ve-web"), profile);
}

#[test]
fn every_key_has_its_effect() {
    let etc = Etc::new();
    etc.write(
        "etc/10-web.network",
        "[Match]\nName=ve-web\nKind=veth\nDriver=veth\nType=ether\nHost=al*\n\
         [Link]\nMTUBytes=9K\n\
         [Network]\nAddress=10.50.0.1/24\nAddress=fd00:50::1/64\nDHCPServer=no\n\
         [DHCPServer]\nBindToInterface=no\nDefaultLeaseTimeSec=2h\nMaxLeaseTimeSec=infinity\nEmitRouter=no\nEmitDNS=no\n\
         DNS=192.0.2.53\nDNS=192.0.2.54 192.0.2.55\nPoolOffset=100\nPoolSize=50\n\
         MaxLeasesPerPort=9\n",
    );
    let v4 = |last| std::net::Ipv4Addr::new(192, 0, 2, last);
    assert_eq!(
        etc.web(),
        Profile {
            name: "10-web.network".into(),
            v4: fixed("10.50.0.0/24"),
            v6: Some("fd00:50::/64".parse().unwrap()),
            dhcp_server: false,
            dhcp: DhcpProfile {
                lease_time: Some(Duration::from_secs(7200)),
                max_lease_time: Some(Duration::from_secs(u32::MAX.into())),
                bind_to_interface: false,
                emit_router: false,
                emit_dns: false,
                dns: vec![v4(53), v4(54), v4(55)],
                pool_offset: 100,
                pool_size: 50,
                max_per_port: Some(9),
                ..DhcpProfile::default()
            },
            mtu: Some(9216),
            client: ClientProfile::default(),
            router: RouterProfile::default(),
            relay: None,
        }
    );
}

#[test]
fn every_key_of_a_client_has_its_effect() {
    let etc = Etc::new();
    let keys = "[Match]\nName=ve-web\n\
        [Network]\nDHCP=yes\nLinkLocalAddressing=ipv4\nKeepConfiguration=no\n\
        IPv4DuplicateAddressDetectionTimeoutSec=7s\n\
        [DHCPv4]\nClientIdentifier=mac\nSendHostname=no\nHostname=web\n\
        VendorClassIdentifier=thing\nRapidCommit=no\nRequestBroadcast=yes\n\
        RequestAddress=10.0.0.9\nMaxAttempts=3\nSendRelease=no\nSendDecline=no\nUseDNS=no\n\
        UseDomains=no\nUseRoutes=no\nUseGateway=no\nUseMTU=no\nUseHostname=yes\n\
        UseTimezone=yes\nRouteMetric=7\n";
    etc.write("etc/10-web.network", keys);
    let expected = ClientProfile {
        dhcp: true,
        link_local: true,
        probe_time: Duration::from_secs(7),
        identity: Identity::Mac,
        send_hostname: false,
        hostname: Some("web".into()),
        vendor_class: Some("thing".into()),
        rapid_commit: false,
        request_broadcast: true,
        request_address: Some(std::net::Ipv4Addr::new(10, 0, 0, 9)),
        max_attempts: Some(3),
        send_release: false,
        send_decline: false,
        keep: Keep::Nothing,
        use_dns: false,
        use_domains: false,
        use_routes: false,
        use_gateway: false,
        use_mtu: false,
        use_hostname: true,
        use_timezone: true,
        route_metric: 7,
    };
    assert_eq!(etc.web().client, expected);
}

#[test]
fn the_link_to_the_host_has_a_client_and_no_other_has() {
    let client = |name| of_link(&Profiles::default(), name).client;
    assert!(client("host0").dhcp && client("host0").link_local);
    assert!(!client("eth0").is_wanted());
    // There it is for the host's own end of it.
    assert!(!client("ve-web").dhcp && client("ve-web").link_local);
}

#[test]
fn an_empty_value_makes_undone() {
    let etc = Etc::new();
    let all = "[Link]\nMTUBytes=9K\n[Network]\nAddress=10.50.0.1/24\nDHCPServer=no\n[DHCPServer]\n\
        DefaultLeaseTimeSec=2h\nMaxLeaseTimeSec=9h\nEmitRouter=no\nEmitDNS=no\nDNS=192.0.2.53\n\
        PoolOffset=100\nPoolSize=50\n";
    let none: String = all
        .lines()
        .map(|line| {
            line.split_once('=')
                .map_or(line.to_owned(), |(key, _)| format!("{key}="))
        })
        .map(|line| line + "\n")
        .collect();
    etc.write(
        "etc/1.network",
        &format!("[Match]\nName=x\nName=\nName=ve-web\n{all}{none}"),
    );
    let profile = etc.web();
    let name = "1.network".to_owned();
    assert_eq!(
        profile,
        Profile {
            name,
            ..Profile::default()
        }
    );
}

#[test]
fn an_address_of_no_place_asks_for_a_size() {
    let etc = Etc::new();
    etc.write(
        "etc/1.network",
        "[Match]\nName=*\n[Network]\nAddress=0.0.0.0/26\n",
    );
    assert_eq!(etc.web().v4, Subnet4::Any(26));
}

#[test]
fn the_first_file_by_name_counts_wherever_it_is() {
    let etc = Etc::new();
    etc.write("etc/50-b.network", &lease(50));
    etc.write("usr/40-a.network", &lease(40));
    assert_eq!(seconds(&etc.web()), 40);
    // The same name: etc before run before usr.
    etc.write("run/40-a.network", &lease(41));
    assert_eq!(seconds(&etc.web()), 41);
    etc.write("etc/40-a.network", &lease(42));
    assert_eq!(seconds(&etc.web()), 42);
    // Others' files.
    etc.write("etc/.1.network", &lease(1))
        .write("etc/1.netdev", &lease(1));
    etc.write("etc/1.network~", &lease(1));
    assert_eq!(seconds(&etc.web()), 42);
}

#[test]
fn a_file_for_other_links_is_none() {
    let etc = Etc::new();
    etc.write("etc/1.network", &lease(11).replace("ve-*", "ve-a* ve-b*"));
    etc.write("etc/2.network", &lease(12).replace("ve-*", "!ve-web"));
    etc.write(
        "etc/3.network",
        &lease(13).replace("Name=", "Host=beta\nName="),
    );
    let (profiles, _) = etc.load();
    for (name, time) in [("ve-a1", 11), ("ve-c", 12), ("ve-web", 0)] {
        assert_eq!(seconds(&profiles.for_link(&link(name))), time, "{name}");
    }
}

#[test]
fn an_empty_file_and_a_link_to_nothing_take_a_name_out() {
    let etc = Etc::new();
    etc.write("usr/40-a.network", &lease(40))
        .write("usr/50-b.network", &lease(50));
    etc.mask("etc/40-a.network");
    assert_eq!(seconds(&etc.web()), 50);
    etc.write("run/50-b.network", "");
    assert_eq!(seconds(&etc.web()), 0);
    // Also the built-in one, and what is added to one that is out adds to nothing.
    etc.write(
        "etc/80-container-ve.network.d/a.conf",
        "[DHCPServer]\nDefaultLeaseTimeSec=9\n",
    );
    assert_eq!(seconds(&etc.web()), 9);
    etc.mask("run/80-container-ve.network");
    assert_eq!(etc.web(), Profile::default());
}

#[test]
fn drop_ins_add_in_the_order_of_their_names() {
    let etc = Etc::new();
    let time = |seconds| format!("[DHCPServer]\nDefaultLeaseTimeSec={seconds}\n");
    etc.write("usr/40-a.network", &lease(40));
    etc.write("usr/40-a.network.d/20.conf", &time(20));
    assert_eq!(seconds(&etc.web()), 20);
    etc.write("run/40-a.network.d/30.conf", &time(30));
    etc.write("etc/40-a.network.d/10.conf", &time(10));
    assert_eq!(
        seconds(&etc.web()),
        30,
        "the last name counts, wherever it is"
    );
    etc.write("etc/40-a.network.d/30.conf", &time(31));
    assert_eq!(seconds(&etc.web()), 31, "the same name: etc counts");
    etc.mask("etc/40-a.network.d/20.conf")
        .write("etc/40-a.network.d/30.conf", "");
    assert_eq!(seconds(&etc.web()), 10);
    // They go on where the file has ended, but begin with no section.
    etc.write(
        "etc/40-a.network.d/40.conf",
        "[Match]\nName=\nName=ve-other\n",
    );
    assert_eq!(seconds(&etc.web()), 0);
    etc.write("etc/40-a.network.d/40.conf", "DefaultLeaseTimeSec=1\n");
    let (_, messages) = etc.load();
    assert_eq!(
        messages,
        [
            "etc/40-a.network.d/40.conf:1: DefaultLeaseTimeSec= stands before the first section, such as [Network]"
        ]
    );
}

#[test]
fn what_is_not_known_is_told_once_and_the_rest_counts() {
    let etc = Etc::new();
    etc.write(
        "etc/1.network",
        "[Match]\nName=ve-web\n[Network]\nIPMasquerade=ipv4\nIPMasquerade=both\nX-Mine=1\n\
         mtubytes=1400\n[Bridge]\nCost=3\nMore=4\n[X-Mine]\nA=1\n[Bridge]\n[network]\n\
         [DHCPServer]\nDefaultLeaseTimeSec=77\n",
    );
    let (profiles, messages) = etc.load();
    assert_eq!(seconds(&profiles.for_link(&link("ve-web"))), 77);
    assert_eq!(
        messages,
        [
            "etc/1.network:4: IPMasquerade= is not known to netd in section [Network]: passed over",
            "etc/1.network:7: mtubytes= is not known to netd in section [Network]: passed over; is \
             MTUBytes= in [Link] meant?",
            "etc/1.network:8: section [Bridge] is not known to netd: passed over",
            "etc/1.network:14: section [network] is not known to netd: passed over; is [Network] meant?",
        ]
    );
}

#[test]
fn what_is_wrong_is_told_with_what_would_be_right_and_the_rest_counts() {
    let etc = Etc::new();
    etc.write(
        "etc/1.network",
        "[Match]\nName=ve-web\n[Link]\nMTUBytes=70K\n[Network]\nAddress=10.50.0.9/24\n\
         Address=10.50.0.0/31\nAddress=10.50.0.1\nAddress=127.0.0.1/8\nAddress=fe80::1/64\n\
         Address=10.60.0.1/24\nAddress=10.61.0.1/24\nDHCPServer=maybe\n\
         [DHCPServer]\nDefaultLeaseTimeSec=1\nMaxLeaseTimeSec=x\nDNS=192.0.2.53 ::1\n\
         PoolSize=-1\nDefaultLeaseTimeSec=77\n",
    );
    let (profiles, messages) = etc.load();
    let profile = of_link(&profiles, "ve-web");
    assert_eq!(
        profile,
        Profile {
            name: "1.network".into(),
            v4: fixed("10.60.0.0/24"),
            dhcp: DhcpProfile {
                lease_time: Some(Duration::from_secs(77)),
                ..DhcpProfile::default()
            },
            ..Profile::default()
        }
    );
    let wrong = [
        "4: MTUBytes= has no effect: \"70K\" is no number of bytes from 1280 to 65535",
        "6: Address= has no effect: the host has the first address of its subnet: write 10.50.0.1/24",
        "7: Address= has no effect: a link's subnet has a prefix from /8 to /30, not /31",
        "8: Address= has no effect: \"10.50.0.1\" is no address with a prefix length, such as 10.50.0.1/24",
        "9: Address= has no effect: 127.0.0.1/8 cannot be a network of hosts",
        "10: Address= has no effect: fe80::1/64 is neither a global nor a unique local address (2000::/3, fc00::/7)",
        "12: Address= has no effect: the link has an IPv4 address by an earlier line, and netd gives it one; \
         write Address= without a value first to put another in its place",
        "13: DHCPServer= has no effect: \"maybe\" is neither yes nor no",
        "15: DefaultLeaseTimeSec= has no effect: a lease lasts 4 seconds or longer",
        "16: MaxLeaseTimeSec= has no effect: \"x\" is no span of time, such as 3600, 90min or 1h 30min",
        "17: DNS= has no effect: \"::1\" is no IPv4 address of a name server",
        "18: PoolSize= has no effect: \"-1\" is no number from 0 to 4294967295",
    ];
    assert_eq!(messages, wrong.map(|text| format!("etc/1.network:{text}")));
}

#[test]
fn a_file_of_which_it_is_not_known_for_whom_is_for_nobody() {
    for (text, told) in [
        ("[Network]\nDHCPServer=no\n", "the file is for no link"),
        (
            "[Match]\n[Network]\nDHCPServer=no\n",
            "the file is for no link",
        ),
        (
            "[Match]\nName=*\nSSID=x\n[Network]\nDHCPServer=no\n",
            "passed over: its [Match]",
        ),
        (
            "[Match]\nName=*\nHost=\"x\n[Network]\nDHCPServer=no\n",
            "passed over: its [Match]",
        ),
    ] {
        let etc = Etc::new();
        etc.write("etc/1.network", text);
        let (profiles, messages) = etc.load();
        assert!(profiles.for_link(&link("ve-web")).dhcp_server, "{text}");
        assert!(messages.last().unwrap().contains(told), "{messages:?}");
    }
}

#[test]
fn what_is_no_file_is_told_and_keeps_nobody_waiting() {
    let etc = Etc::new();
    etc.write("etc/5.network", &lease(5));
    let path = |name: &str| etc.0.path().join("etc").join(name);
    fs::create_dir(path("1.network")).unwrap();
    symlink("/nowhere/at/all", path("2.network")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        path("3.network"),
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    fs::write(path("4.network"), vec![b'#'; 300 * 1024]).unwrap();
    fs::write(etc.0.path().join("run"), "no directory").unwrap();
    let (profiles, messages) = etc.load();
    assert_eq!(seconds(&profiles.for_link(&link("ve-web"))), 5);
    for name in ["1.network", "2.network", "3.network", "4.network"] {
        let found = messages
            .iter()
            .any(|text| text.starts_with(&format!("etc/{name}: cannot be")));
        assert!(found, "{name}: {messages:?}");
    }
    assert!(
        messages
            .iter()
            .any(|text| text.starts_with("run: cannot be listed")),
        "{messages:?}"
    );
}

#[test]
fn pools_and_what_is_left_out() {
    let etc = Etc::new();
    let default: Vec<_> = Pools::default().v4;
    assert_eq!(etc.load().0.pools().v4, default);
    etc.write(
        "etc/netd.conf",
        "[Subnets]\nPool=10.100.0.0/16 10.101.0.0/16\nPool=10.102.0.1/16\nPool=fd00::/48\n\
         Exclude=10.100.1.0/24 fd00::/8\n[Network]\n",
    );
    etc.write("usr/netd.conf", "[Subnets]\nPool=172.30.0.0/16\n");
    etc.write("run/netd.conf.d/a.conf", "[Subnets]\nPool=100.64.0.0/10\n");
    let (profiles, messages) = etc.load();
    let texts: Vec<String> = profiles
        .pools()
        .v4
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(texts, ["10.100.0.0/16", "10.101.0.0/16", "100.64.0.0/10"]);
    assert_eq!(profiles.pools().exclude.len(), 2);
    assert_eq!(
        messages,
        [
            "etc/netd.conf:3: Pool= has no effect: 10.102.0.1/16 is an address in a network: write 10.102.0.0/16",
            "etc/netd.conf:4: Pool= has no effect: fd00::/48 is no IPv4 network; IPv6 subnets are made from the \
             host's identity",
            "etc/netd.conf:6: section [Network] is not known to netd: passed over",
        ]
    );
    etc.write("etc/netd.conf.d/b.conf", "[Subnets]\nPool=\nExclude=\n");
    let (profiles, _) = etc.load();
    assert_eq!(profiles.pools().v4, default);
    assert!(profiles.pools().exclude.is_empty());
}

#[test]
fn what_a_machine_keeps_fits_or_is_given_up() {
    let subnets = |v4: &str, v6: &str| Subnets {
        v4: v4.parse().ok(),
        v6: v6.parse().ok(),
    };
    let kept = subnets("192.168.7.16/28", "fd12::/64");
    let mut profile = Profile::default();
    assert_eq!(profile.fitting(kept, 28), kept);
    assert_eq!(profile.missed(&kept), None);
    profile.v4 = Subnet4::Any(24);
    assert_eq!(profile.fitting(kept, 28), subnets("", "fd12::/64"));
    assert_eq!(profile.missed(&kept), None);
    profile.v4 = fixed("10.50.0.0/24");
    assert_eq!(profile.missed(&kept), "10.50.0.0/24".parse().ok());
    let right = subnets("10.50.0.0/24", "fd12::/64");
    assert_eq!(
        (profile.fitting(right, 28), profile.missed(&right)),
        (right, None)
    );
    profile.v6 = "fd50::/64".parse().ok();
    assert_eq!(profile.fitting(right, 28), subnets("10.50.0.0/24", ""));
    assert_eq!(profile.missed(&right), "fd50::/64".parse().ok());
}

#[test]
fn the_example_of_the_page_is_right() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/network-files.md");
    let page = fs::read_to_string(page).unwrap();
    let mut examples = 0;
    for example in page.split("```ini\n").skip(1) {
        let (text, _) = example.split_once("```").unwrap();
        let (heading, _) = text.split_once('\n').unwrap();
        let name = heading.strip_prefix("# /etc/netd/").unwrap();
        let etc = Etc::new();
        etc.write(&format!("etc/{name}"), text);
        let (_, messages) = etc.load();
        assert_eq!(messages, Vec::<String>::new(), "{text}");
        examples += 1;
    }
    assert!(examples >= 3, "{examples}");
}

proptest! {
    #[test]
    fn any_file_is_survived(
        lines in proptest::collection::vec(
            prop_oneof![
                2 => (0..KEYS.len(), "[0-9a-z./:* !-]{0,12}").prop_map(|(row, value)| {
                    format!("[{}]\n{}={value}", KEYS[row].section, KEYS[row].name)
                }),
                1 => "\\PC{0,30}",
            ],
            0..20,
        ),
    ) {
        let text = lines.join("\n");
        let (profiles, messages) =
            Profiles::of_file("a.network", text.as_bytes(), HostFacts::default());
        let last = text.split('\n').count();
        prop_assert!(messages.iter().all(|message| message.line.is_none_or(|line| line <= last)));
        let profile = profiles.for_link(&link("ve-web"));
        if let Subnet4::Fixed(subnet) = profile.v4 {
            prop_assert_eq!(subnet.ip(), subnet.network());
            prop_assert!((8..=30).contains(&subnet.prefix()));
        }
        prop_assert!(profile.mtu.is_none_or(|mtu| (1280..=65_535).contains(&mtu)));
    }
}
