//! Reading servers' messages.

use std::net::Ipv4Addr;

use dhcproto::v4::MessageType;
use registry::Mac;

use super::options::{Options, code};

const BOOTREPLY: u8 = 2;
const ETHERNET: u8 = 1;
const COOKIE: [u8; 4] = [99, 130, 83, 99];

/// What a server says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// This can be had.
    Offer,
    /// This is leased, or these are the settings.
    Ack,
    /// What was asked for must not be used.
    Nak,
}

/// What a message must have to answer a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked<'a> {
    /// The number of the exchange.
    pub xid: u32,
    /// The client's Ethernet address.
    pub mac: Mac,
    /// The client's identifier.
    pub client_id: &'a [u8],
}

/// A server's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// What the server says.
    pub kind: Kind,
    /// The address that it gives; 0.0.0.0 if none.
    pub yiaddr: Ipv4Addr,
    /// Whether it came through a relay.
    pub is_relayed: bool,
    /// The server (option 54).
    pub server: Ipv4Addr,
    /// Everything else.
    pub options: Options,
}

/// Why a datagram is no message for this client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// Shorter than the fixed fields.
    #[error("the datagram is too short for a DHCP message")]
    Short,
    /// A request, or neither a request nor a reply.
    #[error("the message is not from a server")]
    NotAReply,
    /// A hardware type or address length other than Ethernet's.
    #[error("the client's hardware address is not an Ethernet address")]
    NotEthernet,
    /// It answers another client, or nothing that was asked.
    #[error("the message is an answer for somebody else")]
    NotForUs,
    /// Plain BOOTP, or something else.
    #[error("the message is BOOTP, not DHCP")]
    NoCookie,
    /// An option that reaches past the end of its field.
    #[error("an option is cut off")]
    CutOff,
    /// An option whose length its meaning forbids.
    #[error("option {0} has a wrong length")]
    WrongLength(u8),
    /// No message type, or one that does not answer a client.
    #[error("no message type that answers a client")]
    NoKind,
    /// An option is missing that must be there.
    #[error("option {0} is missing")]
    Missing(u8),
    /// A server with an address that no host has.
    #[error("{0} cannot be the address of a server")]
    NotAServer(Ipv4Addr),
    /// An address that no host can have, by itself or in its subnet.
    #[error("{0} cannot be the address of a host")]
    NotAHost(Ipv4Addr),
    /// A subnet mask that is none.
    #[error("{0} is no subnet mask")]
    NoMask(Ipv4Addr),
    /// A lease that ends when it begins.
    #[error("a lease of 0 seconds")]
    NoTime,
}

impl Reply {
    /// Reads a UDP payload. Never panics.
    ///
    /// # Errors
    /// If it is not a whole, well-formed answer to what was asked.
    pub fn parse(bytes: &[u8], asked: Asked<'_>) -> Result<Self, PacketError> {
        let mut fields = Fields(bytes);
        let [op, htype, hlen, _hops] = fields.take()?;
        if op != BOOTREPLY {
            return Err(PacketError::NotAReply);
        }
        if htype != ETHERNET || hlen != 6 {
            return Err(PacketError::NotEthernet);
        }
        let xid = u32::from_be_bytes(fields.take()?);
        let _secs_and_flags = fields.take::<4>()?;
        let _ciaddr = fields.take::<4>()?;
        let yiaddr = Ipv4Addr::from(fields.take::<4>()?);
        let _siaddr = fields.take::<4>()?;
        let giaddr = Ipv4Addr::from(fields.take::<4>()?);
        let chaddr = Mac(fields.take()?);
        if xid != asked.xid || chaddr != asked.mac {
            return Err(PacketError::NotForUs);
        }
        let _padding = fields.take::<10>()?;
        let sname = fields.take::<64>()?;
        let file = fields.take::<128>()?;
        if fields.take()? != COOKIE {
            return Err(PacketError::NoCookie);
        }
        let options = Options::parse(fields.0, &file, &sname)?;
        // RFC 6842, section 3: "When a client receives a DHCP message containing a 'client
        // identifier' option, the client MUST compare that client identifier to the one it
        // is configured to send. If the two client identifiers do not match, the client MUST
        // silently discard the message."
        let echoed = options.get(code::CLIENT_ID);
        if echoed.is_some_and(|echoed| echoed != asked.client_id) {
            return Err(PacketError::NotForUs);
        }
        Ok(Self {
            kind: kind(&options)?,
            yiaddr,
            is_relayed: !giaddr.is_unspecified(),
            server: server(&options)?,
            options,
        })
    }

    /// Whether this answers a DISCOVER for good (RFC 4039).
    pub fn is_rapid(&self) -> bool {
        self.options.get(code::RAPID_COMMIT).is_some()
    }
}

fn kind(options: &Options) -> Result<Kind, PacketError> {
    let value = options.fixed(code::MESSAGE_TYPE)?;
    match value.map(|[value]| value.into()) {
        Some(MessageType::Offer) => Ok(Kind::Offer),
        Some(MessageType::Ack) => Ok(Kind::Ack),
        Some(MessageType::Nak) => Ok(Kind::Nak),
        _ => Err(PacketError::NoKind),
    }
}

fn server(options: &Options) -> Result<Ipv4Addr, PacketError> {
    let server = options
        .address(code::SERVER_ID)?
        .ok_or(PacketError::Missing(code::SERVER_ID))?;
    if is_host(server) {
        Ok(server)
    } else {
        Err(PacketError::NotAServer(server))
    }
}

/// Whether one host can have `address`, so far as the address alone tells: not 0.0.0.0/8,
/// this host's own 127.0.0.0/8, a group's, or from what is reserved above.
pub fn is_host(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    (1..224).contains(&first) && first != 127
}

/// The fixed fields not yet taken.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], PacketError> {
        let (field, rest) = self.0.split_first_chunk().ok_or(PacketError::Short)?;
        self.0 = rest;
        Ok(*field)
    }
}
