//! What can be configured.

use ipnetwork::Ipv4Network;

use super::*;
use crate::dhcp::server::ConfigError;

fn network(text: &str) -> Ipv4Network {
    text.parse().unwrap()
}

#[test]
fn refuses_subnets_that_cannot_be_served() {
    for text in ["10.0.0.1/32", "10.0.0.0/31", "10.0.0.1/7", "0.0.0.0/0"] {
        let network = network(text);
        assert_eq!(
            ServerConfig::new(network),
            Err(ConfigError::Prefix { network })
        );
    }
    for text in ["10.0.0.0/28", "10.0.0.15/28"] {
        let network = network(text);
        assert_eq!(
            ServerConfig::new(network),
            Err(ConfigError::ServerAddress { network })
        );
    }
}

#[test]
fn reserves_only_addresses_of_clients_and_once() {
    let mut config = ServerConfig::new(network("192.168.7.1/28")).unwrap();
    let [a, b] = [1, 2].map(|last| Mac([2, 0, 0, 0, 0, last]));
    for last in [0, 1, 15, 16] {
        assert!(config.reserve(a, Ipv4Addr::new(192, 168, 7, last)).is_err());
    }
    let second = Ipv4Addr::new(192, 168, 7, 2);
    assert_eq!(config.reserve(a, second), Ok(()));
    assert_eq!(config.reserve(a, second), Ok(()));
    assert!(matches!(
        config.reserve(b, second),
        Err(ConfigError::ReservedTwice { .. })
    ));
    assert!(!config.is_pool_address(second));
}

#[test]
fn a_pool_lies_within_its_subnet() {
    let mut config = ServerConfig::new(network("192.168.7.1/28")).unwrap();
    let of = |config: &ServerConfig| {
        let (first, last) = config.pool();
        (first.octets()[3], last.octets()[3])
    };
    assert_eq!(of(&config), (1, 14));
    for (offset, size, pool) in [
        (0, 0, (1, 14)),
        (5, 0, (5, 14)),
        (8, 4, (8, 11)),
        (14, 1, (14, 14)),
    ] {
        config.limit_pool(offset, size).unwrap();
        assert_eq!(of(&config), pool);
    }
    for (offset, size) in [(15, 0), (0, 15), (8, 8), (u32::MAX, 1), (1, u32::MAX)] {
        config.limit_pool(8, 4).unwrap();
        assert!(config.limit_pool(offset, size).is_err());
        assert_eq!(of(&config), (1, 14), "the whole subnet is served");
    }
}

#[test]
fn lease_times_stay_within_their_limits() {
    let mut config = ServerConfig::new(network("192.168.7.1/28")).unwrap();
    let seconds = |config: &ServerConfig, wish| config.lease_time_for(wish).as_secs();
    assert_eq!(seconds(&config, None), 3600);
    assert_eq!(seconds(&config, Some(7200)), 7200);
    assert_eq!(seconds(&config, Some(u32::MAX)), 43_200);
    assert_eq!(seconds(&config, Some(0)), 30);
    config.lease_time = Duration::from_secs(10);
    assert_eq!(seconds(&config, Some(0)), 10);
    config.max_lease_time = Duration::ZERO;
    assert_eq!(seconds(&config, Some(0)), 4);
}
