//! Domain names in options.

use std::fmt;
use std::str::FromStr;

/// The longest label of a name (RFC 1035, section 2.3.4).
const LABEL_MAX: usize = 63;
/// The longest name as it is written, with the bytes that tell its labels' lengths and
/// the final zero (RFC 1035, section 2.3.4).
const WIRE_MAX: usize = 255;

/// A domain name of letters, digits, `-` and `_`, without the final dot, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainName(String);

/// Why a text is no domain name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DomainError {
    /// Two dots in a row, one at the beginning, or nothing at all.
    #[error("a label of a domain name is empty")]
    EmptyLabel,
    /// More than 63 bytes between two dots.
    #[error("a label of a domain name is longer than 63 bytes")]
    LongLabel,
    /// More than 253 bytes.
    #[error("a domain name is longer than 253 bytes")]
    Long,
    /// Something else than letters, digits, `-`, `_` and dots.
    #[error("a domain name has a byte that is no letter, digit, hyphen or underscore")]
    Character,
}

impl DomainName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// How many bytes it has on the wire.
    #[must_use]
    pub fn wire_len(&self) -> usize {
        self.0.len() + 2
    }

    /// Appends it as RFC 1035, section 3.1, says, without compression.
    pub(super) fn write(&self, to: &mut Vec<u8>) {
        for label in self.0.split('.') {
            // At most 63 by construction.
            to.push(u8::try_from(label.len()).unwrap_or(0));
            to.extend_from_slice(label.as_bytes());
        }
        to.push(0);
    }

    /// Reads one off the front of `bytes`; the rest comes with it.
    pub(super) fn read(mut bytes: &[u8]) -> Option<(Self, &[u8])> {
        let mut name = String::new();
        loop {
            let (len, rest) = bytes.split_first()?;
            if *len == 0 {
                return Some((name.parse().ok()?, rest));
            }
            // RFC 8106, section 5.2: "the simple encoding", so no pointers either, which
            // are longer than any label.
            let (label, rest) = rest.split_at_checked(usize::from(*len))?;
            let label = std::str::from_utf8(label).ok()?;
            if label.contains('.') || name.len() + label.len() > WIRE_MAX {
                return None;
            }
            if !name.is_empty() {
                name.push('.');
            }
            name.push_str(label);
            bytes = rest;
        }
    }
}

impl FromStr for DomainName {
    type Err = DomainError;

    fn from_str(text: &str) -> Result<Self, DomainError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        for label in text.split('.') {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            if label.is_empty() {
                return Err(DomainError::EmptyLabel);
            }
            if label.len() > LABEL_MAX {
                return Err(DomainError::LongLabel);
            }
            if !label.bytes().all(plain) {
                return Err(DomainError::Character);
            }
        }
        if text.len() + 2 > WIRE_MAX {
            return Err(DomainError::Long);
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
