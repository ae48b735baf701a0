//! Addresses as text, without core's own writing and reading of them: as far as a
//! linker can see those may panic, and whoever looks a name up inside somebody's
//! program must not even be able to.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest text, `ffff:` seven times and `ffff`.
pub const TEXT_MAX: usize = 39;

/// An address in the form of RFC 5952, as `IpAddr`'s `Display` gives it.
#[derive(Clone, Copy, Debug)]
pub struct AddressText {
    bytes: [u8; TEXT_MAX],
    len: usize,
}

impl AddressText {
    /// Writes `ip`.
    #[must_use]
    pub fn of(ip: IpAddr) -> Self {
        let mut text = Self {
            bytes: [0; TEXT_MAX],
            len: 0,
        };
        match ip {
            IpAddr::V4(ip) => text.v4(ip),
            IpAddr::V6(ip) => text.v6(ip),
        }
        text
    }

    /// The text, all of it ASCII.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn v4(&mut self, ip: Ipv4Addr) {
        for (i, octet) in ip.octets().into_iter().enumerate() {
            if i > 0 {
                self.push(b'.');
            }
            self.number::<10, 3>(u16::from(octet));
        }
    }

    fn v6(&mut self, ip: Ipv6Addr) {
        if let Some(ip) = ip.to_ipv4_mapped() {
            for byte in b"::ffff:" {
                self.push(*byte);
            }
            return self.v4(ip);
        }
        let segments = ip.segments();
        let (start, len) = longest_zeros(segments);
        for (i, segment) in segments.into_iter().enumerate() {
            if i == start && len > 0 {
                self.push(b':');
                self.push(b':');
            } else if i < start || i >= start + len {
                if i > 0 && i != start + len {
                    self.push(b':');
                }
                self.number::<16, 4>(segment);
            }
        }
    }

    /// Writes `value` to the base `BASE`, in at most `DIGITS` digits.
    fn number<const BASE: u16, const DIGITS: usize>(&mut self, value: u16) {
        let mut digits = [0u8; DIGITS];
        let mut rest = value;
        for digit in digits.iter_mut().rev() {
            *digit = (rest % BASE) as u8;
            rest /= BASE;
        }
        let mut leading = true;
        for (i, digit) in digits.into_iter().enumerate() {
            leading &= digit == 0 && i + 1 < DIGITS;
            if !leading {
                self.push(if digit < 10 {
                    b'0' + digit
                } else {
                    b'a' + digit - 10
                });
            }
        }
    }

    fn push(&mut self, byte: u8) {
        if let Some(slot) = self.bytes.get_mut(self.len) {
            *slot = byte;
            self.len += 1;
        }
    }
}

/// Start and length of the run of zeros that `::` stands for: the longest, the
/// first of equals, never a single one (RFC 5952, section 4.2). Without one the
/// length is 0 and the start behind the end.
fn longest_zeros(segments: [u16; 8]) -> (usize, usize) {
    let mut best = (segments.len(), 0);
    let mut run = 0;
    for (i, segment) in segments.into_iter().enumerate() {
        run = if segment == 0 { run + 1 } else { 0 };
        if run > 1 && run > best.1 {
            best = (i + 1 - run, run);
        }
    }
    best
}

/// Reads an address in any form that `IpAddr`'s `FromStr` takes.
#[must_use]
pub fn parse(text: &[u8]) -> Option<IpAddr> {
    match split_at(text, b':') {
        Some(_) => parse_v6(text).map(IpAddr::V6),
        None => parse_v4(text).map(IpAddr::V4),
    }
}

/// Reads a number that fits.
#[must_use]
pub fn parse_u32(text: &[u8]) -> Option<u32> {
    number::<10, 10>(text)
}

fn parse_v4(text: &[u8]) -> Option<Ipv4Addr> {
    let mut octets = [0u8; 4];
    let mut parts = text.split(|byte| *byte == b'.');
    for octet in &mut octets {
        let part = parts.next()?;
        // Some readers take a leading zero for an octal number (RFC 6943, section 3.1.1).
        if part.len() > 1 && part.first() == Some(&b'0') {
            return None;
        }
        *octet = u8::try_from(number::<10, 3>(part)?).ok()?;
    }
    parts.next().is_none().then_some(Ipv4Addr::from(octets))
}

fn parse_v6(text: &[u8]) -> Option<Ipv6Addr> {
    let mut groups = [0u16; 8];
    let mut count = 0;
    let mut gap = None;
    let mut rest = text;
    if let Some(after) = rest.strip_prefix(b"::") {
        gap = Some(0);
        rest = after;
    }
    while !rest.is_empty() {
        let Some((group, after)) = split_at(rest, b':') else {
            count += last_group(rest, groups.get_mut(count..)?)?;
            break;
        };
        *groups.get_mut(count)? = hexadecimal(group)?;
        count += 1;
        rest = match after {
            [] => return None,
            [b':', after @ ..] if gap.is_none() => {
                gap = Some(count);
                after
            }
            after => after,
        };
    }
    match gap {
        None => (count == groups.len()).then_some(Ipv6Addr::from(groups)),
        Some(gap) if count < groups.len() => {
            let mut all = [0u16; 8];
            all.get_mut(..gap)?.copy_from_slice(groups.get(..gap)?);
            for (to, from) in all
                .iter_mut()
                .rev()
                .zip(groups.get(gap..count)?.iter().rev())
            {
                *to = *from;
            }
            Some(Ipv6Addr::from(all))
        }
        Some(_) => None,
    }
}

/// Reads the last group, which may be an IPv4 address and then is two. Says how many.
fn last_group(text: &[u8], to: &mut [u16]) -> Option<usize> {
    if split_at(text, b'.').is_some() {
        let [a, b, c, d] = parse_v4(text)?.octets();
        let [first, second, ..] = to else { return None };
        (*first, *second) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        return Some(2);
    }
    *to.first_mut()? = hexadecimal(text)?;
    Some(1)
}

fn hexadecimal(text: &[u8]) -> Option<u16> {
    u16::try_from(number::<16, 4>(text)?).ok()
}

fn number<const BASE: u32, const DIGITS: usize>(text: &[u8]) -> Option<u32> {
    if text.is_empty() || text.len() > DIGITS {
        return None;
    }
    text.iter().try_fold(0u32, |value, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' if BASE == 16 => byte - b'a' + 10,
            b'A'..=b'F' if BASE == 16 => byte - b'A' + 10,
            _ => return None,
        };
        value.checked_mul(BASE)?.checked_add(u32::from(digit))
    })
}

/// The parts of `text` before and after the first `mark`.
pub(crate) fn split_at(text: &[u8], mark: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|byte| *byte == mark)?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(ip: IpAddr) -> String {
        String::from_utf8(AddressText::of(ip).as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn the_forms_of_rfc_5952() {
        for form in [
            "0.0.0.0",
            "192.0.2.10",
            "255.255.255.255",
            "::",
            "::1",
            "1::",
            "2001:db8::1",
            "2001:db8:0:1:1:1:1:1",
            "2001:0:0:1::1",
            "2001:db8::1:0:0:1",
            "::ffff:192.0.2.1",
            "::192",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        ] {
            assert_eq!(text(form.parse().unwrap()), form);
        }
    }

    proptest! {
        #[test]
        fn an_address_is_written_as_std_does(ip: IpAddr) {
            prop_assert_eq!(text(ip), ip.to_string());
        }

        #[test]
        fn zeros_are_shortened_as_std_does(
            segments in proptest::array::uniform8(prop_oneof![2 => Just(0u16), 1 => any::<u16>()]),
        ) {
            let ip = IpAddr::from(segments);
            prop_assert_eq!(text(ip), ip.to_string());
        }

        #[test]
        fn what_is_written_reads_back(
            segments in proptest::array::uniform8(prop_oneof![2 => Just(0u16), 1 => any::<u16>()]),
            v4: Ipv4Addr,
        ) {
            for ip in [IpAddr::from(segments), IpAddr::V4(v4)] {
                prop_assert_eq!(parse(AddressText::of(ip).as_bytes()), Some(ip));
            }
        }

        #[test]
        fn an_address_is_read_as_std_does(text in "[0-2a:.]{0,12}|([0-9a-fA-F]{0,5}::?){1,9}([0-9]{1,3}\\.?){0,5}") {
            prop_assert_eq!(parse(text.as_bytes()), text.parse().ok(), "{}", text);
        }

        #[test]
        fn reading_never_panics(text in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = parse(&text);
            let _ = parse_u32(&text);
        }
    }

    #[test]
    fn numbers_fit_or_are_none() {
        assert_eq!(parse_u32(b"4294967295"), Some(u32::MAX));
        for text in ["", "4294967296", "99999999999", "+1", "-1", "1a", " 1"] {
            assert_eq!(parse_u32(text.as_bytes()), None, "{text:?}");
        }
    }
}
