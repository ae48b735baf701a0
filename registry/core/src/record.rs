//! The record of a machine, as it stands in `/run/rspawn/machines/NAME`.
//!
//! Lines of `KEY=VALUE`, at most [`RECORD_MAX`] bytes, the first one the format's
//! version, the last one `END=1`: whatever was cut short lacks it. Keys that a
//! reader does not know are passed over. `ADDRESS` is repeated, in the order in
//! which the name resolves; everything else stands once.

use core::net::IpAddr;

use crate::name::MachineName;
use crate::text::{self, parse_u32, split_at};

/// The longest record, in bytes.
pub const RECORD_MAX: usize = 4096;
/// The most addresses that one record holds.
pub const ADDRESSES_MAX: usize = 32;
/// The version of the format.
pub const VERSION: &str = "1";

/// Keys of a record.
pub mod key {
    /// The format's version; always the first line.
    pub const VERSION: &str = "VERSION";
    /// The machine's name, as the file is called.
    pub const NAME: &str = "NAME";
    /// `container`.
    pub const CLASS: &str = "CLASS";
    /// The manager that registered the machine, `rspawn`.
    pub const SERVICE: &str = "SERVICE";
    /// The machine id, 32 hexadecimal digits.
    pub const ID: &str = "ID";
    /// Process id of the leader (the payload's first process).
    pub const LEADER: &str = "LEADER";
    /// Start time of the leader, in clock ticks since boot (proc_pid_stat(5), field 22).
    pub const LEADER_START: &str = "LEADER_START";
    /// Inode of the leader's pidfd, 0 where the kernel gives none that is unique.
    pub const LEADER_PIDFD_ID: &str = "LEADER_PIDFD_ID";
    /// Boot id of the host when the record was written.
    pub const BOOT_ID: &str = "BOOT_ID";
    /// The payload's cgroup, as a path below the cgroup2 mount.
    pub const CGROUP: &str = "CGROUP";
    /// Inode of the cgroup's directory, which no other cgroup of this boot has.
    pub const CGROUP_ID: &str = "CGROUP_ID";
    /// Process id of the machine's supervisor.
    pub const SUPERVISOR: &str = "SUPERVISOR";
    /// Start time of the supervisor, in clock ticks since boot.
    pub const SUPERVISOR_START: &str = "SUPERVISOR_START";
    /// Inode of the supervisor's pidfd, 0 where the kernel gives none that is unique.
    pub const SUPERVISOR_PIDFD_ID: &str = "SUPERVISOR_PIDFD_ID";
    /// Name of the host's end of the machine's link.
    pub const LINK: &str = "LINK";
    /// Interface index of the host's end of the machine's link.
    pub const LINK_INDEX: &str = "LINK_INDEX";
    /// `1` if nothing of the machine's name is to be remembered.
    pub const EPHEMERAL: &str = "EPHEMERAL";
    /// Interface index by which the host reaches the machine: of the host's end of
    /// its link, or of the bridge that this is a port of.
    pub const NETIF: &str = "NETIF";
    /// How the machine is attached: `host`, `private`, `veth` or `bridge`.
    pub const NETWORK: &str = "NETWORK";
    /// Time of registration, microseconds since the epoch.
    pub const REALTIME: &str = "REALTIME";
    /// Time of registration, microseconds of CLOCK_MONOTONIC.
    pub const MONOTONIC: &str = "MONOTONIC";
    /// An address, a link-local IPv6 one with `%` and the host's interface index.
    pub const ADDRESS: &str = "ADDRESS";
    /// The last line.
    pub const END: &str = "END";
}

/// A whole and well-formed record.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    body: &'a [u8],
    name: MachineName,
}

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// More than [`RECORD_MAX`] bytes.
    TooLong,
    /// The last line is missing.
    Truncated,
    /// Not of a version that is known.
    BadVersion,
    /// A line without `=`, a NUL byte, a wrong name or address, or too many addresses.
    Malformed,
}

/// An address of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The address itself.
    pub ip: IpAddr,
    /// Interface index on the host by which a link-local address is reached, else 0.
    pub scope: u32,
}

impl<'a> Record<'a> {
    /// Reads a record.
    ///
    /// # Errors
    /// Says why `bytes` are not a whole and well-formed record.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RecordError> {
        if bytes.len() > RECORD_MAX {
            return Err(RecordError::TooLong);
        }
        let body = bytes
            .strip_suffix(b"\nEND=1\n")
            .ok_or(RecordError::Truncated)?;
        if value_of(body, key::VERSION) != Some(VERSION.as_bytes()) {
            return Err(RecordError::BadVersion);
        }
        let name = value_of(body, key::NAME).ok_or(RecordError::Malformed)?;
        let record = Self {
            body,
            name: MachineName::parse(name).map_err(|_| RecordError::Malformed)?,
        };
        // Not `contains`: its search by words could panic as far as a linker can see,
        // and a reader inside somebody's program must not be able to.
        if !body.iter().all(|byte| *byte != 0) {
            return Err(RecordError::Malformed);
        }
        let mut addresses = 0;
        for line in lines(body) {
            let (key, value) = split(line).ok_or(RecordError::Malformed)?;
            if key == key::ADDRESS.as_bytes() {
                Address::parse(value).ok_or(RecordError::Malformed)?;
                addresses += 1;
            }
        }
        if addresses > ADDRESSES_MAX {
            return Err(RecordError::Malformed);
        }
        Ok(record)
    }

    /// The machine's name.
    #[must_use]
    pub fn name(&self) -> MachineName {
        self.name
    }

    /// The first value of `key`, as text.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&'a str> {
        value_of(self.body, key).and_then(|value| core::str::from_utf8(value).ok())
    }

    /// The machine's addresses, in the order in which its name resolves.
    pub fn addresses(&self) -> impl Iterator<Item = Address> + Clone + use<'a> {
        lines(self.body).filter_map(|line| match split(line)? {
            (key, value) if key == key::ADDRESS.as_bytes() => Address::parse(value),
            _ => None,
        })
    }
}

impl Address {
    /// Reads an address as it stands in a record, `192.0.2.1` or `fe80::1%4`.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (ip, scope) = match split_at(text, b'%') {
            Some((ip, scope)) => (ip, parse_u32(scope)?),
            None => (text, 0),
        };
        Some(Self {
            ip: text::parse(ip)?,
            scope,
        })
    }
}

impl core::fmt::Display for Address {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.scope {
            0 => write!(f, "{}", self.ip),
            scope => write!(f, "{}%{scope}", self.ip),
        }
    }
}

fn lines(body: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    body.split(|byte| *byte == b'\n')
}

fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    split_at(line, b'=')
}

fn value_of<'a>(body: &'a [u8], key: &str) -> Option<&'a [u8]> {
    lines(body)
        .filter_map(split)
        .find(|(k, _)| *k == key.as_bytes())
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WEB: &[u8] = b"VERSION=1\nNAME=web\nLEADER=7\nADDRESS=192.0.2.2\n\
        ADDRESS=2001:db8::2\nADDRESS=fe80::1%12\nEND=1\n";

    #[test]
    fn a_record_gives_name_and_addresses_in_order() {
        let record = Record::parse(WEB).unwrap();
        assert_eq!(record.name().as_str(), "web");
        assert_eq!(record.get(key::LEADER), Some("7"));
        assert_eq!(record.get(key::CLASS), None);
        let mut addresses = record.addresses();
        assert_eq!(addresses.next().unwrap().ip, IpAddr::from([192, 0, 2, 2]));
        assert_eq!(addresses.next().unwrap().scope, 0);
        assert_eq!(addresses.next().unwrap().to_string(), "fe80::1%12");
        assert_eq!(addresses.next(), None);
    }

    #[test]
    fn what_is_cut_short_is_no_record() {
        for len in 0..WEB.len() {
            assert!(Record::parse(&WEB[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn what_is_irregular_is_no_record() {
        let cases: [(&[u8], RecordError); 6] = [
            (&[b'x'; RECORD_MAX + 1], RecordError::TooLong),
            (b"VERSION=2\nNAME=web\nEND=1\n", RecordError::BadVersion),
            (b"VERSION=1\nNAME=../x\nEND=1\n", RecordError::Malformed),
            (
                b"VERSION=1\nNAME=web\nnonsense\nEND=1\n",
                RecordError::Malformed,
            ),
            (
                b"VERSION=1\nNAME=web\nADDRESS=192.0.2\nEND=1\n",
                RecordError::Malformed,
            ),
            (
                b"VERSION=1\nNAME=web\nID=\0\nEND=1\n",
                RecordError::Malformed,
            ),
        ];
        for (bytes, error) in cases {
            assert_eq!(Record::parse(bytes).unwrap_err(), error);
        }
        let many = [
            "VERSION=1\nNAME=web\n",
            &"ADDRESS=192.0.2.2\n".repeat(33),
            "END=1\n",
        ]
        .concat();
        assert_eq!(
            Record::parse(many.as_bytes()).unwrap_err(),
            RecordError::Malformed
        );
    }

    proptest! {
        #[test]
        fn parsing_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = Record::parse(&bytes);
        }

        #[test]
        fn an_address_reads_back(ip: IpAddr, scope: u32) {
            let address = Address { ip, scope };
            prop_assert_eq!(Address::parse(address.to_string().as_bytes()), Some(address));
        }
    }
}
