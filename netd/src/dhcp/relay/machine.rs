//! What a relay does with each datagram.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use registry::Mac;

use super::option::{HEADER_LEN, Packet};
use super::{CIRCUIT_MAX, Forward, Place, RelayConfig, RelayError};
use crate::dhcp::server::Transmit;
use crate::dhcp::{BROADCAST_MAC, CLIENT_PORT, SERVER_PORT};

/// The most relays that a message passes (RFC 1542, section 4.1.1).
const HOPS_MAX: u8 = 16;
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest message that is passed on: a frame's, without IPv4 and UDP headers.
const LONGEST: usize = 1472;
/// What part of the exchanges that are remembered may be those of one port.
const PORT_SHARE: usize = 4;

const BOOTREQUEST: u8 = 1;
const BOOTREPLY: u8 = 2;
const ETHERNET: u8 = 1;
const NAK: u8 = 6;

/// Where the fields are (RFC 2131, section 2).
mod field {
    use std::ops::Range;

    pub(super) const OP: usize = 0;
    pub(super) const HTYPE: usize = 1;
    pub(super) const HLEN: usize = 2;
    pub(super) const HOPS: usize = 3;
    pub(super) const XID: Range<usize> = 4..8;
    pub(super) const FLAGS: usize = 10;
    pub(super) const CIADDR: Range<usize> = 12..16;
    pub(super) const YIADDR: Range<usize> = 16..20;
    pub(super) const GIADDR: Range<usize> = 24..28;
    pub(super) const CHADDR: Range<usize> = 28..34;
}

/// A relay for one link, without I/O and without a clock.
#[derive(Debug)]
pub struct Relay {
    config: RelayConfig,
    /// Requests whose answers are still to come.
    pending: BTreeMap<Exchange, Pending>,
    by_age: BTreeMap<u64, Exchange>,
    by_port: HashMap<u32, BTreeMap<u64, Exchange>>,
    next: u64,
}

/// What answers have in common with their request, and the port that it came by: who hears
/// another's request and repeats it does not have the other forgotten.
type Exchange = ([u8; 4], Mac, u32);

#[derive(Debug)]
struct Pending {
    age: u64,
    /// The age of the first request of this exchange: whoever repeats another's came later.
    first: u64,
    until: Instant,
    circuit: Vec<u8>,
}

impl Relay {
    /// A relay that has passed on nothing yet.
    #[must_use]
    pub fn new(config: RelayConfig) -> Self {
        Self {
            config,
            pending: BTreeMap::new(),
            by_age: BTreeMap::new(),
            by_port: HashMap::new(),
            next: 0,
        }
    }

    /// What it does.
    #[must_use]
    pub fn config(&self) -> &RelayConfig {
        &self.config
    }

    /// How many exchanges wait for an answer.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Passes a client's message on to the servers. Never panics, whatever its bytes are.
    ///
    /// # Errors
    /// [`RelayError`] says why it is not passed on.
    pub fn from_client(
        &mut self,
        now: Instant,
        place: &Place<'_>,
        payload: &[u8],
    ) -> Result<Vec<Forward>, RelayError> {
        let mut packet = Packet::parse(payload).ok_or(RelayError::Malformed)?;
        let head = Head::of(&packet.header).filter(|head| head.op == BOOTREQUEST);
        let head = head.ok_or(RelayError::Malformed)?;
        // RFC 1542, section 4.1.1.
        if head.hops >= HOPS_MAX {
            return Err(RelayError::Hops(head.hops));
        }
        let is_relayed = !head.giaddr.is_unspecified();
        // RFC 3046, section 2.1.1: a message with option 82, or one that claims to come from
        // a relay, is dropped where it comes from no trusted circuit. Who gives out our own
        // address as his is trusted nowhere.
        let claims = packet.has_agent() || is_relayed;
        if claims && !place.trusted || head.giaddr == self.config.address {
            return Err(RelayError::Untrusted);
        }
        if place.circuit.is_empty() || place.circuit.len() > CIRCUIT_MAX {
            return Err(RelayError::TooLong);
        }
        packet.header[field::HOPS] = head.hops + 1;
        if !is_relayed {
            packet.header[field::GIADDR].copy_from_slice(&self.config.address.octets());
        }
        let remote = self.config.remote_id.as_deref();
        let payload = packet.with_agent(place.circuit, remote);
        let payload = payload.filter(|payload| payload.len() <= LONGEST);
        let payload = payload.ok_or(RelayError::TooLong)?;
        // A trusted relay has the answers itself.
        if !is_relayed {
            self.remember(now, &head, place);
        }
        Ok(self.to_servers(&payload))
    }

    fn to_servers(&self, payload: &[u8]) -> Vec<Forward> {
        let forward = |target: &Ipv4Addr| Forward::ToServer {
            source: SocketAddrV4::new(self.config.address, SERVER_PORT),
            destination: SocketAddrV4::new(*target, SERVER_PORT),
            payload: payload.to_vec(),
        };
        self.config.targets.iter().map(forward).collect()
    }

    /// Passes a server's answer, which came to the relay's address, on to its client. Never
    /// panics, whatever its bytes are.
    ///
    /// # Errors
    /// [`RelayError`] says why it is not passed on.
    pub fn from_server(
        &mut self,
        now: Instant,
        server: Ipv4Addr,
        payload: &[u8],
    ) -> Result<Forward, RelayError> {
        if !self.config.targets.contains(&server) {
            return Err(RelayError::Stranger(server));
        }
        let packet = Packet::parse(payload).ok_or(RelayError::Malformed)?;
        let head = Head::of(&packet.header).filter(|head| head.op == BOOTREPLY);
        let head = head.ok_or(RelayError::Malformed)?;
        if head.giaddr != self.config.address {
            return Err(RelayError::Unexpected);
        }
        self.expire(now);
        // RFC 3046, section 2.2: the server echoes it, unless it does not know it.
        let port = self.asker(&head, packet.circuit());
        let port = port.ok_or(RelayError::Unexpected)?;
        let (destination_mac, destination) = head.target(packet.kind);
        Ok(Forward::ToClient(Transmit {
            port,
            destination_mac,
            source: SocketAddrV4::new(self.config.address, SERVER_PORT),
            destination: SocketAddrV4::new(destination, CLIENT_PORT),
            payload: packet.without_agent(),
        }))
    }
}

impl Relay {
    /// The port that waits for an answer; of several that the answer does not tell apart, the
    /// one that asked first.
    fn asker(&self, head: &Head, circuit: Option<&[u8]>) -> Option<u32> {
        let any_port = head.exchange(0)..=head.exchange(u32::MAX);
        let waiting = self.pending.range(any_port);
        let asked =
            waiting.filter(|(_, pending)| circuit.is_none_or(|circuit| circuit == pending.circuit));
        let first = asked.min_by_key(|(_, pending)| pending.first);
        first.map(|((_, _, port), _)| *port)
    }

    fn remember(&mut self, now: Instant, head: &Head, place: &Place<'_>) {
        self.expire(now);
        let exchange = head.exchange(place.port);
        let before = self.pending.get(&exchange).map(|pending| pending.first);
        self.forget(&exchange);
        let behind = self.by_port.get(&place.port);
        let share = (self.config.pending / PORT_SHARE).max(1);
        // The oldest of whoever asks most.
        let oldest = if behind.is_some_and(|own| own.len() >= share) {
            behind.and_then(|own| own.first_key_value())
        } else if self.pending.len() >= self.config.pending {
            self.by_age.first_key_value()
        } else {
            None
        };
        if let Some(oldest) = oldest.map(|(_, exchange)| *exchange) {
            self.forget(&oldest);
        }
        let age = self.next;
        self.next += 1;
        self.by_age.insert(age, exchange);
        let own = self.by_port.entry(place.port).or_default();
        own.insert(age, exchange);
        let pending = Pending {
            age,
            first: before.unwrap_or(age),
            until: now + PATIENCE,
            circuit: place.circuit.to_vec(),
        };
        self.pending.insert(exchange, pending);
    }

    fn forget(&mut self, exchange: &Exchange) {
        let Some(pending) = self.pending.remove(exchange) else {
            return;
        };
        self.by_age.remove(&pending.age);
        let (_, _, port) = exchange;
        if let Some(own) = self.by_port.get_mut(port) {
            own.remove(&pending.age);
            if own.is_empty() {
                self.by_port.remove(port);
            }
        }
    }

    /// The oldest end first: all wait equally long.
    fn expire(&mut self, now: Instant) {
        while let Some((_, exchange)) = self.by_age.first_key_value() {
            let exchange = *exchange;
            let pending = self.pending.get(&exchange);
            if pending.is_some_and(|pending| pending.until > now) {
                return;
            }
            self.forget(&exchange);
        }
    }
}

/// The fields that a relay looks at.
#[derive(Clone, Copy, Debug)]
struct Head {
    op: u8,
    hops: u8,
    xid: [u8; 4],
    broadcast: bool,
    ciaddr: Ipv4Addr,
    yiaddr: Ipv4Addr,
    giaddr: Ipv4Addr,
    chaddr: Mac,
}

impl Head {
    /// Reads them; nothing, if the client's hardware is not Ethernet or its address that of a
    /// group.
    fn of(header: &[u8; HEADER_LEN]) -> Option<Self> {
        let address = |range| Some(Ipv4Addr::from(four(header, range)?));
        let chaddr = Mac(header.get(field::CHADDR)?.try_into().ok()?);
        let Mac([first, ..]) = chaddr;
        let is_station = first & 1 == 0 && chaddr != Mac([0; 6]);
        let is_ethernet = (header[field::HTYPE], header[field::HLEN]) == (ETHERNET, 6);
        if !is_ethernet || !is_station {
            return None;
        }
        Some(Self {
            op: header[field::OP],
            hops: header[field::HOPS],
            xid: four(header, field::XID)?,
            broadcast: header[field::FLAGS] & 0x80 != 0,
            ciaddr: address(field::CIADDR)?,
            yiaddr: address(field::YIADDR)?,
            giaddr: address(field::GIADDR)?,
            chaddr,
        })
    }

    fn exchange(&self, port: u32) -> Exchange {
        (self.xid, self.chaddr, port)
    }

    /// Where the client hears an answer of this kind (RFC 1542, section 4.1.2, and RFC 2131,
    /// section 4.1).
    fn target(&self, kind: Option<u8>) -> (Mac, Ipv4Addr) {
        let everybody = (BROADCAST_MAC, Ipv4Addr::BROADCAST);
        if self.broadcast || kind == Some(NAK) {
            everybody
        } else if !self.ciaddr.is_unspecified() {
            (self.chaddr, self.ciaddr)
        } else if !self.yiaddr.is_unspecified() {
            (self.chaddr, self.yiaddr)
        } else {
            everybody
        }
    }
}

fn four(header: &[u8; HEADER_LEN], range: std::ops::Range<usize>) -> Option<[u8; 4]> {
    header.get(range)?.try_into().ok()
}
