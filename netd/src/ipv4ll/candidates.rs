//! Which addresses are tried, and in which order (RFC 3927, section 2.1).

use std::hash::Hasher;
use std::net::Ipv4Addr;

use registry::Mac;
use siphasher::sip::SipHasher24;

/// The first address that hosts may choose.
pub const FIRST: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 0);
/// The last one. "The first 256 and last 256 addresses in the 169.254/16 prefix are
/// reserved for future use".
pub const LAST: Ipv4Addr = Ipv4Addr::new(169, 254, 254, 255);

/// Whether hosts may choose `address`.
#[must_use]
pub fn is_selectable(address: Ipv4Addr) -> bool {
    (FIRST..=LAST).contains(&address)
}

/// What a host's choices are computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(u64);

impl Seed {
    /// Of an Ethernet address that stays the same.
    #[must_use]
    pub fn from_mac(mac: Mac) -> Self {
        Self(hash(&[b"mac", &mac.0]))
    }

    /// Of a machine's identity and a link's name, for links whose Ethernet address
    /// changes.
    #[must_use]
    pub fn from_identity(machine: &[u8], link: &str) -> Self {
        Self(hash(&[b"identity", machine, link.as_bytes()]))
    }

    /// The address that is tried first (`generation` 0), or after so many were taken.
    ///
    /// Hosts that are copies of each other have the same identity, and so would try the
    /// same addresses at the same time: after the first, the Ethernet address tells them
    /// apart.
    #[must_use]
    pub fn candidate(self, mac: Mac, generation: u32) -> Ipv4Addr {
        let seed = self.0.to_le_bytes();
        let number = match generation {
            0 => hash(&[b"first", &seed]),
            _ => hash(&[b"next", &seed, &mac.0, &generation.to_le_bytes()]),
        };
        let (first, last) = (u32::from(FIRST), u32::from(LAST));
        let count = u64::from(last) - u64::from(first) + 1;
        let offset = u32::try_from(number % count).unwrap_or(0);
        Ipv4Addr::from(first.saturating_add(offset))
    }

    /// What random waits are computed from.
    pub(super) fn waits(self, mac: Mac) -> u64 {
        hash(&[b"waits", &self.0.to_le_bytes(), &mac.0])
    }
}

fn hash(parts: &[&[u8]]) -> u64 {
    // Any fixed key: that somebody can compute what is tried next is of no use to who
    // can answer every probe anyway.
    let mut hasher = SipHasher24::new_with_keys(0x6970_7634_2d6c_6c2d, 0x6361_6e64_6964_6174);
    for part in parts {
        hasher.write_usize(part.len());
        hasher.write(part);
    }
    hasher.finish()
}
