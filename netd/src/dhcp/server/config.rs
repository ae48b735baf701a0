//! What a server hands out, and its limits.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use ipnetwork::Ipv4Network;
use registry::Mac;

/// The lease time of a client that asks for none.
pub const DEFAULT_LEASE_TIME: Duration = Duration::from_secs(3600);

/// The longest lease time that a client can ask for.
pub const MAX_LEASE_TIME: Duration = Duration::from_secs(43_200);

/// What a server hands out on one link, and its limits.
///
/// The subnet and its reservations are checked when they are set; everything
/// else is free to change at any time and is in the next reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    network: Ipv4Network,
    /// The first and the last address that any client may get.
    pool: (Ipv4Addr, Ipv4Addr),
    reservations: BTreeMap<Mac, Ipv4Addr>,
    /// The default gateway (option 3).
    pub router: Option<Ipv4Addr>,
    /// Name servers, the preferred one first (option 6).
    pub dns: Vec<Ipv4Addr>,
    /// The domain in which clients complete names (option 15).
    pub domain: Option<String>,
    /// The link's MTU in bytes (option 26); values below 68 are not sent.
    pub mtu: Option<u16>,
    /// The lease time of a client that asks for none.
    pub lease_time: Duration,
    /// The longest lease time that a client can ask for; bounds `lease_time` too.
    pub max_lease_time: Duration,
    /// Whether a DISCOVER that asks for it is answered by an ACK at once (RFC 4039).
    pub rapid_commit: bool,
    /// How much one link can make the server do.
    pub bounds: Bounds,
}

/// How much one link can make the server do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Addresses remembered at most, beside the reserved ones.
    pub leases: usize,
    /// Messages handled in a second at most.
    pub queries_per_second: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            leases: 1024,
            queries_per_second: 200,
        }
    }
}

/// Why a subnet or a reservation cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The prefix leaves no room for clients, or is longer than any real link's.
    #[error("a DHCP server needs a prefix from /8 to /30, not {network}")]
    Prefix {
        /// The subnet with the server's address.
        network: Ipv4Network,
    },
    /// The server's address is the subnet's first or last, which no host can have.
    #[error("{network} is the subnet's own or its broadcast address, not one of a host")]
    ServerAddress {
        /// The subnet with the server's address.
        network: Ipv4Network,
    },
    /// The reserved address cannot be given to a client of this subnet.
    #[error("{address} cannot be reserved for {mac}: it is not a client's address in {network}")]
    Reservation {
        /// The MAC address that it should be kept for.
        mac: Mac,
        /// The address.
        address: Ipv4Addr,
        /// The subnet with the server's address.
        network: Ipv4Network,
    },
    /// The addresses for any client lie outside of the subnet.
    #[error(
        "{network} has no {size} addresses for clients from its {offset}. one on \
         (PoolOffset={offset}, PoolSize={size})"
    )]
    Pool {
        /// Where they were to begin.
        offset: u32,
        /// How many there were to be, 0 for all.
        size: u32,
        /// The subnet with the server's address.
        network: Ipv4Network,
    },
    /// Two MAC addresses cannot have the same address reserved.
    #[error("{address} is reserved for {holder} already, and cannot be for {mac} too")]
    ReservedTwice {
        /// The MAC address that asks second.
        mac: Mac,
        /// The MAC address that has the reservation.
        holder: Mac,
        /// The address.
        address: Ipv4Addr,
    },
}

impl ServerConfig {
    /// A server that has `network`'s address and serves the rest of its subnet,
    /// itself as the gateway, with no name servers.
    ///
    /// # Errors
    /// If the prefix is not from /8 to /30, or the address not one of a host.
    pub fn new(network: Ipv4Network) -> Result<Self, ConfigError> {
        if !(8..=30).contains(&network.prefix()) {
            return Err(ConfigError::Prefix { network });
        }
        if network.ip() == network.network() || network.ip() == network.broadcast() {
            return Err(ConfigError::ServerAddress { network });
        }
        Ok(Self {
            network,
            pool: hosts(network),
            reservations: BTreeMap::new(),
            router: Some(network.ip()),
            dns: Vec::new(),
            domain: None,
            mtu: None,
            lease_time: DEFAULT_LEASE_TIME,
            max_lease_time: MAX_LEASE_TIME,
            rapid_commit: true,
            bounds: Bounds::default(),
        })
    }

    /// Keeps `address` for `mac`: whatever client asks from there gets it, and
    /// nobody else.
    ///
    /// # Errors
    /// If it is no client's address in this subnet, or another's already.
    pub fn reserve(&mut self, mac: Mac, address: Ipv4Addr) -> Result<(), ConfigError> {
        if !self.is_client_address(address) {
            return Err(ConfigError::Reservation {
                mac,
                address,
                network: self.network,
            });
        }
        match self.reserved_for(address) {
            Some(holder) if holder != mac => Err(ConfigError::ReservedTwice {
                mac,
                holder,
                address,
            }),
            _ => {
                self.reservations.insert(mac, address);
                Ok(())
            }
        }
    }

    /// Keeps what any client may get to `size` addresses from the `offset`th of the
    /// subnet on; 0 stands for the first, and for all that follow. Reserved addresses
    /// may lie anywhere.
    ///
    /// # Errors
    /// If the subnet has not so many; it is served as a whole then.
    pub fn limit_pool(&mut self, offset: u32, size: u32) -> Result<(), ConfigError> {
        let (_, last) = hosts(self.network);
        self.pool = hosts(self.network);
        let error = ConfigError::Pool {
            offset,
            size,
            network: self.network,
        };
        let base = u32::from(self.network.network());
        let first = base.checked_add(offset.max(1)).map(Ipv4Addr::from);
        let first = first.filter(|first| *first <= last).ok_or(error.clone())?;
        let end = match size {
            0 => last,
            size => u32::from(first)
                .checked_add(size - 1)
                .map(Ipv4Addr::from)
                .filter(|end| *end <= last)
                .ok_or(error)?,
        };
        self.pool = (first, end);
        Ok(())
    }

    /// The first and the last address that any client may get.
    pub(super) fn pool(&self) -> (Ipv4Addr, Ipv4Addr) {
        self.pool
    }

    /// The subnet, with the server's address.
    #[must_use]
    pub fn network(&self) -> Ipv4Network {
        self.network
    }

    /// The server's address: option 54, and the source of its replies.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.network.ip()
    }

    /// The address that is kept for `mac`.
    #[must_use]
    pub fn reservation(&self, mac: Mac) -> Option<Ipv4Addr> {
        self.reservations.get(&mac).copied()
    }

    /// The MAC address that `address` is kept for.
    #[must_use]
    pub fn reserved_for(&self, address: Ipv4Addr) -> Option<Mac> {
        self.reservations
            .iter()
            .find(|(_, kept)| **kept == address)
            .map(|(mac, _)| *mac)
    }

    /// Whether a client of this subnet can have `address`.
    #[must_use]
    pub fn is_client_address(&self, address: Ipv4Addr) -> bool {
        self.network.contains(address)
            && address != self.network.network()
            && address != self.network.broadcast()
            && address != self.network.ip()
    }

    /// Whether any client may get `address`: one of the pool that is kept for
    /// nobody.
    pub(super) fn is_pool_address(&self, address: Ipv4Addr) -> bool {
        let (first, last) = self.pool;
        (first..=last).contains(&address)
            && self.is_client_address(address)
            && self.reserved_for(address).is_none()
    }

    /// The addresses that are kept for somebody.
    pub(super) fn reserved(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.reservations.values().copied()
    }

    /// The lease time for a client that asks for `wish` seconds.
    pub(super) fn lease_time_for(&self, wish: Option<u32>) -> Duration {
        // Renewals of a lease of a second would be a flood that we asked for.
        const SHORTEST_WISH: Duration = Duration::from_secs(30);
        // Below this, T1 and T2 would be zero seconds.
        const SHORTEST: Duration = Duration::from_secs(4);

        let usual = self.lease_time.min(self.max_lease_time).max(SHORTEST);
        match wish {
            None => usual,
            Some(seconds) => Duration::from_secs(seconds.into())
                .max(SHORTEST_WISH.min(usual))
                .min(self.max_lease_time.max(SHORTEST)),
        }
    }
}

/// The first and the last address of a subnet that a host can have.
fn hosts(network: Ipv4Network) -> (Ipv4Addr, Ipv4Addr) {
    let first = u32::from(network.network()).saturating_add(1);
    let last = u32::from(network.broadcast()).saturating_sub(1);
    (first.into(), last.into())
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
