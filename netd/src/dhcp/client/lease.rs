//! What a client has.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use ipnetwork::Ipv4Network;
use registry::Mac;

use super::config::ClientConfig;
use super::options::{Options, code};
use super::packet::{PacketError, Reply, is_host};
use super::settings::Settings;
use super::timers::Times;
use super::{Deadline, ServerDatagram};
use crate::random::Random;

/// An address, for how long it is the client's, and what goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The address with the subnet's prefix.
    pub address: Ipv4Network,
    /// Who gave it (option 54).
    pub server: Ipv4Addr,
    /// Where frames to the server go, if its last answer came without a relay.
    pub server_mac: Option<Mac>,
    /// When it was asked for, from which `times` count: not after the server's count began.
    pub acquired: Instant,
    /// For how long.
    pub times: Times,
    /// What goes with it.
    pub settings: Settings,
}

/// What a renewal has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The prefix or the broadcast address.
    pub prefix: bool,
    /// Routes.
    pub routes: bool,
    /// Name servers, domain or search list.
    pub names: bool,
    /// The MTU.
    pub mtu: bool,
    /// Anything else: time servers, host name, time zone, captive portal.
    pub other: bool,
}

impl Lease {
    /// The lease that an OFFER or ACK gives.
    ///
    /// # Errors
    /// If it gives no address that can be used, or not for any time.
    pub(super) fn read(
        reply: &Reply,
        datagram: &ServerDatagram,
        acquired: Instant,
        random: &mut Random,
    ) -> Result<Self, PacketError> {
        let options = &reply.options;
        let seconds = options
            .number(code::LEASE_TIME)?
            .ok_or(PacketError::Missing(code::LEASE_TIME))?;
        if seconds == 0 {
            return Err(PacketError::NoTime);
        }
        let time = |code| options.number(code).ok().flatten();
        let (renewal, rebinding) = (time(code::RENEWAL_TIME), time(code::REBINDING_TIME));
        // Only what the server has sent itself tells where it is.
        let is_direct = !reply.is_relayed && datagram.source == reply.server;
        let Mac([first, ..]) = datagram.source_mac;
        let is_station = first & 1 == 0 && datagram.source_mac != Mac([0; 6]);
        Ok(Self {
            address: address(reply.yiaddr, options)?,
            server: reply.server,
            server_mac: (is_direct && is_station).then_some(datagram.source_mac),
            acquired,
            times: Times::new(seconds, renewal, rebinding, random),
            settings: Settings::read(options, reply.yiaddr),
        })
    }

    /// When it ends; never if `None`.
    #[must_use]
    pub fn expires(&self) -> Deadline {
        self.after(|limits| limits.lifetime)
    }

    /// T1, when its server is asked for more time.
    #[must_use]
    pub fn renewal(&self) -> Deadline {
        self.after(|limits| limits.renewal)
    }

    /// T2, when any server is asked.
    #[must_use]
    pub fn rebinding(&self) -> Deadline {
        self.after(|limits| limits.rebinding)
    }

    fn after(&self, time: impl Fn(&super::Limits) -> Duration) -> Deadline {
        match &self.times {
            Times::Forever => None,
            // An end that no clock can show is none.
            Times::Limited(limits) => self.acquired.checked_add(time(limits)),
        }
    }

    /// Whether it is over.
    #[must_use]
    pub fn has_ended(&self, now: Instant) -> bool {
        self.expires().is_some_and(|end| end <= now)
    }

    /// What is not as in `before`.
    #[must_use]
    pub fn changes_since(&self, before: &Self) -> Changes {
        let (old, new) = (&before.settings, &self.settings);
        Changes {
            prefix: before.address != self.address || old.broadcast != new.broadcast,
            routes: old.routes != new.routes,
            names: (&old.dns, &old.domain, &old.search) != (&new.dns, &new.domain, &new.search),
            mtu: old.mtu != new.mtu,
            other: (&old.ntp, &old.hostname, &old.timezone)
                != (&new.ntp, &new.hostname, &new.timezone)
                || (&old.posix_timezone, &old.captive_portal)
                    != (&new.posix_timezone, &new.captive_portal),
        }
    }
}

/// The given address in its subnet.
fn address(address: Ipv4Addr, options: &Options) -> Result<Ipv4Network, PacketError> {
    if !is_host(address) {
        return Err(PacketError::NotAHost(address));
    }
    let mask = options
        .address(code::SUBNET_MASK)?
        .unwrap_or_else(|| class_mask(address));
    let network =
        Ipv4Network::with_netmask(address, mask).map_err(|_| PacketError::NoMask(mask))?;
    check(network)
}

/// Refuses an address that no host of its subnet can have.
pub(super) fn check(network: Ipv4Network) -> Result<Ipv4Network, PacketError> {
    let address = network.ip();
    let is_edge = address == network.network() || address == network.broadcast();
    match network.prefix() {
        0 => Err(PacketError::NoMask(network.mask())),
        1..=30 if is_edge => Err(PacketError::NotAHost(address)),
        _ if !is_host(address) => Err(PacketError::NotAHost(address)),
        _ => Ok(network),
    }
}

/// What a server means that gives no mask: it is as old as the classes (RFC 791, 3.2).
fn class_mask(address: Ipv4Addr) -> Ipv4Addr {
    match address.octets() {
        [0..128, ..] => Ipv4Addr::new(255, 0, 0, 0),
        [128..192, ..] => Ipv4Addr::new(255, 255, 0, 0),
        _ => Ipv4Addr::new(255, 255, 255, 0),
    }
}

/// A lease that outlasts the client which had it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedLease {
    /// The link's Ethernet address.
    pub mac: Mac,
    /// The client's identifier (option 61).
    pub client_id: Vec<u8>,
    /// The address with the subnet's prefix.
    pub address: Ipv4Network,
    /// Who gave it.
    pub server: Ipv4Addr,
    /// Where frames to the server go, if known.
    pub server_mac: Option<Mac>,
    /// How long ago it was asked for; unknown if `None`, since the clock was set back.
    pub age: Option<Duration>,
    /// For how long, counted from when it was asked for.
    pub times: Times,
    /// What goes with it.
    pub settings: Settings,
}

impl SavedLease {
    /// What is to be kept of a lease that a client with this configuration has at `now`.
    #[must_use]
    pub fn new(lease: &Lease, config: &ClientConfig, now: Instant) -> Self {
        Self {
            mac: config.mac,
            client_id: config.client_id(),
            address: lease.address,
            server: lease.server,
            server_mac: lease.server_mac,
            age: Some(now.saturating_duration_since(lease.acquired)),
            times: lease.times,
            settings: lease.settings.clone(),
        }
    }

    /// Whether it was this client's.
    #[must_use]
    pub fn is_of(&self, config: &ClientConfig) -> bool {
        self.mac == config.mac && self.client_id == config.client_id()
    }

    /// Whether it has ended; not known to have, if nobody knows how old it is.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        match (self.age, self.times.lifetime()) {
            (Some(age), Some(lifetime)) => age >= lifetime,
            _ => false,
        }
    }

    /// The lease as it is at `now`, if it is known how long it will last.
    #[must_use]
    pub fn restore(self, now: Instant) -> Option<Lease> {
        let lease = Lease {
            address: self.address,
            server: self.server,
            server_mac: self.server_mac,
            acquired: now.checked_sub(self.age?)?,
            times: self.times,
            settings: self.settings,
        };
        (!lease.has_ended(now)).then_some(lease)
    }
}
