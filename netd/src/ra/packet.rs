//! Router solicitations and advertisements as ICMPv6 messages (RFC 4861, sections 4.1
//! and 4.2).

use std::net::Ipv6Addr;

use registry::Mac;

use super::bytes::Fields;
use super::option::{NdOption, Preference, read_all};

const SOLICITATION: u8 = 133;
const ADVERTISEMENT: u8 = 134;
const ICMPV6: u32 = 58;

/// The longest message that is written: what always fits a link, since neighbour
/// discovery may not be fragmented (RFC 6980, section 5): 1280 bytes without the header.
pub const PACKET_MAX: usize = 1240;

/// A host asks for an advertisement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Solicitation {
    /// The host's Ethernet address.
    pub source_link_layer: Option<Mac>,
}

/// A router says what hosts need to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advertisement {
    /// The hop limit that hosts should use; 0 leaves it open.
    pub hop_limit: u8,
    /// Whether addresses are to be had by DHCPv6.
    pub managed: bool,
    /// Whether other settings are to be had by DHCPv6.
    pub other: bool,
    /// Against other routers of the link.
    pub preference: Preference,
    /// How long it is a default router, in seconds; 0 if it is none.
    pub router_lifetime: u16,
    /// How long a neighbour counts as reachable, in milliseconds; 0 leaves it open.
    pub reachable_time: u32,
    /// The time between two neighbour solicitations, in milliseconds; 0 leaves it open.
    pub retransmit_timer: u32,
    /// Everything else.
    pub options: Vec<NdOption>,
}

/// Why a message is not one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NdError {
    /// Shorter than its fixed fields.
    #[error("the message is too short")]
    Short,
    /// Another ICMPv6 message.
    #[error("the message is of ICMPv6 type {0}, which is another")]
    Type(u8),
    /// A code other than 0.
    #[error("the message has code {0}, not 0")]
    Code(u8),
    /// An option without a length, or one that reaches past the end.
    #[error("an option of the message has a wrong length")]
    OptionLength,
}

impl Solicitation {
    /// Reads an ICMPv6 message; its checksum was verified by whoever received it. Never
    /// panics.
    ///
    /// # Errors
    /// If it is not a whole, well-formed solicitation (RFC 4861, section 6.1.1).
    pub fn parse(bytes: &[u8]) -> Result<Self, NdError> {
        let mut fields = header(bytes, SOLICITATION)?;
        let _reserved = fields.word().ok_or(NdError::Short)?;
        let options = read_all(fields.0).ok_or(NdError::OptionLength)?;
        let source_link_layer = options.into_iter().find_map(|option| match option {
            NdOption::SourceLinkLayer(mac) => Some(mac),
            _ => None,
        });
        Ok(Self { source_link_layer })
    }

    /// Writes it, without checksum.
    #[must_use]
    pub fn emit(&self) -> Vec<u8> {
        let mut bytes = vec![SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
        if let Some(mac) = self.source_link_layer {
            NdOption::SourceLinkLayer(mac).write(&mut bytes);
        }
        bytes
    }
}

impl Advertisement {
    /// Reads an ICMPv6 message; its checksum was verified by whoever received it. Options
    /// that mean nothing to us are left out. Never panics.
    ///
    /// # Errors
    /// If it is not a whole, well-formed advertisement (RFC 4861, section 6.1.2).
    pub fn parse(bytes: &[u8]) -> Result<Self, NdError> {
        let fields = header(bytes, ADVERTISEMENT)?;
        let (advertisement, options) = Self::read_fixed(fields).ok_or(NdError::Short)?;
        Ok(Self {
            options: read_all(options).ok_or(NdError::OptionLength)?,
            ..advertisement
        })
    }

    fn read_fixed(mut fields: Fields<'_>) -> Option<(Self, &[u8])> {
        let hop_limit = fields.byte()?;
        let flags = fields.byte()?;
        let advertisement = Self {
            hop_limit,
            managed: flags & 0x80 != 0,
            other: flags & 0x40 != 0,
            // RFC 4191, section 2.2: "If the Reserved (10) value is received, the
            // receiver MUST treat the value as if it were (00)."
            preference: Preference::of_bits(flags >> 3).unwrap_or_default(),
            router_lifetime: fields.half()?,
            reachable_time: fields.word()?,
            retransmit_timer: fields.word()?,
            options: Vec::new(),
        };
        Some((advertisement, fields.0))
    }

    /// Writes it, without checksum.
    #[must_use]
    pub fn emit(&self) -> Vec<u8> {
        let flags =
            u8::from(self.managed) << 7 | u8::from(self.other) << 6 | self.preference.bits() << 3;
        let mut bytes = vec![ADVERTISEMENT, 0, 0, 0, self.hop_limit, flags];
        bytes.extend(self.router_lifetime.to_be_bytes());
        bytes.extend(self.reachable_time.to_be_bytes());
        bytes.extend(self.retransmit_timer.to_be_bytes());
        self.options
            .iter()
            .for_each(|option| option.write(&mut bytes));
        bytes
    }
}

/// What follows type, code and checksum.
fn header(bytes: &[u8], expected: u8) -> Result<Fields<'_>, NdError> {
    let mut fields = Fields(bytes);
    let [kind, code, _, _] = fields.take().ok_or(NdError::Short)?;
    if kind != expected {
        return Err(NdError::Type(kind));
    }
    if code != 0 {
        return Err(NdError::Code(code));
    }
    Ok(fields)
}

/// The checksum of an ICMPv6 message between two addresses (RFC 4443, section 2.3). Over
/// a message that has its checksum in it, it is zero.
#[must_use]
pub fn checksum(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> u16 {
    let length = u32::try_from(message.len())
        .unwrap_or(u32::MAX)
        .to_be_bytes();
    let pseudo_header = [
        &source.octets()[..],
        &destination.octets(),
        &length,
        &ICMPV6.to_be_bytes(),
    ];
    let sum: u64 = pseudo_header
        .into_iter()
        .chain([message])
        .flat_map(|part| part.chunks(2))
        .map(|pair| match pair {
            [high, low] => u64::from(u16::from_be_bytes([*high, *low])),
            // All parts but the message are of even length.
            [high] => u64::from(*high) << 8,
            _ => 0,
        })
        .sum();
    let mut folded = sum;
    while folded > 0xffff {
        folded = (folded & 0xffff) + (folded >> 16);
    }
    !u16::try_from(folded).unwrap_or(0)
}

/// A message with its checksum filled in, where no kernel does that.
#[must_use]
pub fn with_checksum(source: Ipv6Addr, destination: Ipv6Addr, mut message: Vec<u8>) -> Vec<u8> {
    if let Some(field) = message.get_mut(2..4) {
        field.fill(0);
    }
    let sum = checksum(source, destination, &message).to_be_bytes();
    if let Some(field) = message.get_mut(2..4) {
        field.copy_from_slice(&sum);
    }
    message
}
