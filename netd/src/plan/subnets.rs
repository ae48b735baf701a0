//! Which subnets a link is to have.

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use registry::{HostId, LINK_GROUP};

use crate::subnets::{Owner, Pools, SubnetStore, Subnets};
use crate::world::World;

/// What decides on somebody's subnets, beside what is free.
#[derive(Clone, Debug)]
pub struct Wish<'a> {
    /// Whose they are to be.
    pub owner: &'a Owner,
    /// The host.
    pub host: &'a HostId,
    /// Where new subnets are taken from.
    pub pools: &'a Pools,
    /// Length of a new IPv4 subnet's prefix.
    pub v4_prefix: u8,
    /// What is taken before anything new, if it is free, best first: what the link has,
    /// what its owner keeps, what is configured.
    pub first: Vec<Subnets>,
}

impl Wish<'_> {
    /// The first of what may be taken that is free, of either family; none where nothing is.
    #[must_use]
    pub fn choose(&self, is_free: impl Fn(IpNetwork) -> bool) -> Subnets {
        let new4 = self.pools.candidates_v4(self.owner, self.v4_prefix);
        let new6 = Pools::candidates_v6(self.host, self.owner);
        Subnets {
            v4: self.first_v4().chain(new4).find(|v4| is_free((*v4).into())),
            v6: self.first_v6().chain(new6).find(|v6| is_free((*v6).into())),
        }
    }

    /// Whether something that is wished for before anything new is not free.
    #[must_use]
    pub fn is_crossed(&self, is_free: impl Fn(IpNetwork) -> bool) -> bool {
        let v4 = self.first_v4().map(IpNetwork::V4);
        let mut all = v4.chain(self.first_v6().map(IpNetwork::V6));
        all.any(|prefix| !is_free(prefix))
    }

    fn first_v4(&self) -> impl Iterator<Item = Ipv4Network> {
        self.first.iter().filter_map(|subnets| subnets.v4)
    }

    fn first_v6(&self) -> impl Iterator<Item = Ipv6Network> {
        self.first.iter().filter_map(|subnets| subnets.v6)
    }
}

/// Whether `owner` may have a subnet: nothing of the host overlaps it, nobody else
/// keeps it, and it is not excluded.
#[must_use]
pub fn is_free(
    world: &World,
    store: &SubnetStore,
    pools: &Pools,
    subnet: IpNetwork,
    owner: &Owner,
) -> bool {
    world.clash(subnet, LINK_GROUP).is_none()
        && store.clash(subnet, owner).is_none()
        && !pools.excludes(subnet)
}
