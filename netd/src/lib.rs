//! netd: gives the containers of rspawn their addresses, their way out and their
//! names.
//!
//! [`daemon`] is the one task that owns all state. It observes ([`rtnl`], [`nft`],
//! [`supervisors`], [`inside`]), plans ([`plan`], [`subnets`]) and applies. The
//! protocols ([`dhcp`]) are state machines without I/O, each run by a task for one
//! link ([`dhcp_wire`]).

pub mod acd;
pub mod arp_socket;
pub mod async_fd;
pub mod bus;
pub mod client;
pub mod daemon;
pub mod dhcp;
pub mod dhcp_wire;
pub mod inotify;
pub mod inside;
pub mod ipv4ll;
pub mod leader_watch;
pub mod leases;
pub mod log;
pub mod machines;
pub mod netlink;
pub mod network_file;
pub mod nft;
pub mod operations;
mod packet_send;
pub mod plan;
pub mod prefix_map;
pub mod privileges;
pub mod profiles;
pub mod ra;
pub mod random;
pub mod rtnl;
pub mod socket_filter;
pub mod state_watch;
pub mod subnets;
pub mod supervisors;
pub mod sysctl;
pub mod upstream_dns;
pub mod worker;
pub mod world;
