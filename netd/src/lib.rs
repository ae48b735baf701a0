//! Being built.

pub mod dhcp;
pub mod packet_socket;
