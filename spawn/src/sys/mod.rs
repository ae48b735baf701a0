//! System calls that have no safe wrapper elsewhere.

pub mod bpf;
pub mod clone;
pub mod mount_attr;
pub mod process;
pub mod signalfd;
