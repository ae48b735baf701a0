//! Hosts for tests, the demo and the benches.
//!
//! A [`Host`] is a machine of its own as far as programs can tell: its root is the
//! machine's own root under an overlay that keeps every write to itself, its
//! mounts, network, processes, host name and cgroups are its own. Programs are
//! installed into it for real, and nothing on the machine changes. A [`Peer`] is a
//! further network namespace next to it, joined by a veth: a LAN, the outside.
//!
//! A host ends with the value, with the process that holds it, and when that is
//! killed by SIGKILL as well.
//!
//! Everything here panics when it fails: a broken fixture is a failed test.

// A fixture has no caller that could do better than fail.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

pub mod cgroup;
mod command;
pub mod hold;
mod host;
mod install;
mod mounts;
mod peer;
mod programs;
mod sys;
mod terminal;
mod tree;
mod wait;

pub use command::{HostCommand, Output, Running};
pub use host::Host;
pub use install::{NETD, NETD_CGROUP};
pub use peer::Peer;
pub use programs::{nss_module, program, programs_dir};
pub use sys::{ignore_interrupts, raise_to};
pub use terminal::Terminal;
pub use tree::tree_cache;
pub use wait::{eventually, wait_until};
