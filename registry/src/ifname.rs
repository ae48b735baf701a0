//! Names of network interfaces.

use std::fmt;
use std::hash::Hasher;
use std::str::FromStr;

use siphasher::sip::SipHasher24;

use crate::{MachineName, ZoneName};

/// The longest interface name, in bytes (IFNAMSIZ less the NUL).
pub const IFNAME_MAX: usize = 15;

/// How much of a name that is too long is kept in front of its hash.
const KEPT: usize = 11;
const HASH_KEY: (u64, u64) = (0x7273_7061_776e_2d69, 0x666e_616d_652d_7631);
const HASH_DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The name of a network interface that the kernel would take: 1 to 15 bytes,
/// no white space, no slash, no colon, not `.` or `..`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IfName(String);

/// A text is not the name of a network interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an interface name has 1 to 15 printable ASCII characters, no slash, colon or space among them"
)]
pub struct IfNameError;

/// What a host-side link of ours is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// A veth whose host side has its own subnet: `ve-`.
    Veth,
    /// A veth whose host side is the port of a bridge: `vb-`.
    BridgePort,
}

impl IfName {
    /// Name of the host's end of the link of `machine`, and the full name where it
    /// had to be shortened (the link's altname then).
    #[must_use]
    pub fn of_machine(kind: LinkKind, machine: &MachineName) -> (Self, Option<String>) {
        let prefix = match kind {
            LinkKind::Veth => "ve-",
            LinkKind::BridgePort => "vb-",
        };
        let full = format!("{prefix}{machine}");
        if full.len() <= IFNAME_MAX {
            return (Self(full), None);
        }
        let mut hasher = SipHasher24::new_with_keys(HASH_KEY.0, HASH_KEY.1);
        hasher.write(full.as_bytes());
        let hash = hasher.finish();
        let mut short: String = full.chars().take(KEPT).collect();
        short.extend([18, 12, 6, 0].iter().filter_map(|shift| {
            HASH_DIGITS
                .get((hash >> shift) as usize & 63)
                .map(|digit| char::from(*digit))
        }));
        (Self(short), Some(full))
    }

    /// The name under which a link of a machine that ended is out of the way until
    /// the kernel frees it.
    #[must_use]
    pub fn of_dead_link(ifindex: u32) -> Self {
        Self(format!("x{ifindex}"))
    }

    /// Name of a zone's bridge.
    #[must_use]
    pub fn of_zone(zone: &ZoneName) -> Self {
        Self(format!("{}{zone}", crate::zone::PREFIX))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IfName {
    type Err = IfNameError;

    fn from_str(text: &str) -> Result<Self, IfNameError> {
        let fits = (1..=IFNAME_MAX).contains(&text.len());
        let plain = text
            .bytes()
            .all(|b| b.is_ascii_graphic() && !matches!(b, b'/' | b':'));
        if fits && plain && text != "." && text != ".." {
            Ok(Self(text.to_owned()))
        } else {
            Err(IfNameError)
        }
    }
}

impl AsRef<str> for IfName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(machine: &str) -> (String, Option<String>) {
        let (name, full) = IfName::of_machine(LinkKind::Veth, &machine.parse().unwrap());
        (name.as_str().to_owned(), full)
    }

    #[test]
    fn a_short_name_stands_whole() {
        assert_eq!(of("web"), ("ve-web".into(), None));
        assert_eq!(of("twelve-bytes"), ("ve-twelve-bytes".into(), None));
    }

    #[test]
    fn a_long_name_is_cut_and_told_apart() {
        let (one, full) = of("postgres-central-1");
        assert_eq!(full.as_deref(), Some("ve-postgres-central-1"));
        assert_eq!(one.len(), 15);
        assert!(one.starts_with("ve-postgres"));
        assert_ne!(one, of("postgres-central-2").0);
    }

    #[test]
    fn what_the_kernel_refuses_is_no_name() {
        for text in [
            "",
            ".",
            "..",
            "a/b",
            "a b",
            "a:b",
            "sixteen-bytes-xx",
            "\u{e9}",
        ] {
            assert!(text.parse::<IfName>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn every_machine_has_a_link_name(machine in "[a-z0-9]{1,30}(-[a-z0-9]{1,30})?") {
            prop_assert!(of(&machine).0.parse::<IfName>().is_ok());
        }
    }
}
