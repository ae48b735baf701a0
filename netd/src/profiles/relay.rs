//! What is said of DHCP relays.

use std::net::Ipv4Addr;

use crate::dhcp::relay::CIRCUIT_MAX;
use crate::network_file::value::shown;
use crate::network_file::{Wrong, words};

/// The most servers of a relay.
const TARGETS_MAX: usize = 4;

/// What a relay on a link does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelayProfile {
    /// The servers that get every request.
    pub targets: Vec<Ipv4Addr>,
    /// What servers are told of where a request came in, instead of the machine's name.
    pub circuit: Option<Vec<u8>>,
    /// What servers are told of the relay.
    pub remote_id: Option<Vec<u8>>,
}

/// `RelayTarget=`.
pub(super) fn add_targets(targets: &mut Vec<Ipv4Addr>, value: &str) -> Result<(), Wrong> {
    if value.is_empty() {
        targets.clear();
        return Ok(());
    }
    let mut more = Vec::new();
    for word in words(value)? {
        let usable = |ip: &Ipv4Addr| {
            !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast() && !ip.is_loopback()
        };
        more.push(word.parse().ok().filter(usable).ok_or_else(|| {
            let word = shown(&word);
            Wrong::new(format!("\"{word}\" is no IPv4 address of a DHCP server"))
        })?);
    }
    if targets.len() + more.len() > TARGETS_MAX {
        return Err(Wrong::new(format!("more than {TARGETS_MAX} servers")));
    }
    targets.extend(more);
    Ok(())
}

/// `RelayAgentCircuitId=` and `RelayAgentRemoteId=`.
pub(super) fn id(value: &str) -> Result<Option<Vec<u8>>, Wrong> {
    let text = value
        .strip_prefix("string:")
        .ok_or_else(|| Wrong::new(format!("write string:{}", shown(value))))?;
    if (1..=CIRCUIT_MAX).contains(&text.len()) {
        Ok(Some(text.as_bytes().to_vec()))
    } else {
        Err(Wrong::new(format!(
            "behind string: there are 1 to {CIRCUIT_MAX} bytes"
        )))
    }
}
