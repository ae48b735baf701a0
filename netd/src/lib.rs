//! Being built.

pub mod dhcp;
pub mod nft;
pub mod packet_socket;
