//! What a server hands out, and its limits.

use std::net::Ipv4Addr;
use std::time::Duration;

use ipnetwork::Ipv4Network;
use registry::Mac;

use super::code;
use super::leases::ClientKey;
use super::reservations::{Holder, Reservations};

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
    reservations: Reservations,
    /// The default gateway (option 3).
    pub router: Option<Ipv4Addr>,
    /// Name servers, the preferred one first (option 6).
    pub dns: Vec<Ipv4Addr>,
    /// The domain in which clients complete names (option 15).
    pub domain: Option<String>,
    /// The domains in which clients look for short names (option 119).
    pub search: Vec<String>,
    /// Time servers, the preferred one first (option 42).
    pub ntp: Vec<Ipv4Addr>,
    /// Ways to other networks beside the default gateway (option 121).
    pub routes: Vec<Route>,
    /// The time zone by its name in the tz database, as `Europe/Berlin` (option 101).
    pub time_zone: Option<String>,
    /// The time zone as POSIX's `TZ` variable has it (option 100).
    pub posix_time_zone: Option<String>,
    /// Where users log in before the network serves them, a URI (option 114).
    pub captive_portal: Option<String>,
    /// Any other options, sent whether a client asks for them or not. They go before
    /// what the server would say itself under the same number.
    pub options: Vec<SendOption>,
    /// The link's MTU in bytes (option 26); values below 68 are not sent.
    pub mtu: Option<u16>,
    /// The lease time of a client that asks for none.
    pub lease_time: Duration,
    /// The longest lease time that a client can ask for; bounds `lease_time` too.
    pub max_lease_time: Duration,
    /// Whether a DISCOVER that asks for it is answered by an ACK at once (RFC 4039).
    pub rapid_commit: bool,
    /// Whether an address is looked for on the link before it is offered to somebody new:
    /// then the server asks for probes ([`super::Output::Probe`]).
    pub probe: bool,
    /// Whether leases are to be kept ([`super::Output::Keep`]).
    pub keep: bool,
    /// How much one link can make the server do.
    pub bounds: Bounds,
}

/// A way to a network (RFC 3442).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The network.
    pub destination: Ipv4Network,
    /// The router to it; 0.0.0.0 where it is on the link itself.
    pub gateway: Ipv4Addr,
}

/// An option of any meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendOption {
    code: u8,
    value: Vec<u8>,
}

impl SendOption {
    /// An option with this number and value.
    ///
    /// # Errors
    /// If the number is one of those that the server fills in for each exchange, as the
    /// lease time, or the value longer than a message.
    pub fn new(code: u8, value: Vec<u8>) -> Result<Self, ConfigError> {
        if code::OF_THE_EXCHANGE.contains(&code) {
            return Err(ConfigError::OwnOption { code });
        }
        if value.len() > OPTION_VALUE_MAX {
            let length = value.len();
            return Err(ConfigError::LongOption { code, length });
        }
        Ok(Self { code, value })
    }

    /// Its number.
    #[must_use]
    pub fn code(&self) -> u8 {
        self.code
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        &self.value
    }
}

/// How much others can make the server do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Addresses remembered at most, beside the reserved ones; and former clients at most.
    pub leases: usize,
    /// Messages handled in a second at most.
    pub queries_per_second: u32,
    /// Addresses that the senders behind one MAC address, as frames bear it, may have.
    pub per_mac: usize,
    /// Addresses that all senders behind one port may have; if it is not set, a quarter of
    /// the pool, and [`PER_PORT_MIN`] at least.
    pub per_port: Option<usize>,
    /// Addresses that are known to be free ahead of need, at most.
    pub stock: usize,
    /// Clients that wait for the probe of an address at most.
    pub waiting: usize,
}

/// How many addresses a port may have of a small pool too.
pub const PER_PORT_MIN: usize = 16;
/// The longest value of an option: more does not fit a frame.
const OPTION_VALUE_MAX: usize = 1400;

impl Default for Bounds {
    /// For the link of one machine, whose addresses are all its own.
    fn default() -> Self {
        Self {
            leases: 1024,
            queries_per_second: 200,
            per_mac: usize::MAX,
            per_port: Some(usize::MAX),
            stock: 256,
            waiting: 256,
        }
    }
}

impl Bounds {
    /// For a link that machines share which do not know each other.
    #[must_use]
    pub fn shared() -> Self {
        Self {
            leases: 1 << 16,
            queries_per_second: 20_000,
            per_mac: 8,
            per_port: None,
            // Of 3,000 new clients a second, each waits for its probe at first.
            stock: 2048,
            waiting: 4096,
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
    #[error("{address} cannot be reserved for {holder}: it is not a client's address in {network}")]
    Reservation {
        /// Whom it should be kept for.
        holder: Holder,
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
    /// Two clients cannot have the same address reserved.
    #[error("{address} is reserved for {holder} already, and cannot be for {second} too")]
    ReservedTwice {
        /// Who asks second.
        second: Holder,
        /// Who has the reservation.
        holder: Holder,
        /// The address.
        address: Ipv4Addr,
    },
    /// An option that the server fills in itself.
    #[error("option {code} cannot be set: the server says itself what it is in each exchange")]
    OwnOption {
        /// Its number.
        code: u8,
    },
    /// An option that no message has room for.
    #[error(
        "option {code} has {length} bytes, and no message has room for more than {OPTION_VALUE_MAX}"
    )]
    LongOption {
        /// Its number.
        code: u8,
        /// How long it is, in bytes.
        length: usize,
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
            reservations: Reservations::default(),
            router: Some(network.ip()),
            dns: Vec::new(),
            domain: None,
            search: Vec::new(),
            ntp: Vec::new(),
            routes: Vec::new(),
            time_zone: None,
            posix_time_zone: None,
            captive_portal: None,
            options: Vec::new(),
            mtu: None,
            lease_time: DEFAULT_LEASE_TIME,
            max_lease_time: MAX_LEASE_TIME,
            rapid_commit: true,
            probe: false,
            keep: false,
            bounds: Bounds::default(),
        })
    }

    /// Keeps `address` for `mac`: whatever client asks from there gets it, and
    /// nobody else.
    ///
    /// # Errors
    /// If it is no client's address in this subnet, or another's already.
    pub fn reserve(&mut self, mac: Mac, address: Ipv4Addr) -> Result<(), ConfigError> {
        self.reserve_for(Holder::Mac(mac), address)
    }

    /// Keeps nothing for `mac` any more. What was kept.
    pub fn give_back(&mut self, mac: Mac) -> Option<Ipv4Addr> {
        self.reservations.remove(&Holder::Mac(mac))
    }

    /// Keeps `address` for the client with this identifier (option 61), wherever it asks
    /// from. A reservation for the MAC address that it asks from goes before that.
    ///
    /// # Errors
    /// If it is no client's address in this subnet, or another's already.
    pub fn reserve_id(&mut self, id: Vec<u8>, address: Ipv4Addr) -> Result<(), ConfigError> {
        self.reserve_for(Holder::Id(id), address)
    }

    fn reserve_for(&mut self, second: Holder, address: Ipv4Addr) -> Result<(), ConfigError> {
        if !self.is_client_address(address) {
            return Err(ConfigError::Reservation {
                holder: second,
                address,
                network: self.network,
            });
        }
        match self.reservations.holder(address) {
            Some(holder) if *holder != second => Err(ConfigError::ReservedTwice {
                second,
                holder: holder.clone(),
                address,
            }),
            _ => {
                self.reservations.insert(second, address);
                Ok(())
            }
        }
    }

    /// Calls the client for whom `address` is reserved so (option 12).
    pub fn name_reserved(&mut self, address: Ipv4Addr, name: String) {
        self.reservations.set_name(address, name);
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
        self.reservations.of_mac(mac)
    }

    /// The address that is kept for `client`.
    pub(super) fn reservation_of(&self, client: &ClientKey) -> Option<Ipv4Addr> {
        match client {
            ClientKey::Reserved(mac) => self.reservations.of_mac(*mac),
            ClientKey::Id(id) => self.reservations.of_id(id),
        }
    }

    /// The MAC address that `address` is kept for.
    #[must_use]
    pub fn reserved_for(&self, address: Ipv4Addr) -> Option<Mac> {
        match self.reservations.holder(address) {
            Some(Holder::Mac(mac)) => Some(*mac),
            _ => None,
        }
    }

    /// What the client is called for whom `address` is kept.
    pub(super) fn reserved_name(&self, address: Ipv4Addr) -> Option<&str> {
        self.reservations.name(address)
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
            && self.router != Some(address)
            && self.reservations.holder(address).is_none()
    }

    /// How many addresses of the pool one port may have.
    pub(super) fn per_port(&self) -> usize {
        let (first, last) = self.pool;
        let pool = u32::from(last).saturating_sub(u32::from(first));
        let quarter = usize::try_from(pool / 4).unwrap_or(usize::MAX);
        self.bounds.per_port.unwrap_or(quarter.max(PER_PORT_MIN))
    }

    /// The addresses that are kept for somebody.
    pub(super) fn reserved(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.reservations.addresses()
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
