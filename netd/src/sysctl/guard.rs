//! What a link of ours gets before it goes up: the peer at its other end is hostile.

use std::path::PathBuf;
use std::sync::OnceLock;

use super::{Change, Protocol, Sysctl, SysctlError};

/// Parameters of IPv4. All of them exist on every kernel that we run on.
const IPV4: &[(&str, &str)] = &[
    ("accept_redirects", "0"),
    ("accept_source_route", "0"),
    ("accept_local", "0"),
    ("arp_accept", "0"),
    ("proxy_arp", "0"),
    ("route_localnet", "0"),
    // Strict: else each ARP request from an invented address costs an entry of the
    // neighbour table, which all links share.
    ("rp_filter", "1"),
    // The same where conf/all/rp_filter is 2, which counts as it is the greater: no answer
    // to who has no route back by this link.
    ("arp_filter", "1"),
    // In force only where conf/all has 0 as well; a redirect from us does no harm.
    ("send_redirects", "0"),
    // After accept_redirects: which value of conf/all counts there depends on this one.
    ("forwarding", "1"),
];

/// Parameters of IPv6. Never `forwarding`: see [`super::act_as_router`].
const IPV6: &[(&str, &str)] = &[
    ("accept_ra", "0"),
    ("autoconf", "0"),
    ("accept_redirects", "0"),
    ("accept_source_route", "0"),
    ("proxy_ndp", "0"),
    // Our address is ours: the peer must not talk us out of it, and need not be waited for.
    ("accept_dad", "0"),
    // Linux 6.17.
    ("force_forwarding", "1"),
];

/// How much waits, in bytes with the kernel's own for it, for a neighbour that does not answer:
/// four short packets, such as the answers to two questions to a name server.
///
/// What waits fills the buffer of the socket that sent it, and for answers to pings that is
/// one for all of a processor: with the kernel's 208 KiB for each neighbour, a container
/// that pings from invented addresses silences everybody's pings.
const WAITING_MAX: &str = "3072";

/// The parameter that protects from nothing, and is set when a link is up.
const LATE: &str = "force_forwarding";

/// Which of the guard's parameters a link has as they should be, as far as somebody told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held(u32);

/// A parameter that had another value than the guard's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corrected {
    /// File of the parameter.
    pub path: PathBuf,
    /// The value that it had.
    pub former: String,
    /// The value that it has now.
    pub value: &'static str,
}

/// All parameters, in the order in which they are set.
fn parameters() -> impl Iterator<Item = (Protocol, &'static str, &'static str)> {
    let of = |protocol| move |&(key, value)| (protocol, key, value);
    let v4 = IPV4.iter().map(of(Protocol::V4));
    v4.chain(IPV6.iter().map(of(Protocol::V6)))
}

impl Held {
    /// What follows from a link's parameters; `value` gives one, if it is known.
    #[must_use]
    pub fn observe(value: impl Fn(Protocol, &str) -> Option<i32>) -> Self {
        let mut held = 0;
        for (at, (protocol, key, wanted)) in parameters().enumerate() {
            if value(protocol, key).is_some_and(|value| value.to_string() == wanted) {
                held |= 1 << at;
            }
        }
        Self(held)
    }

    /// Whether there is nothing to set for IPv4.
    #[must_use]
    pub fn all_ipv4(self) -> bool {
        (0..IPV4.len()).all(|at| self.has(at))
    }

    /// Whether there is nothing to set. What this kernel does not have cannot be set.
    #[must_use]
    pub fn all(self) -> bool {
        static MISSING: OnceLock<Held> = OnceLock::new();
        let missing = MISSING.get_or_init(|| {
            missing(|protocol, key| {
                let default = protocol.conf().join("default");
                // Where nothing can be seen, nothing is known to be missing.
                default.join(key).exists() || !Protocol::V4.present()
            })
        });
        self.all_but(*missing)
    }

    fn all_but(self, missing: Held) -> bool {
        let has_or_lacks = Self(self.0 | missing.0);
        parameters().enumerate().all(|(at, _)| has_or_lacks.has(at))
    }

    fn has(self, at: usize) -> bool {
        self.0 & (1 << at) != 0
    }
}

/// The parameters that no link of this kernel has, of which the kernel tells a zero all the
/// same: those of IPv6 where that is off, and those that came with a later kernel. Those of
/// IPv4 are never missing.
fn missing(exists: impl Fn(Protocol, &str) -> bool) -> Held {
    let mut missing = 0;
    for (at, (protocol, key, _)) in parameters().enumerate() {
        if protocol == Protocol::V6 && !exists(protocol, key) {
            missing |= 1 << at;
        }
    }
    Held(missing)
}

/// The IPv4 parameters of a link of ours, and their values. With them and
/// those of IPv6, nothing that the other end sends changes the host's routes or
/// addresses, 127/8 stays out of its reach, and its packets are forwarded.
pub fn ipv4_guard() -> impl Iterator<Item = (&'static str, &'static str)> {
    IPV4.iter().copied()
}

/// Sets the parameters of a protocol, before a link goes up. Those that it has are passed
/// over.
///
/// For IPv4 rtnetlink is the better way: some of these files have their writers go round
/// in circles while somebody else changes links.
///
/// # Errors
/// [`SysctlError::Missing`] if the link is gone; [`SysctlError::LinkName`],
/// [`SysctlError::Write`].
pub fn guard(link: &str, protocol: Protocol, held: Held) -> Result<(), SysctlError> {
    for (at, (of, key, value)) in parameters().enumerate() {
        if of != protocol || held.has(at) || key == LATE {
            continue;
        }
        match Sysctl::of_link(protocol, link, key)?.write(value) {
            // The kernel may be without IPv6, or without the parameter.
            Err(SysctlError::Missing { .. }) if protocol == Protocol::V6 => {}
            written => written?,
        }
    }
    Ok(())
}

/// Bounds what waits for a link's neighbours.
///
/// # Errors
/// [`SysctlError::Missing`] if the link is gone; [`SysctlError::LinkName`],
/// [`SysctlError::Write`].
pub fn bound_waiting(link: &str) -> Result<(), SysctlError> {
    for protocol in [Protocol::V4, Protocol::V6] {
        let parameter = Sysctl::of_neighbours(protocol, link, "unres_qlen_bytes")?;
        match parameter.write(WAITING_MAX) {
            Err(SysctlError::Missing { .. }) if protocol == Protocol::V6 => {}
            written => written?,
        }
    }
    Ok(())
}

/// Has the host forward a link's IPv6 packets, if it does not yet.
///
/// # Errors
/// [`SysctlError::LinkName`], [`SysctlError::Write`].
pub fn let_forward(link: &str, held: Held) -> Result<(), SysctlError> {
    for (at, (protocol, key, value)) in parameters().enumerate() {
        if key != LATE || held.has(at) {
            continue;
        }
        match Sysctl::of_link(protocol, link, key)?.write(value) {
            Err(SysctlError::Missing { .. }) => {}
            written => written?,
        }
    }
    Ok(())
}

/// Sets those of a link's parameters that are not as [`guard`] left them, and gives
/// them.
///
/// # Errors
/// As [`guard`], and [`SysctlError::Read`].
pub fn correct_link(link: &str) -> Result<Vec<Corrected>, SysctlError> {
    let mut corrected = Vec::new();
    for (protocol, key, value) in parameters() {
        let parameter = Sysctl::of_link(protocol, link, key)?;
        let change = match protocol {
            Protocol::V4 => Some(parameter.ensure(value)?),
            Protocol::V6 => parameter.ensure_if_present(value)?,
        };
        if let Some(Change::Changed { former }) = change {
            corrected.push(Corrected {
                path: parameter.path().to_owned(),
                former,
                value,
            });
        }
    }
    Ok(corrected)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of all links, those of which the kernel says `value` for this parameter of IPv6 and
    /// the right one for all others.
    fn held_but(key: &str, value: i32) -> Held {
        Held::observe(|protocol, other| {
            if (protocol, other) == (Protocol::V6, key) {
                return Some(value);
            }
            let mut all = parameters();
            let found = all.find(|(of, name, _)| (*of, *name) == (protocol, other));
            found.and_then(|(_, _, wanted)| wanted.parse().ok())
        })
    }

    #[test]
    fn what_the_kernel_does_not_have_is_not_missed() {
        let old = missing(|_, key| key != "force_forwarding");
        let new = missing(|_, _| true);
        let zero = held_but("force_forwarding", 0);
        assert!(zero.all_but(old), "before Linux 6.17");
        assert!(!zero.all_but(new), "since Linux 6.17");
        assert!(!held_but("accept_ra", 1).all_but(old));
        assert!(held_but("force_forwarding", 1).all_but(new));
    }

    #[test]
    fn without_ipv6_that_of_ipv4_is_all() {
        let none = missing(|_, _| false);
        let wanted = |key: &str| IPV4.iter().find(|(name, _)| *name == key);
        let v4 = Held::observe(|protocol, key| {
            let of_v4 = (protocol == Protocol::V4).then(|| wanted(key));
            of_v4.flatten().and_then(|(_, value)| value.parse().ok())
        });
        assert!(v4.all_but(none));
        assert!(!v4.all_but(missing(|_, _| true)));
        assert!(!Held::default().all_but(none), "those of IPv4 exist");
    }
}
