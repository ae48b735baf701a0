//! `netd.conf`: what concerns netd and no single link.

use std::path::Path;

use ipnetwork::{IpNetwork, Ipv4Network};

use super::discovery::{Directories, Part};
use crate::network_file::value::network;
use crate::network_file::{Key, Message, Wrong, apply, words};
use crate::subnets::{Pools, VETH_PREFIX};

/// Pools larger than this are no networks of hosts.
const POOL_PREFIX_MIN: u8 = 8;

/// What the file has said so far.
#[derive(Debug, Default)]
struct Draft {
    pools: Vec<Ipv4Network>,
    exclude: Vec<IpNetwork>,
}

const KEYS: &[Key<Draft>] = &[
    Key {
        section: "Subnets",
        name: "Pool",
        set: |draft, value| add(&mut draft.pools, value, pool),
    },
    Key {
        section: "Subnets",
        name: "Exclude",
        set: |draft, value| add(&mut draft.exclude, value, prefix),
    },
];

/// Reads where subnets are taken from. Never fails: what is wrong is told, and has no
/// effect.
pub(super) fn load(directories: &Directories, messages: &mut Vec<Message>) -> Pools {
    pools(directories.unit("netd.conf", messages).parts, messages)
}

/// Where one file alone says that subnets are taken from.
#[must_use]
pub fn pools_of(path: &Path, bytes: &[u8], messages: &mut Vec<Message>) -> Pools {
    let (path, bytes) = (path.to_owned(), bytes.to_vec());
    pools(vec![Part { path, bytes }], messages)
}

fn pools(parts: Vec<Part>, messages: &mut Vec<Message>) -> Pools {
    let mut draft = Draft::default();
    for part in parts {
        apply(KEYS, &mut draft, &part.path, &part.bytes, messages);
    }
    let mut pools = Pools::default();
    if !draft.pools.is_empty() {
        pools.v4 = draft.pools;
    }
    pools.exclude = draft.exclude;
    pools
}

/// Adds what all words of a value mean, or nothing if one means nothing.
fn add<T>(
    list: &mut Vec<T>,
    value: &str,
    meaning: fn(&str) -> Result<T, Wrong>,
) -> Result<(), Wrong> {
    if value.is_empty() {
        list.clear();
        return Ok(());
    }
    let more: Result<Vec<T>, Wrong> = words(value)?.iter().map(|word| meaning(word)).collect();
    list.extend(more?);
    Ok(())
}

fn prefix(word: &str) -> Result<IpNetwork, Wrong> {
    let network = network(word)?;
    if network.ip() == network.network() {
        Ok(network)
    } else {
        Err(Wrong::new(format!(
            "{network} is an address in a network: write {}/{}",
            network.network(),
            network.prefix()
        )))
    }
}

fn pool(word: &str) -> Result<Ipv4Network, Wrong> {
    match prefix(word)? {
        IpNetwork::V4(pool) if (POOL_PREFIX_MIN..=VETH_PREFIX).contains(&pool.prefix()) => Ok(pool),
        IpNetwork::V4(pool) => Err(Wrong::new(format!(
            "a pool has a prefix from /{POOL_PREFIX_MIN} to /{VETH_PREFIX}, not /{}",
            pool.prefix()
        ))),
        IpNetwork::V6(pool) => Err(Wrong::new(format!(
            "{pool} is no IPv4 network; IPv6 subnets are made from the host's identity"
        ))),
    }
}
