//! Which address a new client gets.

use std::hash::Hasher;
use std::net::Ipv4Addr;

use siphasher::sip::SipHasher24;

/// Addresses of a pool, from its first to its last, in the order in which a client
/// with this identifier tries them: from one that its identifier gives, on to the
/// next, and around. The same client so gets the same address again, also from a
/// server that has forgotten it.
pub fn candidates(
    (first, last): (Ipv4Addr, Ipv4Addr),
    id: &[u8],
) -> impl Iterator<Item = Ipv4Addr> {
    let first = u32::from(first);
    let count = (u64::from(u32::from(last)) + 1).saturating_sub(u64::from(first));
    let start = hash(id).checked_rem(count).unwrap_or(0);
    (0..count).filter_map(move |step| {
        let offset = u32::try_from((start + step) % count).ok()?;
        first.checked_add(offset).map(Ipv4Addr::from)
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

    fn pool(first: u8, last: u8) -> (Ipv4Addr, Ipv4Addr) {
        (
            Ipv4Addr::new(172, 16, 5, first),
            Ipv4Addr::new(172, 16, 5, last),
        )
    }

    #[test]
    fn every_host_address_comes_once_and_in_a_circle() {
        let all: Vec<Ipv4Addr> = candidates(pool(1, 14), b"some client").collect();
        assert_eq!(all.len(), 14);
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 14);
        assert!(
            all.iter()
                .all(|address| (pool(1, 14).0..=pool(1, 14).1).contains(address))
        );
        assert!(all.windows(2).all(|pair| {
            let [a, b] = [pair[0], pair[1]].map(u32::from);
            b == a + 1 || (a & 15, b & 15) == (14, 1)
        }));
    }

    #[test]
    fn clients_spread() {
        let first: BTreeSet<_> = (0..100_u8)
            .filter_map(|id| candidates(pool(1, 254), &[1, id]).next())
            .collect();
        assert!(
            first.len() > 60,
            "{} different first choices of 100",
            first.len()
        );
    }
}
