//! MAC addresses of a machine's link: a keyed hash of host and machine, so that
//! they are the same at every start and differ between hosts.

use std::fmt;
use std::hash::Hasher;

use siphasher::sip::SipHasher24;

use crate::{HostId, MachineName, ZoneName};

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

/// Which end of a link an address is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The host's end.
    Host,
    /// The container's end, `host0`.
    Container,
}

impl Side {
    fn key(self) -> (u64, u64) {
        match self {
            Self::Host => (0x7273_7061_776e_2d6d, 0x6163_2d68_6f73_7401),
            Self::Container => (0x7273_7061_776e_2d6d, 0x6163_2d68_6f73_7430),
        }
    }
}

impl Mac {
    /// The address of the machine's link on one side; `index` tells several links
    /// of one machine apart, the main one being 0.
    ///
    /// The local bit is set and the group bit is clear (IEEE 802, 8.2.2).
    #[must_use]
    pub fn of_machine(host: &HostId, machine: &MachineName, side: Side, index: u64) -> Self {
        let (k0, k1) = side.key();
        Self::hashed(
            (k0, k1),
            &[host.as_bytes(), machine.as_bytes(), &index.to_le_bytes()],
        )
    }

    /// The address of a zone's bridge.
    #[must_use]
    pub fn of_zone(host: &HostId, zone: &ZoneName) -> Self {
        const KEY: (u64, u64) = (0x7273_7061_776e_2d6d, 0x6163_2d7a_6f6e_6531);
        Self::hashed(KEY, &[host.as_bytes(), zone.as_str().as_bytes()])
    }

    fn hashed((k0, k1): (u64, u64), parts: &[&[u8]]) -> Self {
        let mut hasher = SipHasher24::new_with_keys(k0, k1);
        parts.iter().for_each(|part| hasher.write(part));
        let [a, b, c, d, e, f, ..] = hasher.finish().to_le_bytes();
        Self([a & 0xfe | 0x02, b, c, d, e, f])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// Text that is no Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no Ethernet address, such as 02:11:22:33:44:55")]
pub struct MacError;

impl std::str::FromStr for Mac {
    type Err = MacError;

    /// Six pairs of hexadecimal digits with colons or hyphens between them.
    fn from_str(text: &str) -> Result<Self, MacError> {
        let mut octets = [0; 6];
        let mut pairs = text.split([':', '-']);
        for octet in &mut octets {
            let pair = pairs.next().ok_or(MacError)?;
            let is_pair = pair.len() == 2 && pair.bytes().all(|byte| byte.is_ascii_hexdigit());
            *octet = u8::from_str_radix(pair, 16)
                .ok()
                .filter(|_| is_pair)
                .ok_or(MacError)?;
        }
        match pairs.next() {
            None => Ok(Self(octets)),
            Some(_) => Err(MacError),
        }
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_is_written() {
        let mac = Mac([2, 0x11, 0x22, 0xaa, 0xbb, 0xff]);
        assert_eq!(mac.to_string().parse(), Ok(mac));
        assert_eq!("02-11-22-AA-BB-FF".parse(), Ok(mac));
        for wrong in [
            "",
            "02:11",
            "02:11:22:aa:bb:f",
            "02:11:22:aa:bb:+f",
            "02:11:22:aa:bb:ff:00",
        ] {
            assert_eq!(wrong.parse::<Mac>(), Err(MacError), "{wrong}");
        }
    }

    #[test]
    fn addresses_are_local_unicast_stable_and_apart() {
        let host = HostId::from_bytes([7; 16]);
        let web: MachineName = "web".parse().unwrap();
        let db: MachineName = "db".parse().unwrap();
        let mac = |machine, side, index| Mac::of_machine(&host, machine, side, index);
        let all = [
            mac(&web, Side::Host, 0),
            mac(&web, Side::Container, 0),
            mac(&web, Side::Container, 1),
            mac(&db, Side::Host, 0),
            mac(&db, Side::Container, 0),
            Mac::of_machine(&HostId::from_bytes([8; 16]), &web, Side::Host, 0),
        ];
        for (i, one) in all.iter().enumerate() {
            assert_eq!(one.0[0] & 3, 2, "{one} is not a local unicast address");
            assert!(all[i + 1..].iter().all(|other| other != one));
        }
        assert_eq!(mac(&web, Side::Host, 0), all[0]);
    }
}
