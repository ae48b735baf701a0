//! Linux capabilities (capabilities(7)) as sets, and by name.

use std::io;
use std::str::FromStr;

use rustix::thread::{
    CapabilitySet as Kernel, CapabilitySets, clear_ambient_capability_set, set_capabilities,
};

/// Names in the order of their numbers, without `CAP_`.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What a container keeps, unless told otherwise.
const KEPT: [&str; 26] = [
    "AUDIT_CONTROL",
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_NICE",
    "SYS_PTRACE",
    "SYS_RESOURCE",
    "SYS_TTY_CONFIG",
];

/// A set of capabilities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapabilitySet(u64);

/// A text names no capability.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no capability: give names as in capabilities(7), such as CAP_SYS_TIME, or `all`")]
pub struct CapabilityError(String);

impl CapabilitySet {
    /// Every capability that there is.
    pub const ALL: Self = Self((1 << NAMES.len()) - 1);

    /// What a container keeps when nothing else is said; with a network namespace
    /// of its own, CAP_NET_ADMIN too.
    #[must_use]
    pub fn kept(private_network: bool) -> Self {
        let extra: &[&str] = if private_network { &["NET_ADMIN"] } else { &[] };
        Self(
            KEPT.iter()
                .chain(extra)
                .filter_map(|name| Self::of(name))
                .fold(0, |set, one| set | one.0),
        )
    }

    /// Both sets' capabilities.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This set's capabilities but for the other's.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The names of all capabilities.
    #[must_use]
    pub fn names() -> Vec<String> {
        NAMES
            .iter()
            .map(|name| format!("cap_{}", name.to_ascii_lowercase()))
            .collect()
    }

    fn of(name: &str) -> Option<Self> {
        let at = NAMES.iter().position(|known| *known == name)?;
        Some(Self(1 << at))
    }

    /// Limits what this process and those that it starts can ever have: the bounding
    /// set; nothing is ambient.
    ///
    /// # Errors
    /// As prctl(2).
    pub fn limit(self) -> io::Result<()> {
        for number in 0..64 {
            if self.0 & (1 << number) != 0 {
                continue;
            }
            let one = Kernel::from_bits_retain(1 << number);
            match rustix::thread::remove_capability_from_bounding_set(one) {
                Ok(()) => {}
                // The kernel knows no more.
                Err(rustix::io::Errno::INVAL) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(clear_ambient_capability_set()?)
    }

    /// Limits this process to the set: permitted and effective; nothing is
    /// inheritable.
    ///
    /// # Errors
    /// As capset(2).
    pub fn apply(self) -> io::Result<()> {
        // What this process does not have itself it cannot hand on.
        let have = rustix::thread::capabilities(None)?.permitted.bits();
        let kept = Kernel::from_bits_retain(self.0 & have);
        set_capabilities(
            None,
            CapabilitySets {
                effective: kept,
                permitted: kept,
                inheritable: Kernel::empty(),
            },
        )?;
        Ok(())
    }
}

impl FromStr for CapabilitySet {
    type Err = CapabilityError;

    /// Reads a list of names, separated by commas, or `all`.
    fn from_str(text: &str) -> Result<Self, CapabilityError> {
        text.split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .try_fold(Self::default(), |set, name| {
                if name.eq_ignore_ascii_case("all") {
                    return Ok(Self::ALL);
                }
                let upper = name.to_ascii_uppercase();
                Self::of(upper.strip_prefix("CAP_").unwrap_or(&upper))
                    .map(|one| set.with(one))
                    .ok_or_else(|| CapabilityError(name.to_owned()))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_lists_are_read() {
        let set: CapabilitySet = "CAP_SYS_TIME,chown".parse().unwrap();
        assert_eq!(set, CapabilitySet(1 << 25 | 1));
        assert_eq!("all".parse(), Ok(CapabilitySet::ALL));
        assert_eq!("".parse(), Ok(CapabilitySet::default()));
        let error = "CAP_FLY".parse::<CapabilitySet>().unwrap_err();
        assert!(error.to_string().contains("CAP_FLY"));
    }

    #[test]
    fn the_kept_set_is_that_of_the_manual() {
        assert_eq!(CapabilitySet::kept(false).0, 0x0000_0000_fdec_afff);
        assert_eq!(CapabilitySet::kept(true).0, 0x0000_0000_fdec_bfff);
    }
}
