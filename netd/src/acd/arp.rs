//! ARP packets for IPv4 over Ethernet (RFC 826).

use std::net::Ipv4Addr;

use registry::Mac;

const ETHERNET: [u8; 2] = [0, 1];
const IPV4: [u8; 2] = [8, 0];
const LENGTHS: [u8; 2] = [6, 4];
const REQUEST: [u8; 2] = [0, 1];
const REPLY: [u8; 2] = [0, 2];
/// No address yet, or that of whoever is asked for.
const UNKNOWN: Mac = Mac([0; 6]);

/// An ARP packet: what an Ethernet frame of type 0x0806 carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ArpPacket {
    /// Whether it asks or answers.
    pub operation: Operation,
    /// The sender's Ethernet address, by its own account.
    pub sender_mac: Mac,
    /// The sender's address; 0.0.0.0 in a probe.
    pub sender: Ipv4Addr,
    /// The asker's Ethernet address in an answer; means nothing in a question.
    pub target_mac: Mac,
    /// The address that is asked for, or the asker's in an answer.
    pub target: Ipv4Addr,
}

/// Whether an ARP packet asks or answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Who has the target's address?
    Request,
    /// The sender has its address.
    Reply,
}

/// Why bytes are no ARP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArpError {
    /// Shorter than 28 bytes.
    #[error("the packet is too short for ARP over Ethernet")]
    Short,
    /// Other kinds of addresses.
    #[error("the packet is not ARP for IPv4 over Ethernet")]
    Foreign,
    /// Neither a question nor an answer.
    #[error("the packet neither asks nor answers: its operation is {0}")]
    Operation(u16),
}

impl ArpPacket {
    /// The length in bytes.
    pub const LEN: usize = 28;

    /// "An ARP Request packet, broadcast on the local link, with an all-zero 'sender IP
    /// address'. [...] The 'target hardware address' field is ignored and SHOULD be set
    /// to all zeroes." (RFC 5227, sections 1.1 and 2.1.1.)
    #[must_use]
    pub const fn probe(mac: Mac, address: Ipv4Addr) -> Self {
        Self {
            operation: Operation::Request,
            sender_mac: mac,
            sender: Ipv4Addr::UNSPECIFIED,
            target_mac: UNKNOWN,
            target: address,
        }
    }

    /// "An ARP Announcement is identical to the ARP Probe described above, except that
    /// now the sender and target IP addresses are both set to the host's newly selected
    /// IPv4 address." (RFC 5227, section 2.3.)
    #[must_use]
    pub const fn announcement(mac: Mac, address: Ipv4Addr) -> Self {
        Self {
            sender: address,
            ..Self::probe(mac, address)
        }
    }

    /// Whether it asks for `address` on behalf of somebody who would like to have it.
    #[must_use]
    pub fn is_probe_for(&self, address: Ipv4Addr) -> bool {
        self.operation == Operation::Request
            && self.sender.is_unspecified()
            && self.target == address
    }

    /// Reads a frame's payload. What follows the packet is the frame's padding. Never
    /// panics.
    ///
    /// # Errors
    /// If it is not a whole ARP packet for IPv4 over Ethernet.
    pub fn parse(bytes: &[u8]) -> Result<Self, ArpError> {
        let mut fields = Fields(bytes);
        let kind: [[u8; 2]; 3] = [fields.take()?, fields.take()?, fields.take()?];
        let operation = fields.take()?;
        let packet = Self {
            operation: Operation::Request,
            sender_mac: Mac(fields.take()?),
            sender: Ipv4Addr::from(fields.take::<4>()?),
            target_mac: Mac(fields.take()?),
            target: Ipv4Addr::from(fields.take::<4>()?),
        };
        if kind != [ETHERNET, IPV4, LENGTHS] {
            return Err(ArpError::Foreign);
        }
        let operation = match operation {
            REQUEST => Operation::Request,
            REPLY => Operation::Reply,
            other => return Err(ArpError::Operation(u16::from_be_bytes(other))),
        };
        Ok(Self {
            operation,
            ..packet
        })
    }

    /// Writes it.
    #[must_use]
    pub fn emit(&self) -> [u8; Self::LEN] {
        let operation = match self.operation {
            Operation::Request => REQUEST,
            Operation::Reply => REPLY,
        };
        let fields: [&[u8]; 8] = [
            &ETHERNET,
            &IPV4,
            &LENGTHS,
            &operation,
            &self.sender_mac.0,
            &self.sender.octets(),
            &self.target_mac.0,
            &self.target.octets(),
        ];
        let mut bytes = [0; Self::LEN];
        let all = fields.into_iter().flatten();
        bytes.iter_mut().zip(all).for_each(|(to, from)| *to = *from);
        bytes
    }
}

/// The fields not yet taken.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], ArpError> {
        let (field, rest) = self.0.split_first_chunk().ok_or(ArpError::Short)?;
        self.0 = rest;
        Ok(*field)
    }
}
