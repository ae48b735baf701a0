//! Sets of addresses as few ranges.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// A set of addresses, kept as ranges that neither overlap nor touch: each step goes down
/// a tree, and none along the addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges {
    /// The last address of each range, by its first.
    ranges: BTreeMap<u32, u32>,
    count: usize,
    /// How many ranges were looked at, for tests that count work.
    #[cfg(test)]
    pub looked: std::cell::Cell<u64>,
}

impl Ranges {
    /// How many addresses there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether `address` is one of them.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        self.range_of(address.into()).is_some()
    }

    /// Adds all from `first` to `last`, none of which is in the set.
    pub fn insert_all(&mut self, first: Ipv4Addr, last: Ipv4Addr) {
        if first > last {
            return;
        }
        let (mut first, mut last) = (u32::from(first), u32::from(last));
        self.count += usize::try_from(last - first).unwrap_or(usize::MAX - 1) + 1;
        if let Some((before, _)) = first.checked_sub(1).and_then(|end| self.range_of(end)) {
            first = before;
        }
        if let Some(after) = last
            .checked_add(1)
            .and_then(|next| self.ranges.remove(&next))
        {
            last = after;
        }
        self.ranges.insert(first, last);
    }

    /// Adds `address`, if it is not there.
    pub fn insert(&mut self, address: Ipv4Addr) {
        if !self.contains(address) {
            self.insert_all(address, address);
        }
    }

    /// Takes `address` away. Whether it was there.
    pub fn remove(&mut self, address: Ipv4Addr) -> bool {
        let address = u32::from(address);
        let Some((first, last)) = self.range_of(address) else {
            return false;
        };
        self.count -= 1;
        self.ranges.remove(&first);
        if first < address {
            self.ranges.insert(first, address - 1);
        }
        if address < last {
            self.ranges.insert(address + 1, last);
        }
        true
    }

    /// The first address from `start` on, around the end if there is none behind it.
    pub fn first_from(&self, start: Ipv4Addr) -> Option<Ipv4Addr> {
        let start = u32::from(start);
        if self.range_of(start).is_some() {
            return Some(start.into());
        }
        self.look();
        let behind = self.ranges.range(start..).next();
        let (first, _) = behind.or_else(|| self.ranges.first_key_value())?;
        Some((*first).into())
    }

    fn range_of(&self, address: u32) -> Option<(u32, u32)> {
        self.look();
        let (first, last) = self.ranges.range(..=address).next_back()?;
        (address <= *last).then_some((*first, *last))
    }

    #[cfg(test)]
    fn look(&self) {
        self.looked.set(self.looked.get() + 1);
    }

    #[cfg(not(test))]
    #[allow(clippy::unused_self)]
    fn look(&self) {}
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn near(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, last)
    }

    proptest! {
        #[test]
        fn they_are_a_set(steps in prop::collection::vec((any::<bool>(), 0..24_u8), 0..80)) {
            let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
            for (insert, last) in steps {
                let address = near(last);
                if insert {
                    ranges.insert(address);
                    set.insert(address);
                } else {
                    prop_assert_eq!(ranges.remove(address), set.remove(&address));
                }
                prop_assert_eq!(ranges.len(), set.len());
                for start in 0..25 {
                    let expected = set.range(near(start)..).next().or_else(|| set.first());
                    prop_assert_eq!(ranges.first_from(near(start)), expected.copied());
                    prop_assert_eq!(ranges.contains(near(start)), set.contains(&near(start)));
                }
                let parts: Vec<_> = ranges.ranges.iter().collect();
                prop_assert!(parts.windows(2).all(|pair| pair[0].1 + 1 < *pair[1].0));
            }
        }
    }

    #[test]
    fn the_first_and_the_last_address_of_all_are_addresses_too() {
        let mut ranges = Ranges::default();
        ranges.insert_all(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST);
        assert!(ranges.remove(Ipv4Addr::UNSPECIFIED) && ranges.remove(Ipv4Addr::BROADCAST));
        assert_eq!(
            ranges.first_from(Ipv4Addr::BROADCAST),
            Some(Ipv4Addr::new(0, 0, 0, 1))
        );
        ranges.insert(Ipv4Addr::BROADCAST);
        ranges.insert(Ipv4Addr::UNSPECIFIED);
        assert_eq!(ranges.ranges.len(), 1);
    }
}
