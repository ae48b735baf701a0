//! Which settings can be advertised.

use super::*;

fn error(change: impl FnOnce(&mut RaSettings)) -> ConfigError {
    let mut settings = settings();
    change(&mut settings);
    RaConfig::new(settings).unwrap_err()
}

#[test]
fn settings_that_fit() {
    for settings in [settings(), RaSettings::default()] {
        assert_eq!(config_of(settings.clone()).settings(), &settings);
    }
    // The bounds themselves.
    let seconds = Duration::from_secs;
    for (min, max) in [(3, 4), (3, 65_535), (49_151, 65_535)] {
        config_of(RaSettings {
            min_interval: seconds(min),
            max_interval: seconds(max),
            router_lifetime: 65_535,
            ..settings()
        });
    }
}

#[test]
fn settings_that_do_not() {
    let seconds = Duration::from_secs;
    for (min, max) in [(3, 3), (2, 600), (451, 600), (600, 65_536)] {
        let found = error(|s| (s.min_interval, s.max_interval) = (seconds(min), seconds(max)));
        let (min, max) = (seconds(min), seconds(max));
        assert_eq!(found, ConfigError::Interval { min, max });
    }
    let late = Duration::from_millis(501);
    assert_eq!(
        error(|s| s.solicited_delay = late),
        ConfigError::Delay(late)
    );
    let found = error(|s| s.router_lifetime = 599);
    assert_eq!(found, ConfigError::RouterLifetime(599));
    assert_eq!(error(|s| s.mtu = Some(1279)), ConfigError::Mtu(1279));
    for bad in ["fe80::/64", "ff02::/16"] {
        let found = error(|s| s.prefixes.push(Prefix::autonomous(network(bad))));
        assert_eq!(found, ConfigError::Network(network(bad)));
    }
    let twice = network("fd00:1:2:3::7/64");
    let found = error(|s| s.prefixes.push(Prefix::autonomous(twice)));
    assert_eq!(found, ConfigError::Network(twice));
    let found = error(|s| s.prefixes[0].preferred = Lifetime::INFINITE);
    assert_eq!(found, ConfigError::Lifetimes(network("fd00:1:2:3::/64")));
    let many = (0..9).map(|number| network(&format!("fd00:0:0:{number}::/64")));
    let found = error(|s| s.prefixes = many.map(Prefix::autonomous).collect());
    assert_eq!(found, ConfigError::Count("prefixes"));
    for servers in [vec![], vec![HOST_ADDRESS; 9]] {
        let lifetime = Lifetime(60);
        let found = error(|s| s.rdnss = Some(Rdnss { lifetime, servers }));
        assert_eq!(found, ConfigError::Count("name servers"));
    }
    let servers = vec![ALL_NODES];
    let lifetime = Lifetime(60);
    let found = error(|s| s.rdnss = Some(Rdnss { lifetime, servers }));
    assert_eq!(found, ConfigError::Server(ALL_NODES));
    let long: DomainName = ["x"; 100].join(".").parse().unwrap();
    for domains in [vec![], vec![long.clone(), long]] {
        let found = error(|s| s.dnssl = Some(Dnssl { lifetime, domains }));
        assert_eq!(found, ConfigError::Count("search domains"));
    }
    for uri in ["", "http://a b/", "http://\u{e9}/", &"x".repeat(255)] {
        let found = error(|s| s.captive_portal = Some(uri.to_owned()));
        assert_eq!(found, ConfigError::Uri);
    }
}

#[test]
fn domain_names() {
    let read = |text: &str| text.parse::<DomainName>().map(|name| name.to_string());
    assert_eq!(read("Example.ORG."), Ok("example.org".to_owned()));
    assert_eq!(read("_dhcp"), Ok("_dhcp".to_owned()));
    for empty in ["", ".", "a..b", ".a"] {
        assert_eq!(read(empty), Err(DomainError::EmptyLabel));
    }
    assert_eq!(read(&"x".repeat(64)), Err(DomainError::LongLabel));
    assert_eq!(read(&["x"; 128].join(".")), Err(DomainError::Long));
    assert!(read(&["x"; 127].join(".")).is_ok());
    for bad in ["a b", "a/b", "\u{e9}", "a\0"] {
        assert_eq!(read(bad), Err(DomainError::Character));
    }
}
