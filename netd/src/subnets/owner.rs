//! Whose a subnet is.

use std::fmt;
use std::str::FromStr;

use registry::{MachineName, ZoneName};

/// What the name of a zone's file begins with, which no machine's name does.
const ZONE: char = '@';

/// Whose a subnet is: that of a machine's own link, or that of the link that the machines
/// of a zone share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// A machine.
    Machine(MachineName),
    /// A zone.
    Zone(ZoneName),
}

impl Owner {
    /// The name of its file, which tells machines and zones of one name apart.
    #[must_use]
    pub fn file_name(&self) -> String {
        match self {
            Self::Machine(name) => name.to_string(),
            Self::Zone(name) => format!("{ZONE}{name}"),
        }
    }

    /// Length of the prefix of an IPv4 subnet of its, where nobody says anything else.
    #[must_use]
    pub fn usual_prefix(&self) -> u8 {
        match self {
            Self::Machine(_) => super::VETH_PREFIX,
            Self::Zone(_) => super::ZONE_PREFIX,
        }
    }

    /// The machine, if it is one.
    #[must_use]
    pub fn machine(&self) -> Option<&MachineName> {
        match self {
            Self::Machine(name) => Some(name),
            Self::Zone(_) => None,
        }
    }
}

impl From<MachineName> for Owner {
    fn from(name: MachineName) -> Self {
        Self::Machine(name)
    }
}

impl From<ZoneName> for Owner {
    fn from(name: ZoneName) -> Self {
        Self::Zone(name)
    }
}

/// A text is not the name of an owner's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is the name neither of a machine nor, behind an @, of a zone")]
pub struct OwnerError;

impl FromStr for Owner {
    type Err = OwnerError;

    fn from_str(text: &str) -> Result<Self, OwnerError> {
        let owner = match text.strip_prefix(ZONE) {
            Some(zone) => zone.parse().ok().map(Self::Zone),
            None => text.parse().ok().map(Self::Machine),
        };
        owner.ok_or(OwnerError)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Machine(name) => write!(f, "{name}"),
            Self::Zone(name) => write!(f, "zone {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_tells_whose_it_is() {
        let machine: Owner = "lab".parse().unwrap();
        let zone: Owner = "@lab".parse().unwrap();
        assert_eq!(machine, Owner::Machine("lab".parse().unwrap()));
        assert_eq!(zone, Owner::Zone("lab".parse().unwrap()));
        for owner in [machine, zone] {
            assert_eq!(owner.file_name().parse(), Ok(owner));
        }
        for nobody in ["", "@", "@@a", "@.lab.new", "web~corrupt", "@lab~corrupt"] {
            assert_eq!(nobody.parse::<Owner>(), Err(OwnerError), "{nobody}");
        }
    }
}
