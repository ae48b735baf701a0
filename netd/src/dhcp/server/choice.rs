//! Which address a new client gets.

use std::hash::Hasher;
use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;
use siphasher::sip::SipHasher24;

/// Addresses of `network` in the order in which a client with this identifier
/// tries them: from one that its identifier gives, on to the next, and around.
/// The same client so gets the same address again, also from a server that has
/// forgotten it.
pub fn candidates(network: Ipv4Network, id: &[u8]) -> impl Iterator<Item = Ipv4Addr> {
    let base = u32::from(network.network());
    // Without the subnet's own address and its broadcast address.
    let hosts = u32::from(network.broadcast())
        .saturating_sub(base)
        .saturating_sub(1);
    let start = hash(id).checked_rem(u64::from(hosts)).unwrap_or(0);
    (0..u64::from(hosts)).filter_map(move |step| {
        let offset = u32::try_from((start + step) % u64::from(hosts)).ok()?;
        Some(Ipv4Addr::from(base + 1 + offset))
    })
}

fn hash(id: &[u8]) -> u64 {
    // Any fixed key: whoever makes identifiers collide makes his own search longer.
    let mut hasher = SipHasher24::new_with_keys(0x6468_6370_2d70_6f6f, 0x6c2d_6f72_6465_7221);
    hasher.write(id);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_host_address_comes_once_and_in_a_circle() {
        let network: Ipv4Network = "172.16.5.1/28".parse().unwrap();
        let all: Vec<Ipv4Addr> = candidates(network, b"some client").collect();
        assert_eq!(all.len(), 14);
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 14);
        assert!(!all.contains(&network.network()) && !all.contains(&network.broadcast()));
        assert!(all.windows(2).all(|pair| {
            let [a, b] = [pair[0], pair[1]].map(u32::from);
            b == a + 1 || (a & 15, b & 15) == (14, 1)
        }));
    }

    #[test]
    fn clients_spread() {
        let network: Ipv4Network = "10.0.0.1/24".parse().unwrap();
        let first: BTreeSet<_> = (0..100_u8)
            .filter_map(|id| candidates(network, &[1, id]).next())
            .collect();
        assert!(
            first.len() > 60,
            "{} different first choices of 100",
            first.len()
        );
    }
}
