//! Ethernet addresses.

use std::fmt;

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddr([u8; 6]);

impl MacAddr {
    /// The address of every station on a link.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// The address made of these bytes, in the order they stand on the wire.
    #[must_use]
    pub const fn new(octets: [u8; 6]) -> Self {
        Self(octets)
    }

    /// The bytes, in the order they stand on the wire.
    #[must_use]
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }

    /// Whether this can be the address of one station: neither all zeroes nor
    /// an address of a group (IEEE 802, the lowest bit of the first byte).
    #[must_use]
    pub const fn is_station(self) -> bool {
        let [first, ..] = self.0;
        first & 1 == 0 && !matches!(self.0, [0, 0, 0, 0, 0, 0])
    }
}

impl From<[u8; 6]> for MacAddr {
    fn from(octets: [u8; 6]) -> Self {
        Self(octets)
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_as_people_write_it() {
        let mac = MacAddr::new([0x02, 0, 0x5e, 0xab, 0x0c, 0xff]);
        assert_eq!(mac.to_string(), "02:00:5e:ab:0c:ff");
    }

    #[test]
    fn groups_and_nobody_are_no_stations() {
        assert!(MacAddr::new([2, 0, 0, 0, 0, 1]).is_station());
        assert!(!MacAddr::new([0; 6]).is_station());
        assert!(!MacAddr::new([1, 0, 0x5e, 0, 0, 1]).is_station());
        assert!(!MacAddr::BROADCAST.is_station());
    }
}
