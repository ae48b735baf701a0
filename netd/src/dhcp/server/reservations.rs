//! Addresses that are kept for somebody.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;

use registry::Mac;

/// For whom an address is kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holder {
    /// Whatever asks from this MAC address.
    Mac(Mac),
    /// The client with this identifier.
    Id(Vec<u8>),
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mac(mac) => mac.fmt(f),
            Self::Id(id) => {
                f.write_str("the client identifier ")?;
                id.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

/// The addresses that are kept for somebody: one for each, and each for one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reservations {
    by_holder: BTreeMap<Holder, Ipv4Addr>,
    by_address: BTreeMap<Ipv4Addr, (Holder, Option<String>)>,
}

impl Reservations {
    /// Keeps `address`, which is nobody else's, for `holder`, instead of the one before.
    pub fn insert(&mut self, holder: Holder, address: Ipv4Addr) {
        if let Some(before) = self.by_holder.insert(holder.clone(), address)
            && before != address
        {
            self.by_address.remove(&before);
        }
        self.by_address.entry(address).or_insert((holder, None));
    }

    /// Keeps nothing for `holder` any more. What was kept.
    pub fn remove(&mut self, holder: &Holder) -> Option<Ipv4Addr> {
        let address = self.by_holder.remove(holder)?;
        self.by_address.remove(&address);
        Some(address)
    }

    /// Names the client for whom `address` is kept.
    pub fn set_name(&mut self, address: Ipv4Addr, name: String) {
        if let Some((_, own)) = self.by_address.get_mut(&address) {
            *own = Some(name);
        }
    }

    /// For whom `address` is kept.
    pub fn holder(&self, address: Ipv4Addr) -> Option<&Holder> {
        self.by_address.get(&address).map(|(holder, _)| holder)
    }

    /// The name of the client for whom `address` is kept.
    pub fn name(&self, address: Ipv4Addr) -> Option<&str> {
        self.by_address.get(&address)?.1.as_deref()
    }

    /// What is kept for a MAC address.
    pub fn of_mac(&self, mac: Mac) -> Option<Ipv4Addr> {
        self.by_holder.get(&Holder::Mac(mac)).copied()
    }

    /// What is kept for a client identifier.
    pub fn of_id(&self, id: &[u8]) -> Option<Ipv4Addr> {
        if !self.has_ids() {
            return None;
        }
        self.by_holder.get(&Holder::Id(id.to_vec())).copied()
    }

    /// Identifiers are sorted behind all MAC addresses.
    fn has_ids(&self) -> bool {
        let last = self.by_holder.last_key_value();
        last.is_some_and(|(holder, _)| matches!(holder, Holder::Id(_)))
    }

    /// All that are kept.
    pub fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.by_address.keys().copied()
    }
}
