//! What a link of ours gets before it goes up: the peer at its other end is hostile.

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

/// Sets the parameters of a link of ours, before it goes up: nothing that the other end
/// sends changes the host's routes or addresses, 127/8 stays out of its reach, and its
/// packets are forwarded. The number of parameters that were written; a second call writes
/// none.
///
/// # Errors
/// [`SysctlError::Missing`] if the link is gone; [`SysctlError::LinkName`],
/// [`SysctlError::Read`], [`SysctlError::Write`].
pub fn guard_link(link: &str) -> Result<usize, SysctlError> {
    let mut written = 0;
    for &(key, value) in IPV4 {
        let change = Sysctl::of_link(Protocol::V4, link, key)?.ensure(value)?;
        written += usize::from(change != Change::Already);
    }
    for &(key, value) in IPV6 {
        // The kernel may be without IPv6, or without the parameter.
        let change = Sysctl::of_link(Protocol::V6, link, key)?.ensure_if_present(value)?;
        written += usize::from(matches!(change, Some(Change::Changed { .. })));
    }
    Ok(written)
}
