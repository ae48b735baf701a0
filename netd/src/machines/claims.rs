//! Which machine an address is given out as.
//!
//! What a container on a bridge says that it has is a claim. The first that claims
//! an address holds it for as long as it says so; whoever comes later waits behind
//! it. What netd itself assigns goes before every claim.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use registry::record::ADDRESSES_MAX;
use registry::{Address, MachineName};

/// An address and its scope. The same link-local address may be on every link.
type Key = (IpAddr, u32);

/// Who claims which address, found by address as well as by machine.
#[derive(Debug, Default)]
pub struct Claims {
    /// Those who claim an address, its holder first.
    waiting: BTreeMap<Key, Vec<MachineName>>,
    of_machine: HashMap<MachineName, Vec<Key>>,
    /// Of these, what netd has assigned.
    assigned: HashMap<MachineName, Vec<Key>>,
}

impl Claims {
    /// Takes over all that a machine claims now: what it claimed before, then what is
    /// new to it, 32 addresses at most. Gives the machines that hold more or less
    /// than before.
    pub fn claim(
        &mut self,
        machine: MachineName,
        addresses: impl IntoIterator<Item = Address>,
    ) -> BTreeSet<MachineName> {
        let assigned = self.assigned.get(&machine).into_iter().flatten().copied();
        let wanted: BTreeSet<Key> = addresses.into_iter().map(key_of).chain(assigned).collect();
        let before = self.of_machine.get(&machine).cloned().unwrap_or_default();
        let (stay, gone): (Vec<Key>, Vec<Key>) =
            before.into_iter().partition(|key| wanted.contains(key));
        let known: BTreeSet<Key> = stay.iter().copied().collect();
        let new: Vec<Key> = wanted
            .difference(&known)
            .copied()
            .take(ADDRESSES_MAX.saturating_sub(stay.len()))
            .collect();
        let mut touched = BTreeSet::new();
        for key in gone {
            self.let_go(&machine, key, &mut touched);
        }
        for key in &new {
            let waiting = self.waiting.entry(*key).or_default();
            if waiting.is_empty() {
                touched.insert(machine);
            }
            waiting.push(machine);
        }
        self.set(machine, stay.into_iter().chain(new).collect());
        touched
    }

    /// Gives a machine addresses, whoever claims them. Gives the machines that hold
    /// more or less than before.
    pub fn assign(
        &mut self,
        machine: MachineName,
        addresses: impl IntoIterator<Item = Address>,
    ) -> BTreeSet<MachineName> {
        let before = self.assigned.remove(&machine).unwrap_or_default();
        let mut claimed = self.of_machine.get(&machine).cloned().unwrap_or_default();
        claimed.retain(|key| !before.contains(key));
        let mut touched = self.release(&machine);
        let keys: Vec<Key> = addresses.into_iter().map(key_of).collect();
        for key in &keys {
            let waiting = self.waiting.entry(*key).or_default();
            touched.extend(waiting.first());
            waiting.insert(0, machine);
        }
        self.set(machine, keys.clone());
        if !keys.is_empty() {
            self.assigned.insert(machine, keys);
        }
        touched.extend(self.claim(machine, claimed.into_iter().map(address_of)));
        touched
    }

    /// Forgets a machine. Gives the machines that hold more or less than before.
    pub fn release(&mut self, machine: &MachineName) -> BTreeSet<MachineName> {
        let mut touched = BTreeSet::new();
        self.assigned.remove(machine);
        for key in self.of_machine.remove(machine).unwrap_or_default() {
            self.let_go(machine, key, &mut touched);
        }
        touched
    }

    /// The addresses that a machine holds.
    pub fn held(&self, machine: &MachineName) -> impl Iterator<Item = Address> {
        let claimed = self.of_machine.get(machine).into_iter().flatten();
        claimed
            .filter(|key| {
                let holder = self.waiting.get(key).and_then(|waiting| waiting.first());
                holder == Some(machine)
            })
            .map(|key| address_of(*key))
    }

    /// What netd has assigned to a machine.
    #[must_use]
    pub fn assigned(&self, machine: &MachineName) -> BTreeSet<IpAddr> {
        let assigned = self.assigned.get(machine).into_iter().flatten();
        assigned.map(|(ip, _)| *ip).collect()
    }

    /// The machines that claim an address, of whatever scope.
    pub fn claimants(&self, ip: IpAddr) -> impl Iterator<Item = MachineName> {
        let of_address = self.waiting.range((ip, 0)..=(ip, u32::MAX));
        of_address.flat_map(|(_, waiting)| waiting.iter().copied())
    }

    fn let_go(&mut self, machine: &MachineName, key: Key, touched: &mut BTreeSet<MachineName>) {
        let Some(waiting) = self.waiting.get_mut(&key) else {
            return;
        };
        if waiting.first() == Some(machine) {
            touched.insert(*machine);
            touched.extend(waiting.get(1));
        }
        waiting.retain(|claimant| claimant != machine);
        if waiting.is_empty() {
            self.waiting.remove(&key);
        }
    }

    fn set(&mut self, machine: MachineName, keys: Vec<Key>) {
        if keys.is_empty() {
            self.of_machine.remove(&machine);
        } else {
            self.of_machine.insert(machine, keys);
        }
    }
}

fn address_of((ip, scope): Key) -> Address {
    Address { ip, scope }
}

fn key_of(address: Address) -> Key {
    (address.ip, address.scope)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> MachineName {
        text.parse().unwrap()
    }

    fn address(text: &str) -> Address {
        Address {
            ip: text.parse().unwrap(),
            scope: 0,
        }
    }

    fn held(claims: &Claims, machine: &str) -> Vec<String> {
        let machine = name(machine);
        let held = claims.held(&machine);
        held.map(|address| address.ip.to_string()).collect()
    }

    #[test]
    fn the_first_holds_an_address_until_it_lets_go() {
        let mut claims = Claims::default();
        let shared = || [address("10.0.0.5")];
        assert_eq!(
            claims.claim(name("a"), shared()),
            BTreeSet::from([name("a")])
        );
        assert_eq!(claims.claim(name("b"), shared()), BTreeSet::new());
        assert_eq!(claims.claim(name("a"), shared()), BTreeSet::new());
        assert_eq!(held(&claims, "a"), ["10.0.0.5"]);
        assert_eq!(held(&claims, "b"), Vec::<String>::new());
        assert_eq!(
            claims.claim(name("a"), []),
            BTreeSet::from([name("a"), name("b")])
        );
        assert_eq!(held(&claims, "b"), ["10.0.0.5"]);
        assert_eq!(claims.release(&name("b")), BTreeSet::from([name("b")]));
        assert_eq!(claims.claimants("10.0.0.5".parse().unwrap()).count(), 0);
        assert!(claims.waiting.is_empty() && claims.of_machine.is_empty());
    }

    #[test]
    fn what_is_assigned_goes_before_what_is_claimed() {
        let mut claims = Claims::default();
        claims.claim(name("hostile"), [address("192.168.7.18")]);
        let touched = claims.assign(name("web"), [address("192.168.7.18")]);
        assert!(touched.contains(&name("hostile")));
        assert_eq!(held(&claims, "web"), ["192.168.7.18"]);
        assert_eq!(held(&claims, "hostile"), Vec::<String>::new());
    }

    #[test]
    fn what_a_machine_claims_besides_does_not_take_what_it_was_assigned() {
        let mut claims = Claims::default();
        claims.claim(name("a"), [address("10.0.0.5"), address("10.0.0.7")]);
        claims.assign(name("a"), [address("10.0.0.5")]);
        assert_eq!(held(&claims, "a"), ["10.0.0.5", "10.0.0.7"]);
        claims.claim(name("a"), [address("10.0.0.8")]);
        assert_eq!(held(&claims, "a"), ["10.0.0.5", "10.0.0.8"]);
        claims.assign(name("a"), [address("10.0.0.6")]);
        assert_eq!(held(&claims, "a"), ["10.0.0.6", "10.0.0.8"]);
        claims.release(&name("a"));
        assert!(claims.waiting.is_empty() && claims.assigned.is_empty());
    }

    #[test]
    fn a_machine_claims_no_more_than_a_record_takes_and_keeps_what_it_had() {
        let mut claims = Claims::default();
        claims.claim(name("a"), [address("10.0.9.9")]);
        let many = (0..=255).map(|n| address(&format!("10.0.0.{n}")));
        claims.claim(name("a"), many.chain([address("10.0.9.9")]));
        assert_eq!(held(&claims, "a").len(), ADDRESSES_MAX);
        assert!(held(&claims, "a").contains(&"10.0.9.9".to_owned()));
        claims.claim(name("b"), [address("10.0.0.200")]);
        assert_eq!(held(&claims, "b"), ["10.0.0.200"]);
    }

    #[test]
    fn a_link_local_address_is_one_of_its_own_on_each_link() {
        let mut claims = Claims::default();
        let on = |scope| Address {
            scope,
            ..address("fe80::1")
        };
        claims.claim(name("a"), [on(3)]);
        claims.claim(name("b"), [on(4)]);
        assert_eq!(held(&claims, "a").len(), 1);
        assert_eq!(held(&claims, "b").len(), 1);
        assert_eq!(claims.claimants(on(0).ip).count(), 2);
    }
}
