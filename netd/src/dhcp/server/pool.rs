//! The addresses that nobody has.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hasher;
use std::net::Ipv4Addr;

use siphasher::sip::SipHasher24;

use super::config::ServerConfig;
use super::leases::ClientKey;
use super::ranges::Ranges;

/// The addresses of a pool that nobody has.
///
/// Those that nobody had come first; those that somebody had come after them, whose lease
/// ended first first, so that a client that comes back finds its own.
#[derive(Debug, Default)]
pub struct Pool {
    first: u32,
    count: u64,
    fresh: Ranges,
    former: Former,
    /// How many former clients are remembered.
    memory: usize,
}

/// Addresses that somebody had.
#[derive(Debug, Default)]
struct Former {
    next: u64,
    by_age: BTreeMap<u64, Ipv4Addr>,
    by_address: HashMap<Ipv4Addr, (u64, ClientKey)>,
    by_client: HashMap<ClientKey, Ipv4Addr>,
}

impl Pool {
    /// All that any client may get by `config`, except what `is_taken` says.
    pub fn new(config: &ServerConfig, taken: impl Iterator<Item = Ipv4Addr>) -> Self {
        let (first, last) = config.pool();
        let mut fresh = Ranges::default();
        fresh.insert_all(first, last);
        let own = [Some(config.address()), config.router];
        for address in own
            .into_iter()
            .flatten()
            .chain(config.reserved())
            .chain(taken)
        {
            fresh.remove(address);
        }
        let (first, last) = (u32::from(first), u32::from(last));
        Self {
            first,
            count: u64::from(last.saturating_sub(first)) + 1,
            fresh,
            former: Former::default(),
            memory: config.bounds.leases,
        }
    }

    /// How many addresses nobody has.
    pub fn len(&self) -> usize {
        self.fresh.len() + self.former.by_age.len()
    }

    /// Whether nobody has `address`, and any client may get it.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        self.fresh.contains(address) || self.former.by_address.contains_key(&address)
    }

    /// Takes `address` out. Whether it was there.
    pub fn take(&mut self, address: Ipv4Addr) -> bool {
        self.fresh.remove(address) || self.former.remove(address).is_some()
    }

    /// Puts back an address that nobody had in the end.
    pub fn put(&mut self, address: Ipv4Addr) {
        self.fresh.insert(address);
    }

    /// Puts back an address that `client` had.
    pub fn put_former(&mut self, address: Ipv4Addr, client: ClientKey) {
        self.former.add(address, client);
        while self.former.by_age.len() > self.memory {
            let Some(oldest) = self.former.oldest() else {
                return;
            };
            self.former.remove(oldest);
            self.fresh.insert(oldest);
        }
    }

    /// The address that `client` had last, if nobody has it now.
    pub fn former_of(&self, client: &ClientKey) -> Option<Ipv4Addr> {
        self.former.by_client.get(client).copied()
    }

    /// The address for a client with this identifier: the first that nobody had from one
    /// that its identifier gives, so that it is the same from a server that has forgotten
    /// it; or else the one that has been nobody's for the longest time.
    pub fn choose(&self, id: &[u8]) -> Option<Ipv4Addr> {
        self.start(id)
            .and_then(|start| self.fresh.first_from(start))
            .or_else(|| self.former.oldest())
    }

    /// Where the search for an address for `id` starts.
    fn start(&self, id: &[u8]) -> Option<Ipv4Addr> {
        let offset = u32::try_from(hash(id).checked_rem(self.count)?).ok()?;
        self.first.checked_add(offset).map(Ipv4Addr::from)
    }

    /// What was looked at since the last call.
    #[cfg(test)]
    pub fn take_looked(&self) -> u64 {
        self.fresh.looked.take()
    }

    /// What former clients had, for another pool to remember.
    pub fn into_former(self) -> impl Iterator<Item = (Ipv4Addr, ClientKey)> {
        let Former {
            by_age,
            mut by_address,
            ..
        } = self.former;
        by_age.into_values().filter_map(move |address| {
            let (_, client) = by_address.remove(&address)?;
            Some((address, client))
        })
    }
}

impl Former {
    fn add(&mut self, address: Ipv4Addr, client: ClientKey) {
        self.remove(address);
        // It is remembered at one address; the other one stays among the used ones.
        self.by_client.insert(client.clone(), address);
        self.by_age.insert(self.next, address);
        self.by_address.insert(address, (self.next, client));
        self.next += 1;
    }

    fn remove(&mut self, address: Ipv4Addr) -> Option<ClientKey> {
        let (age, client) = self.by_address.remove(&address)?;
        self.by_age.remove(&age);
        if self.by_client.get(&client) == Some(&address) {
            self.by_client.remove(&client);
        }
        Some(client)
    }

    fn oldest(&self) -> Option<Ipv4Addr> {
        self.by_age.first_key_value().map(|(_, address)| *address)
    }
}

fn hash(id: &[u8]) -> u64 {
    // Any fixed key: the search is as long from everywhere.
    let mut hasher = SipHasher24::new_with_keys(0x6468_6370_2d70_6f6f, 0x6c2d_6f72_6465_7221);
    hasher.write(id);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn pool(network: &str) -> Pool {
        Pool::new(
            &ServerConfig::new(network.parse().unwrap()).unwrap(),
            std::iter::empty(),
        )
    }

    fn client(number: u32) -> ClientKey {
        ClientKey::Id(number.to_be_bytes().to_vec())
    }

    #[test]
    fn every_address_is_given_once() {
        let mut pool = pool("172.16.5.1/28");
        let mut all = BTreeSet::new();
        while let Some(address) = pool.choose(b"some client") {
            assert!(pool.take(address) && !pool.take(address));
            all.insert(address);
        }
        assert_eq!(
            all,
            (2..15)
                .map(|last| Ipv4Addr::new(172, 16, 5, last))
                .collect()
        );
    }

    #[test]
    fn clients_spread() {
        let pool = pool("172.16.5.1/24");
        let first: BTreeSet<_> = (0..100_u8).filter_map(|id| pool.choose(&[1, id])).collect();
        assert!(
            first.len() > 60,
            "{} different first choices of 100",
            first.len()
        );
    }

    #[test]
    fn what_was_used_comes_last_and_the_oldest_of_it_first() {
        let mut pool = pool("172.16.5.1/28");
        let addresses: Vec<_> = (0..13)
            .map(|_| {
                let address = pool.choose(b"x").unwrap();
                pool.take(address);
                address
            })
            .collect();
        for (number, address) in [(0, addresses[5]), (1, addresses[2]), (2, addresses[9])] {
            pool.put_former(address, client(number));
        }
        pool.put(addresses[7]);
        assert_eq!(pool.former_of(&client(1)), Some(addresses[2]));
        for expected in [7, 5, 2, 9] {
            let address = pool.choose(b"y").unwrap();
            assert_eq!(address, addresses[expected]);
            pool.take(address);
        }
        assert_eq!(pool.choose(b"y"), None);
        assert_eq!(pool.former_of(&client(1)), None, "it is another's now");
    }

    #[test]
    fn the_memory_of_former_clients_is_bounded() {
        let mut config = ServerConfig::new("10.0.0.1/24".parse().unwrap()).unwrap();
        config.bounds.leases = 10;
        let mut pool = Pool::new(&config, std::iter::empty());
        for number in 0..100 {
            let address = pool.choose(&number.to_string().into_bytes()).unwrap();
            pool.take(address);
            pool.put_former(address, client(number));
            assert_eq!(pool.len(), 253);
        }
        assert_eq!(pool.former.by_client.len(), 10);
        assert_eq!(pool.former.by_address.len(), 10);
    }

    /// A search costs the same in an empty pool of 65,000 addresses and in one that is full
    /// but for every other address, or for one.
    #[test]
    fn a_search_does_not_go_through_the_pool() {
        let mut pool = pool("10.50.0.1/16");
        let all = |last: u32| Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 50, 0, 0)) + last);
        let most = |pool: &Pool, what: &str| {
            for id in 0..1000_u32 {
                pool.take_looked();
                assert!(pool.choose(&id.to_be_bytes()).is_some());
                let looked = pool.take_looked();
                assert!(looked <= 2, "{looked} ranges {what}");
            }
        };
        most(&pool, "in an empty pool");
        for last in (2..65_534).step_by(2) {
            assert!(pool.take(all(last)));
        }
        most(&pool, "beside every other address");
        for last in (3..65_533).step_by(2) {
            assert!(pool.take(all(last)));
        }
        assert_eq!(pool.len(), 2);
        most(&pool, "for the last two addresses");
    }
}
