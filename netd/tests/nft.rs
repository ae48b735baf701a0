//! The firewall table in real network namespaces, read back with nft and tried with
//! real packets. Needs root.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "nft/neighbours.rs"]
mod neighbours;
#[path = "nft/owner.rs"]
mod owner;
#[path = "nft/readback.rs"]
mod readback;
#[path = "nft/stations.rs"]
mod stations;
#[path = "nft/traffic.rs"]
mod traffic;
#[path = "nft/watch.rs"]
mod watch;
#[path = "nft/world.rs"]
mod world;
