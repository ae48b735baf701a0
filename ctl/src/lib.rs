//! `rspawnctl`: looks at and sets up rspawn's containers.
//!
//! What can be read is read: lists come from the registry's directory and need no
//! daemon. What only netd knows is asked for over its bus socket.

pub mod leases;
pub mod list;
pub mod machine;
pub mod netd;
pub mod nss_switch;
pub mod os_release;
pub mod output;
pub mod status;
