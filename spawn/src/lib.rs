//! Boots an operating-system tree, or runs a program in one, as a container with a
//! network of its own.

// They panic where nobody reads what is printed; `tell!` does not.
#![warn(clippy::print_stderr, clippy::print_stdout)]

pub mod bind;
pub mod capability;
pub mod cgroup;
pub mod channel;
pub mod child;
pub mod cli;
pub mod config;
pub mod console;
pub mod container;
pub mod device_policy;
pub mod error;
pub mod host0;
pub mod limits;
pub mod link;
pub mod listing;
pub mod mounts;
pub mod names;
pub mod netd_client;
pub mod netlink;
pub mod networkd;
pub mod passwd;
pub mod payload;
pub mod program;
pub mod pump;
pub mod ready;
pub mod run;
pub mod signals;
pub mod stub_init;
pub mod supervisor;
pub mod sys;
pub mod tell;
pub mod tree;
pub mod zone;

pub use run::main;
