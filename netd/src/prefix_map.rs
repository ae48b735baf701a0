//! Which prefixes are taken, and by whom.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;

/// A multiset of prefixes with their owners that answers "what overlaps this?" in
/// a number of steps that does not grow with the number of prefixes.
#[derive(Clone, Debug)]
pub struct PrefixMap<O> {
    v4: BTreeMap<(u128, u8), Vec<O>>,
    v6: BTreeMap<(u128, u8), Vec<O>>,
}

impl<O> Default for PrefixMap<O> {
    fn default() -> Self {
        Self {
            v4: BTreeMap::new(),
            v6: BTreeMap::new(),
        }
    }
}

impl<O: PartialEq> PrefixMap<O> {
    /// Adds a prefix (host bits are passed over) for an owner, once more if it has
    /// it already.
    pub fn insert(&mut self, prefix: IpNetwork, owner: O) {
        let key = key_of(prefix);
        self.family_mut(prefix).entry(key).or_default().push(owner);
    }

    /// Removes a prefix of an owner, once.
    pub fn remove(&mut self, prefix: IpNetwork, owner: &O) {
        let key = key_of(prefix);
        let family = self.family_mut(prefix);
        if let Some(owners) = family.get_mut(&key) {
            if let Some(at) = owners.iter().position(|o| o == owner) {
                owners.swap_remove(at);
            }
            if owners.is_empty() {
                family.remove(&key);
            }
        }
    }

    /// Some prefix that overlaps `prefix` and whose owner `counts`.
    pub fn overlapping(
        &self,
        prefix: IpNetwork,
        mut counts: impl FnMut(&O) -> bool,
    ) -> Option<(IpNetwork, &O)> {
        let family = if prefix.is_ipv4() { &self.v4 } else { &self.v6 };
        let (network, len) = key_of(prefix);
        let wider = (0..=len).filter_map(|shorter| {
            family.get_key_value(&(network & mask(prefix, shorter), shorter))
        });
        let last = network | (all(prefix) & !mask(prefix, len));
        let narrower = family
            .range((network, len)..=(last, u8::MAX))
            .filter(|((start, shorter), _)| *shorter >= len && *start >= network);
        for (key, owners) in wider.chain(narrower) {
            if let Some(owner) = owners.iter().find(|owner| counts(owner)) {
                return prefix_of(*key, prefix).map(|found| (found, owner));
            }
        }
        None
    }

    /// The owners of just this prefix.
    pub fn owners(&self, prefix: IpNetwork) -> &[O] {
        let family = if prefix.is_ipv4() { &self.v4 } else { &self.v6 };
        family.get(&key_of(prefix)).map_or(&[], Vec::as_slice)
    }

    fn family_mut(&mut self, prefix: IpNetwork) -> &mut BTreeMap<(u128, u8), Vec<O>> {
        if prefix.is_ipv4() {
            &mut self.v4
        } else {
            &mut self.v6
        }
    }
}

fn bits_of(prefix: IpNetwork) -> u8 {
    if prefix.is_ipv4() { 32 } else { 128 }
}

/// All bits of an address of the same family.
fn all(like: IpNetwork) -> u128 {
    u128::MAX >> (128 - u32::from(bits_of(like)))
}

fn mask(like: IpNetwork, len: u8) -> u128 {
    let host = bits_of(like).saturating_sub(len);
    all(like) & u128::MAX.checked_shl(host.into()).unwrap_or(0)
}

fn key_of(prefix: IpNetwork) -> (u128, u8) {
    let ip = match prefix.ip() {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    };
    (ip & mask(prefix, prefix.prefix()), prefix.prefix())
}

fn prefix_of((network, len): (u128, u8), like: IpNetwork) -> Option<IpNetwork> {
    let ip = if like.is_ipv4() {
        IpAddr::V4(u32::try_from(network).ok()?.into())
    } else {
        IpAddr::V6(network.into())
    };
    IpNetwork::new(ip, len).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map(prefixes: &[&str]) -> PrefixMap<usize> {
        let mut map = PrefixMap::default();
        for (owner, prefix) in prefixes.iter().enumerate() {
            map.insert(prefix.parse().unwrap(), owner);
        }
        map
    }

    #[test]
    fn wider_equal_and_narrower_prefixes_overlap() {
        let map = map(&[
            "10.0.0.0/8",
            "192.168.1.16/28",
            "192.168.2.5/32",
            "fd00::/8",
        ]);
        let hit = |prefix: &str| {
            map.overlapping(prefix.parse().unwrap(), |_| true)
                .map(|(_, owner)| *owner)
        };
        assert_eq!(hit("10.9.8.0/28"), Some(0));
        assert_eq!(hit("192.168.1.16/28"), Some(1));
        assert_eq!(hit("192.168.1.0/24"), Some(1));
        assert_eq!(hit("192.168.2.0/28"), Some(2));
        assert_eq!(hit("192.168.1.32/28"), None);
        assert_eq!(hit("fd12::/64"), Some(3));
        assert_eq!(hit("fe80::/64"), None);
    }

    #[test]
    fn an_owner_can_be_passed_over_and_removed() {
        let mut map = map(&["10.0.0.0/28", "10.0.0.0/28"]);
        let cidr: IpNetwork = "10.0.0.0/24".parse().unwrap();
        assert_eq!(map.overlapping(cidr, |o| *o != 0).map(|(_, o)| *o), Some(1));
        map.remove("10.0.0.0/28".parse().unwrap(), &1);
        assert!(map.overlapping(cidr, |o| *o != 0).is_none());
        map.remove("10.0.0.0/28".parse().unwrap(), &0);
        assert!(map.overlapping(cidr, |_| true).is_none());
    }

    fn prefix() -> impl Strategy<Value = IpNetwork> {
        let v4 = (any::<u32>(), 0..=32u8)
            .prop_map(|(ip, len)| IpNetwork::new(IpAddr::V4((ip & 0xff03_0303).into()), len));
        let v6 = (any::<u128>(), 0..=128u8)
            .prop_map(|(ip, len)| IpNetwork::new(IpAddr::V6((ip & (3 << 60 | 3)).into()), len));
        prop_oneof![v4, v6].prop_map(Result::unwrap)
    }

    fn overlap(a: IpNetwork, b: IpNetwork) -> bool {
        a.is_ipv4() == b.is_ipv4() && (a.contains(b.network()) || b.contains(a.network()))
    }

    proptest! {
        #[test]
        fn the_answer_is_that_of_comparing_all(
            stored in proptest::collection::vec(prefix(), 0..20),
            asked in prefix(),
        ) {
            let mut map = PrefixMap::default();
            for (i, prefix) in stored.iter().enumerate() {
                map.insert(*prefix, i);
            }
            let found = map.overlapping(asked, |_| true);
            prop_assert_eq!(found.is_some(), stored.iter().any(|s| overlap(*s, asked)));
            if let Some((_, owner)) = found {
                prop_assert!(overlap(stored[*owner], asked));
            }
        }
    }
}
