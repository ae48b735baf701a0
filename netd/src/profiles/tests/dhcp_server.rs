//! What is said of a link's DHCP server.

use super::*;

#[test]
fn a_server_hands_out_what_the_profile_says() {
    let config = || {
        let mut config = ServerConfig::new("10.50.0.1/24".parse().unwrap()).unwrap();
        config.dns = vec!["192.0.2.1".parse().unwrap()];
        config
    };
    let mut plain = config();
    assert_eq!(DhcpProfile::default().refine(&mut plain), []);
    assert_eq!(plain, config());

    let mut other = config();
    let mut profile = DhcpProfile {
        lease_time: Some(Duration::from_secs(100_000)),
        emit_router: false,
        dns: vec!["192.0.2.2".parse().unwrap()],
        ..DhcpProfile::default()
    };
    assert_eq!(profile.refine(&mut other), []);
    assert_eq!(other.lease_time, other.max_lease_time);
    assert_eq!((other.router, &other.dns), (None, &profile.dns));
    profile.emit_dns = false;
    assert_eq!(profile.refine(&mut other), []);
    assert!(other.dns.is_empty());
    profile.pool_size = 300;
    let wrong = profile.refine(&mut other);
    let [wrong] = wrong.as_slice() else {
        panic!("{wrong:?}");
    };
    let wrong = wrong.to_string();
    assert!(
        wrong.contains("10.50.0.1/24 has no 300 addresses"),
        "{wrong}"
    );
}

/// What is configured for `ve-web` by a `[DHCPServer]` section and what follows it.
fn configured(section: &str) -> (ServerConfig, Vec<String>) {
    let etc = Etc::new();
    etc.write(
        "etc/10-web.network",
        &format!("[Match]\nName=ve-web\n[DHCPServer]\n{section}"),
    );
    let (profiles, mut messages) = etc.load();
    let profile = profiles.for_link(&link("ve-web"));
    let mut config = ServerConfig::new("10.50.0.1/24".parse().unwrap()).unwrap();
    config.domain = Some("of.host".into());
    let wrong = profile.dhcp.refine(&mut config);
    messages.extend(wrong.iter().map(ToString::to_string));
    (config, messages)
}

#[test]
fn further_settings_are_handed_out() {
    let (config, said) = configured(
        "NTP=192.0.2.1\nNTP=192.0.2.2\nTimezone=Europe/Berlin\nDomain=example.org.\n\
         SearchDomains=a.example b.example\nRoute=10.8.3.0/16 10.50.0.9\n\
         CaptivePortal=https://log.in/\nRapidCommit=no\n\
         SendOption=224:string:some thing\nSendOption=225:uint16:513\n\
         SendOption=226:uint8:7\nSendOption=227:uint32:1\nSendOption=228:ipv4address:192.0.2.7\n\
         SendOption=229:ipv6address:fd00::1\n",
    );
    assert_eq!(said, Vec::<String>::new());
    let v4 = |last| std::net::Ipv4Addr::new(192, 0, 2, last);
    assert_eq!(config.ntp, [v4(1), v4(2)]);
    assert_eq!(config.time_zone.as_deref(), Some("Europe/Berlin"));
    assert_eq!(config.domain.as_deref(), Some("example.org"));
    assert_eq!(config.search, ["a.example", "b.example"]);
    let [route] = config.routes.as_slice() else {
        panic!("{:?}", config.routes);
    };
    assert_eq!(route.destination.to_string(), "10.8.0.0/16");
    assert_eq!(config.captive_portal.as_deref(), Some("https://log.in/"));
    assert!(!config.rapid_commit);
    let options = config.options.iter();
    let options: Vec<(u8, &[u8])> = options.map(|one| (one.code(), one.value())).collect();
    let v6 = "fd00::1".parse::<std::net::Ipv6Addr>().unwrap().octets();
    assert_eq!(
        options,
        [
            (224, "some thing".as_bytes()),
            (225, &[2, 1]),
            (226, &[7]),
            (227, &[0, 0, 0, 1]),
            (228, &[192, 0, 2, 7]),
            (229, &v6),
        ]
    );
    let (config, _) =
        configured("NTP=192.0.2.1\nEmitNTP=no\nTimezone=UTC\nEmitTimezone=no\nEmitDomain=no\n");
    assert_eq!(
        (config.ntp.len(), config.time_zone, config.domain),
        (0, None, None)
    );
    let (config, _) = configured(
        "SendOption=224:uint8:1\nSendOption=\nRoute=10.0.0.0/8 10.50.0.9\nRoute=\n\
         SearchDomains=a\nSearchDomains=\n",
    );
    assert!(config.options.is_empty() && config.routes.is_empty() && config.search.is_empty());
    assert_eq!(config.domain.as_deref(), Some("of.host"));
}

#[test]
fn addresses_are_kept_for_somebody() {
    let (config, said) = configured(
        "[DHCPServerStaticLease]\nMACAddress=02:00:00:00:00:01\nAddress=10.50.0.77\nHostname=db\n\
         [DHCPServerStaticLease]\nMACAddress=02-00-00-00-00-02\nAddress=10.50.0.78\n\
         [DHCPServerStaticLease]\nAddress=10.50.0.79\n\
         [DHCPServerStaticLease]\nMACAddress=02:00:00:00:00:03\nAddress=10.51.0.1\n",
    );
    let kept = |last| config.reservation(registry::Mac([2, 0, 0, 0, 0, last]));
    assert_eq!(kept(1), Some("10.50.0.77".parse().unwrap()));
    assert_eq!(kept(2), Some("10.50.0.78".parse().unwrap()));
    assert_eq!(kept(3), None);
    assert_eq!(
        said,
        [
            "10.51.0.1 cannot be reserved for 02:00:00:00:00:03: it is not a client's address in \
          10.50.0.1/24"
        ]
    );
}

#[test]
fn what_cannot_be_handed_out_is_told_with_its_place() {
    let (_, said) = configured(
        "NTP=time.example\nTimezone=../etc\nDomain=a..b\nRoute=10.0.0.0/8\nSendOption=42\n\
         SendOption=224:text:a\nSendOption=224:uint8:300\nSendOption=51:uint32:1\n\
         SendOption=0:uint8:1\n[DHCPServerStaticLease]\nMACAddress=02:00\nAddress=fd00::1\n",
    );
    let is = [
        (
            4,
            "NTP= has no effect: \"time.example\" is no IPv4 address of a time server",
        ),
        (
            5,
            "Timezone= has no effect: \"../etc\" is no time zone, such as Europe/Berlin",
        ),
        (6, "Domain= has no effect: \"a..b\" is no domain"),
        (
            7,
            "Route= has no effect: \"10.0.0.0/8\" is no network and the router to it",
        ),
        (
            8,
            "SendOption= has no effect: \"42\" is no option, such as 42:ipv4address:",
        ),
        (
            9,
            "SendOption= has no effect: \"text\" is no type of an option: uint8,",
        ),
        (10, "SendOption= has no effect: \"300\" is no uint8"),
        (11, "SendOption= has no effect: option 51 cannot be set"),
        (
            12,
            "SendOption= has no effect: \"0\" is no number from 1 to 254",
        ),
        (
            14,
            "MACAddress= has no effect: \"02:00\" is no Ethernet address",
        ),
        (15, "Address= has no effect: \"fd00::1\" is no IPv4 address"),
    ];
    assert_eq!(said.len(), is.len(), "{said:#?}");
    for (said, (line, text)) in said.iter().zip(is) {
        let begin = format!("etc/10-web.network:{line}: {text}");
        assert!(said.starts_with(&begin), "{said} is not {begin}");
    }
}
