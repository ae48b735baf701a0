//! Who a client says it is.

use std::hash::Hasher;

use registry::Mac;
use siphasher::sip::SipHasher24;

/// The longest DUID, without its type (RFC 8415, section 11.1).
const DUID_MAX: usize = 130;
/// The first byte of an identifier that has a DUID in it (RFC 4361, section 6.1).
const DUID_TYPE: u8 = 255;
const ETHERNET: u8 = 1;
/// DUID-EN (RFC 8415, section 11.3): an enterprise and what it has assigned.
const DUID_EN: u16 = 2;
/// The enterprise of DUIDs that are made of a machine id, by IANA's list.
const ENTERPRISE: u32 = 43793;

/// A key of our own for each thing that is hashed: a machine id is not to be told to the
/// network, and hashes of one thing say nothing of another.
const MACHINE_KEY: (u64, u64) = (0x7273_7061_776e_2d64, 0x7569_642d_656e_3031);
const IAID_KEY: (u64, u64) = (0x7273_7061_776e_2d69, 0x6169_642d_3030_3031);

/// Who a client says it is (option 61).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientId {
    /// Its Ethernet address, as most clients say.
    Mac,
    /// The host and one of its interfaces (RFC 4361): stays the same where the Ethernet
    /// address changes.
    Duid {
        /// Which of the host's interfaces.
        iaid: u32,
        /// The host's DUID, with its type. Of one longer than 132 bytes the rest is cut off.
        duid: Vec<u8>,
    },
}

/// What tells one interface from the host's others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interface<'a> {
    /// Its name: outlasts a change of the network card.
    Name(&'a str),
    /// Its Ethernet address: tells containers apart whose trees are copies of one another,
    /// with the machine id that is in them.
    Mac(Mac),
}

impl ClientId {
    /// DUID-EN and IAID that are the same at each start of the host with this machine id
    /// (machine-id(5)), and tell nobody what it is.
    #[must_use]
    pub fn of_machine(machine_id: &[u8; 16], interface: Interface<'_>) -> Self {
        let mut duid = DUID_EN.to_be_bytes().to_vec();
        duid.extend(ENTERPRISE.to_be_bytes());
        duid.extend(hash(MACHINE_KEY, &[machine_id]).to_be_bytes());
        let hash = match interface {
            Interface::Name(name) => hash(IAID_KEY, &[b"name", name.as_bytes()]),
            Interface::Mac(mac) => hash(IAID_KEY, &[b"mac", &mac.0]),
        };
        let [a, b, c, d, e, f, g, h] = hash.to_be_bytes();
        let iaid = u32::from_be_bytes([a ^ e, b ^ f, c ^ g, d ^ h]);
        Self::Duid { iaid, duid }
    }

    /// The option's value for a client with this Ethernet address.
    #[must_use]
    pub fn to_bytes(&self, mac: Mac) -> Vec<u8> {
        match self {
            Self::Mac => [&[ETHERNET][..], &mac.0].concat(),
            Self::Duid { iaid, duid } => {
                let mut bytes = vec![DUID_TYPE];
                bytes.extend(iaid.to_be_bytes());
                bytes.extend(duid.iter().take(DUID_MAX + 2));
                bytes
            }
        }
    }
}

fn hash((k0, k1): (u64, u64), parts: &[&[u8]]) -> u64 {
    let mut hasher = SipHasher24::new_with_keys(k0, k1);
    parts.iter().for_each(|part| hasher.write(part));
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

    /// RFC 4361, section 6.1: type 255, four bytes of IAID, then the DUID; RFC 8415,
    /// section 11.3: type 2, the enterprise's number, and its identifier.
    #[test]
    fn has_the_form_of_the_standards() {
        let id = ClientId::of_machine(&[7; 16], Interface::Name("host0"));
        let bytes = id.to_bytes(MAC);
        assert_eq!(bytes.len(), 1 + 4 + 2 + 4 + 8);
        assert_eq!(bytes[0], 255);
        assert_eq!(bytes[5..11], [0, 2, 0, 0, 0xab, 0x11]);
        assert_eq!(ClientId::Mac.to_bytes(MAC), [1, 2, 0, 0, 0, 0, 1]);
    }

    /// Identifiers are kept by servers: another value would be another client.
    #[test]
    fn stays_the_same_for_ever() {
        let id = ClientId::of_machine(&[7; 16], Interface::Name("host0"));
        let known = [
            255, 38, 189, 251, 32, 0, 2, 0, 0, 171, 17, 58, 23, 38, 107, 223, 141, 133, 47,
        ];
        assert_eq!(id.to_bytes(MAC), known);
    }

    #[test]
    fn tells_hosts_and_interfaces_apart() {
        let id = |host: u8, interface| ClientId::of_machine(&[host; 16], interface).to_bytes(MAC);
        let all = [
            id(7, Interface::Name("host0")),
            id(8, Interface::Name("host0")),
            id(7, Interface::Name("eth0")),
            id(7, Interface::Mac(MAC)),
            id(7, Interface::Mac(Mac([2, 0, 0, 0, 0, 2]))),
        ];
        for (i, one) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|other| other != one));
        }
    }

    #[test]
    fn an_endless_duid_is_cut_off() {
        let duid = vec![9; 1000];
        let id = ClientId::Duid { iaid: 1, duid };
        assert_eq!(id.to_bytes(MAC).len(), 137);
    }
}
