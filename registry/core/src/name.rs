//! Machine names.

use core::fmt;
use core::str::FromStr;

/// The longest machine name, in bytes.
pub const NAME_MAX: usize = 64;

/// The longest label (the part between two dots) of a machine name, in bytes
/// (RFC 1035, section 2.3.4).
pub const LABEL_MAX: usize = 63;

/// The name of a machine: labels of letters, digits and inner hyphens, joined by
/// dots, 1 to 64 bytes in all.
///
/// Names are host names and so do not tell upper from lower case (RFC 4343): the
/// value is always lower case. A `MachineName` is safe to use as a file name.
#[derive(Clone, Copy)]
pub struct MachineName {
    bytes: [u8; NAME_MAX],
    len: u8,
}

/// Why a text is not a machine name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// The text is empty.
    Empty,
    /// The text has more than [`NAME_MAX`] bytes, or a label more than [`LABEL_MAX`].
    TooLong,
    /// A label is empty, or begins or ends with a hyphen.
    BadLabel,
    /// A byte other than a letter, a digit, a hyphen or a dot.
    BadCharacter,
}

impl MachineName {
    /// Takes `text` as a machine name, folded to lower case.
    ///
    /// # Errors
    /// Says what keeps `text` from being one.
    pub fn parse(text: &[u8]) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > NAME_MAX {
            return Err(NameError::TooLong);
        }
        let mut bytes = [0; NAME_MAX];
        for (to, from) in bytes.iter_mut().zip(text) {
            if !(from.is_ascii_alphanumeric() || matches!(from, b'-' | b'.')) {
                return Err(NameError::BadCharacter);
            }
            *to = from.to_ascii_lowercase();
        }
        for label in text.split(|byte| *byte == b'.') {
            if label.len() > LABEL_MAX {
                return Err(NameError::TooLong);
            }
            match (label.first(), label.last()) {
                (None, _) | (Some(b'-'), _) | (_, Some(b'-')) => return Err(NameError::BadLabel),
                _ => {}
            }
        }
        Ok(Self {
            bytes,
            len: text.len() as u8,
        })
    }

    /// Takes the name of a query, which may end with the dot of a fully
    /// qualified name.
    ///
    /// # Errors
    /// As [`MachineName::parse`].
    pub fn from_query(text: &[u8]) -> Result<Self, NameError> {
        Self::parse(text.strip_suffix(b".").unwrap_or(text))
    }

    /// The name as bytes, all of them ASCII.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes
            .get(..usize::from(self.len))
            .unwrap_or(&self.bytes)
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(self.as_bytes()).unwrap_or("")
    }
}

impl FromStr for MachineName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text.as_bytes())
    }
}

impl AsRef<str> for MachineName {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq for MachineName {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for MachineName {}

impl PartialOrd for MachineName {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for MachineName {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl core::hash::Hash for MachineName {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Debug for MachineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for MachineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "it is empty",
            Self::TooLong => "it is longer than 64 bytes, or one of its labels than 63",
            Self::BadLabel => "a label is empty, or begins or ends with a hyphen",
            Self::BadCharacter => "only letters, digits, hyphens and dots may be in it",
        })
    }
}

impl core::error::Error for NameError {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn host_names_are_names() {
        for text in [
            "a",
            "web",
            "web-1",
            "db.example",
            "1",
            "xn--bcher-kva",
            &"a".repeat(63),
        ] {
            assert_eq!(MachineName::parse(text.as_bytes()).unwrap().as_str(), text);
        }
    }

    #[test]
    fn what_is_no_host_name_is_refused() {
        let cases: [(&[u8], NameError); 11] = [
            (b"", NameError::Empty),
            (b".", NameError::BadLabel),
            (b"..", NameError::BadLabel),
            (b"a..b", NameError::BadLabel),
            (b"-a", NameError::BadLabel),
            (b"a-.b", NameError::BadLabel),
            (b"a_b", NameError::BadCharacter),
            (b"a/b", NameError::BadCharacter),
            (b"a\0", NameError::BadCharacter),
            (&[b'a'; 65], NameError::TooLong),
            (&[b'a'; 64], NameError::TooLong),
        ];
        for (text, error) in cases {
            assert_eq!(MachineName::parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn a_query_may_end_with_a_dot_and_be_in_upper_case() {
        let web: MachineName = "web".parse().unwrap();
        assert_eq!(MachineName::from_query(b"WEB."), Ok(web));
        assert_eq!(MachineName::from_query(b"web.."), Err(NameError::BadLabel));
        assert_eq!("Web".parse(), Ok(web));
    }

    proptest! {
        #[test]
        fn a_name_never_leaves_its_directory(text in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(name) = MachineName::parse(&text) {
                prop_assert!(!name.as_str().contains('/'));
                prop_assert!(!name.as_str().starts_with('.'));
                prop_assert!(!name.as_bytes().contains(&0));
                prop_assert_eq!(name.as_bytes().len(), text.len());
            }
        }
    }
}
