//! One line of a lease file.
//!
//! ```text
//! boot 3f2c8a1e9d4b4c0f8e6a7b5c4d3e2f10 #6c1f02aa
//! lease 10.50.0.7 02:00:00:00:00:01 ff00000001 1795359600 86412 name=web #03b9f1c4
//! free 10.50.0.7 #9a40e7d2
//! ```
//!
//! A lease has its address, the client's Ethernet address and identifier, and its end: by the
//! time of day, and in seconds since the start of the boot that was named last.

use std::fmt::Write;
use std::hash::Hasher;
use std::net::Ipv4Addr;
use std::time::Duration;

use registry::Mac;
use siphasher::sip::SipHasher24;

/// The longest client identifier (RFC 2132, section 9.14).
const CLIENT_ID_MAX: usize = 255;

/// A lease as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The address.
    pub address: Ipv4Addr,
    /// The client's Ethernet address.
    pub mac: Mac,
    /// Its identifier, as the server tells clients apart.
    pub client: Vec<u8>,
    /// What it calls itself, for show.
    pub hostname: Option<String>,
    /// When the lease ends, by the time of day, since 1970.
    pub until_wall: Duration,
    /// When it ends, since the start of the boot in which it was written.
    pub until_boot: Duration,
}

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The lines that follow were written in the boot with this id.
    Boot(String),
    /// A client has an address.
    Leased(Kept),
    /// An address is nobody's any more.
    Freed(Ipv4Addr),
}

/// A line is not one that was written here, or was damaged since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Its checksum is missing or another.
    #[error("its checksum is not that of the line")]
    Checksum,
    /// Its checksum is right, but it says nothing that is known.
    #[error("it says nothing that this version knows")]
    Unknown,
}

impl Change {
    /// The line, with its end.
    #[must_use]
    pub fn line(&self) -> String {
        let mut text = String::new();
        self.add_to(&mut text);
        text
    }

    /// Adds the line, with its end, to `text`.
    pub fn add_to(&self, text: &mut String) {
        let begun = text.len();
        // Writing into a String does not fail.
        let _ = match self {
            Self::Boot(id) => write!(text, "boot {id}"),
            Self::Freed(address) => write!(text, "free {address}"),
            Self::Leased(kept) => kept.add_to(text),
        };
        seal(text, begun);
    }
}

/// The text of a line with its checksum and its end. The text has no line end in it.
#[must_use]
pub fn sealed(mut text: String) -> String {
    seal(&mut text, 0);
    text
}

/// Adds checksum and end to the line that begins at `begun`.
fn seal(text: &mut String, begun: usize) {
    let checksum = checksum(text.get(begun..).unwrap_or_default());
    // Writing into a String does not fail.
    let _ = writeln!(text, " #{checksum:08x}");
}

impl Kept {
    fn add_to(&self, text: &mut String) -> std::fmt::Result {
        let Self { address, mac, .. } = self;
        let (wall, boot) = (self.until_wall.as_secs(), self.until_boot.as_secs());
        write!(text, "lease {address} {mac} ")?;
        add_hex(text, &self.client);
        write!(text, " {wall} {boot}")?;
        if let Some(name) = &self.hostname {
            text.push_str(" name=");
            add_hex(text, name.as_bytes());
        }
        Ok(())
    }
}

/// Reads a line without its end. Never panics, whatever its bytes are.
///
/// # Errors
/// [`RecordError`].
pub fn parse_line(line: &[u8]) -> Result<Change, RecordError> {
    let line = std::str::from_utf8(line).map_err(|_| RecordError::Checksum)?;
    let (text, sum) = line.rsplit_once(" #").ok_or(RecordError::Checksum)?;
    let whole = sum.len() == 8 && u32::from_str_radix(sum, 16) == Ok(checksum(text));
    if !whole {
        return Err(RecordError::Checksum);
    }
    parse_text(text).ok_or(RecordError::Unknown)
}

fn parse_text(text: &str) -> Option<Change> {
    let mut words = text.split(' ');
    match words.next()? {
        "boot" => Some(Change::Boot(words.next()?.to_owned())),
        "free" => Some(Change::Freed(words.next()?.parse().ok()?)),
        "lease" => Some(Change::Leased(Kept {
            address: words.next()?.parse().ok()?,
            mac: parse_mac(words.next()?)?,
            client: parse_hex(words.next()?).filter(|id| id.len() <= CLIENT_ID_MAX)?,
            until_wall: Duration::from_secs(words.next()?.parse().ok()?),
            until_boot: Duration::from_secs(words.next()?.parse().ok()?),
            hostname: words
                .next()
                .and_then(|word| parse_hex(word.strip_prefix("name=")?))
                .and_then(|bytes| String::from_utf8(bytes).ok()),
        })),
        _ => None,
    }
}

fn checksum(text: &str) -> u32 {
    let mut hasher = SipHasher24::new_with_keys(0x7273_7061_776e_2d6c, 0x6561_7365_732d_7631);
    hasher.write(text.as_bytes());
    hasher.finish() as u32
}

fn add_hex(text: &mut String, bytes: &[u8]) {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    text.extend(digits.filter_map(|digit| char::from_digit(digit.into(), 16)));
}

fn parse_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.chunks_exact(2).map(pair).collect()
}

fn parse_mac(text: &str) -> Option<Mac> {
    let bytes: Option<Vec<u8>> = text
        .split(':')
        .map(|part| u8::from_str_radix(part, 16).ok())
        .collect();
    Some(Mac(bytes?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kept() -> impl Strategy<Value = Kept> {
        let times = (0..u64::from(u32::MAX), 0..u64::from(u32::MAX));
        let name = proptest::option::of(".{1,20}");
        (
            any::<[u8; 4]>(),
            any::<[u8; 6]>(),
            proptest::collection::vec(any::<u8>(), 1..40),
            name,
            times,
        )
            .prop_map(|(address, mac, client, hostname, (wall, boot))| Kept {
                address: address.into(),
                mac: Mac(mac),
                client,
                hostname,
                until_wall: Duration::from_secs(wall),
                until_boot: Duration::from_secs(boot),
            })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(kept in kept()) {
            for change in [Change::Freed(kept.address), Change::Leased(kept)] {
                let line = change.line();
                prop_assert_eq!(parse_line(line.trim_end().as_bytes()), Ok(change));
            }
        }

        #[test]
        fn a_line_with_another_byte_is_not_believed(kept in kept(), at: prop::sample::Index, bit in 0..8_u32) {
            let line = Change::Leased(kept).line();
            let mut bytes = line.trim_end().as_bytes().to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= 1_u8 << bit;
            // A digit of the checksum in the other case is the same digit.
            let same = bytes.eq_ignore_ascii_case(line.trim_end().as_bytes());
            prop_assert!(same || parse_line(&bytes).is_err());
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let _ = parse_line(&bytes);
        }
    }

    #[test]
    fn what_a_later_version_may_write_is_told_from_damage() {
        let text = "pledge 10.0.0.7";
        let line = format!("{text} #{:08x}", checksum(text));
        assert_eq!(parse_line(line.as_bytes()), Err(RecordError::Unknown));
        assert_eq!(parse_line(text.as_bytes()), Err(RecordError::Checksum));
    }
}
