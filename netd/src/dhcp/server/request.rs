//! Reading clients' messages.
//!
//! They are not read with `dhcproto`: its decoder stops at the first option that it
//! dislikes (a host name that is not UTF-8 would hide the requested address behind it),
//! knows no overloaded fields, and has assertions about lengths that the sender chooses.

use std::borrow::Cow;
use std::net::Ipv4Addr;

use dhcproto::v4::MessageType;
use registry::Mac;

use super::code;

/// The IPv4 datagram that every client must accept (RFC 2132, section 9.10).
const SMALLEST_LIMIT: u16 = 576;
/// The IPv4 and UDP headers, which a client's limit may or may not count.
const IP_UDP_LEN: usize = 28;
/// What one option holds, and so the longest value that comes back in the answer.
const SINGLE_MAX: usize = 255;
/// The longest host name that is kept, for show.
const HOSTNAME_MAX: usize = 64;
/// The most relays that a message passes (RFC 1542, section 4.1.1).
const HOPS_MAX: u8 = 16;
/// Where the relay's address stands.
const GIADDR: std::ops::Range<usize> = 24..28;

const BOOTREQUEST: u8 = 1;
const ETHERNET: u8 = 1;
const COOKIE: [u8; 4] = [99, 130, 83, 99];

/// Options that the server reads.
const READ: [u8; 11] = [
    code::HOSTNAME,
    code::REQUESTED_ADDRESS,
    code::LEASE_TIME,
    code::OVERLOAD,
    code::MESSAGE_TYPE,
    code::SERVER_ID,
    code::PARAMETERS,
    code::MAX_SIZE,
    code::CLIENT_ID,
    code::RAPID_COMMIT,
    code::RELAY_AGENT,
];

/// What a client wants (RFC 2131, section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It looks for servers.
    Discover,
    /// It asks for an address, or for more time with the one it has.
    Request,
    /// It found its new address in use by another host.
    Decline,
    /// It needs its address no more.
    Release,
    /// It has an address and asks for everything else.
    Inform,
}

/// A client's message, as far as the server looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What the client wants.
    pub kind: Kind,
    /// The client's number for this exchange.
    pub xid: u32,
    /// Whether the client can take only broadcasts yet.
    pub broadcast: bool,
    /// The address that the client has and answers ARP for; 0.0.0.0 if none.
    pub ciaddr: Ipv4Addr,
    /// The relay that answers go to; 0.0.0.0 if none.
    pub giaddr: Ipv4Addr,
    /// The client's Ethernet address.
    pub chaddr: Mac,
    /// The address that it asks for (option 50).
    pub requested: Option<Ipv4Addr>,
    /// The lease time that it asks for, in seconds (option 51).
    pub lease_time: Option<u32>,
    /// The server that it speaks to (option 54).
    pub server_id: Option<Ipv4Addr>,
    /// The options that it wants (option 55).
    pub parameters: Option<Vec<u8>>,
    /// The longest message that it accepts, in bytes (option 57).
    pub max_size: Option<u16>,
    /// Its identifier (option 61), 1 to 255 bytes.
    pub client_id: Option<Vec<u8>>,
    /// Whether it would take an address without a second exchange (option 80).
    pub rapid_commit: bool,
    /// What it calls itself (option 12), if that can be a host name. For show
    /// only: names come from the registry.
    pub hostname: Option<String>,
    /// What a relay says of where the message came from (option 82), for it to find again
    /// in the answer.
    pub relay_agent: Option<Vec<u8>>,
}

/// Why a datagram is no message for this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// Shorter than the fixed fields.
    #[error("the datagram is too short for a DHCP message")]
    Short,
    /// A reply, or neither a request nor a reply.
    #[error("the message is not from a client")]
    NotARequest,
    /// A hardware type or address length other than Ethernet's.
    #[error("the client's hardware address is not an Ethernet address")]
    NotEthernet,
    /// The hardware address is no station's.
    #[error("{0} cannot be the address of a client")]
    NotAStation(Mac),
    /// It came through a relay of a subnet that is not served.
    #[error("the message was forwarded by a relay, {0}, of another subnet")]
    Relayed(Ipv4Addr),
    /// It went from relay to relay.
    #[error("the message passed more relays than there can be: {0}")]
    Hops(u8),
    /// Plain BOOTP, or something else.
    #[error("the message is BOOTP, not DHCP")]
    NoCookie,
    /// An option that reaches past the end of its field.
    #[error("an option is cut off")]
    CutOff,
    /// An option whose length its meaning forbids.
    #[error("option {0} has a wrong length")]
    WrongLength(u8),
    /// No message type, or one that clients do not send.
    #[error("no message type that a client sends")]
    NoKind,
}

impl Request {
    /// Reads a UDP payload. Never panics.
    ///
    /// # Errors
    /// If it is not a whole, well-formed message of a client to this server.
    pub fn parse(bytes: &[u8]) -> Result<Self, PacketError> {
        let mut fields = Fields(bytes);
        let [op, htype, hlen, hops] = fields.take()?;
        if op != BOOTREQUEST {
            return Err(PacketError::NotARequest);
        }
        if htype != ETHERNET || hlen != 6 {
            return Err(PacketError::NotEthernet);
        }
        let xid = u32::from_be_bytes(fields.take()?);
        let [_secs_high, _secs_low, flags, _] = fields.take()?;
        let ciaddr = Ipv4Addr::from(fields.take::<4>()?);
        let _yiaddr = fields.take::<4>()?;
        let _siaddr = fields.take::<4>()?;
        let giaddr = Ipv4Addr::from(fields.take::<4>()?);
        let chaddr = Mac(fields.take()?);
        let _padding = fields.take::<10>()?;
        let sname = fields.take::<64>()?;
        let file = fields.take::<128>()?;
        if fields.take()? != COOKIE {
            return Err(PacketError::NoCookie);
        }
        if hops > HOPS_MAX {
            return Err(PacketError::Hops(hops));
        }
        if !is_station(chaddr) {
            return Err(PacketError::NotAStation(chaddr));
        }
        let options = Options::parse(fields.0, &file, &sname)?;
        Ok(Self {
            kind: options.kind()?,
            xid,
            broadcast: flags & 0x80 != 0,
            ciaddr,
            giaddr,
            chaddr,
            requested: options.address(code::REQUESTED_ADDRESS)?,
            lease_time: options.number(code::LEASE_TIME)?,
            server_id: options.address(code::SERVER_ID)?,
            parameters: options.get(code::PARAMETERS).map(<[u8]>::to_vec),
            max_size: options.fixed(code::MAX_SIZE)?.map(u16::from_be_bytes),
            client_id: options.single(code::CLIENT_ID)?,
            rapid_commit: options.get(code::RAPID_COMMIT).is_some(),
            hostname: options.hostname(),
            relay_agent: options.single(code::RELAY_AGENT)?,
        })
    }

    /// Whether the client wants option `code`: it does if it said so, or said
    /// nothing (RFC 2132, section 9.8).
    #[must_use]
    pub fn wants(&self, code: u8) -> bool {
        self.parameters
            .as_ref()
            .is_none_or(|list| list.contains(&code))
    }

    /// Whether the client has said that it wants option `code`.
    #[must_use]
    pub fn asks_for(&self, code: u8) -> bool {
        self.parameters.is_some() && self.wants(code)
    }

    /// Whether a relay has passed it on.
    #[must_use]
    pub fn is_relayed(&self) -> bool {
        !self.giaddr.is_unspecified()
    }

    /// What stands for the identifier of a client that sends none: hardware type and
    /// address (RFC 2131, section 4.2), which is also what most clients send.
    #[must_use]
    pub fn id_by_mac(&self) -> Vec<u8> {
        let mut id = vec![ETHERNET];
        id.extend(self.chaddr.0);
        id
    }

    /// How many bytes a reply may have, on a link with this MTU.
    #[must_use]
    pub fn reply_limit(&self, mtu: u16) -> usize {
        let accepted = self.max_size.unwrap_or(SMALLEST_LIMIT).max(SMALLEST_LIMIT);
        usize::from(accepted.min(mtu.max(SMALLEST_LIMIT))) - IP_UDP_LEN
    }
}

/// Whether this can be the address of one station: neither all zeroes nor one of
/// a group, which has the lowest bit of the first byte set.
fn is_station(mac: Mac) -> bool {
    let Mac([first, ..]) = mac;
    first & 1 == 0 && mac != Mac([0; 6])
}

/// The relay's address in a message of any bytes, by which the server that has its subnet is
/// found; nothing if there is none.
#[must_use]
pub fn relay_of(payload: &[u8]) -> Option<Ipv4Addr> {
    let octets: [u8; 4] = payload.get(GIADDR)?.try_into().ok()?;
    Some(Ipv4Addr::from(octets)).filter(|giaddr| !giaddr.is_unspecified())
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

/// The options that the server reads, in the order of [`READ`], parts of one joined (RFC
/// 3396, section 7).
#[derive(Debug, Default)]
struct Options<'a>([Option<Cow<'a, [u8]>>; READ.len()]);

impl<'a> Options<'a> {
    fn parse(area: &'a [u8], file: &'a [u8], sname: &'a [u8]) -> Result<Self, PacketError> {
        let mut options = Self::default();
        options.collect(area)?;
        // RFC 2131, section 4.1: "The options in the 'options' field MUST be
        // interpreted first [...] The 'file' field MUST be interpreted next [...]
        // followed by the 'sname' field."
        let overload = options
            .fixed::<1>(code::OVERLOAD)?
            .map_or(0, |[value]| value);
        if overload & 1 != 0 {
            options.collect(file)?;
        }
        if overload & 2 != 0 {
            options.collect(sname)?;
        }
        Ok(options)
    }

    fn collect(&mut self, mut area: &'a [u8]) -> Result<(), PacketError> {
        while let Some((code, rest)) = area.split_first() {
            match *code {
                code::PAD => area = rest,
                code::END => break,
                code => {
                    let (len, rest) = rest.split_first().ok_or(PacketError::CutOff)?;
                    let (value, rest) = rest
                        .split_at_checked(usize::from(*len))
                        .ok_or(PacketError::CutOff)?;
                    self.add(code, value);
                    area = rest;
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, code: u8, value: &'a [u8]) {
        let place = READ.iter().position(|read| *read == code);
        match place.and_then(|place| self.0.get_mut(place)) {
            Some(Some(first)) => first.to_mut().extend_from_slice(value),
            Some(none) => *none = Some(Cow::Borrowed(value)),
            None => {}
        }
    }

    fn get(&self, code: u8) -> Option<&[u8]> {
        let place = READ.iter().position(|read| *read == code)?;
        self.0.get(place)?.as_deref()
    }

    fn fixed<const N: usize>(&self, code: u8) -> Result<Option<[u8; N]>, PacketError> {
        self.get(code)
            .map(|value| value.try_into().map_err(|_| PacketError::WrongLength(code)))
            .transpose()
    }

    fn number(&self, code: u8) -> Result<Option<u32>, PacketError> {
        Ok(self.fixed(code)?.map(u32::from_be_bytes))
    }

    fn address(&self, code: u8) -> Result<Option<Ipv4Addr>, PacketError> {
        let address = self.fixed::<4>(code)?.map(Ipv4Addr::from);
        Ok(address.filter(|address| !address.is_unspecified()))
    }

    fn kind(&self) -> Result<Kind, PacketError> {
        match self.fixed(code::MESSAGE_TYPE)?.map(|[value]| value.into()) {
            Some(MessageType::Discover) => Ok(Kind::Discover),
            Some(MessageType::Request) => Ok(Kind::Request),
            Some(MessageType::Decline) => Ok(Kind::Decline),
            Some(MessageType::Release) => Ok(Kind::Release),
            Some(MessageType::Inform) => Ok(Kind::Inform),
            _ => Err(PacketError::NoKind),
        }
    }

    /// A value that one option has room for; nothing, if it is empty.
    fn single(&self, code: u8) -> Result<Option<Vec<u8>>, PacketError> {
        match self.get(code) {
            None | Some([]) => Ok(None),
            Some(value) if value.len() > SINGLE_MAX => Err(PacketError::WrongLength(code)),
            Some(value) => Ok(Some(value.to_vec())),
        }
    }

    fn hostname(&self) -> Option<String> {
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        let value = self.get(code::HOSTNAME)?;
        // Some clients send the final NUL of a C string.
        let name = value.strip_suffix(&[0]).unwrap_or(value);
        if name.is_empty() || name.len() > HOSTNAME_MAX || !name.iter().all(plain) {
            return None;
        }
        String::from_utf8(name.to_vec()).ok()
    }
}
