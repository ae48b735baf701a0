//! What every reader of the machine registry needs, and nothing more: the names,
//! the record's format and the look-up, without an allocator and without `std`.
//!
//! The registry is a directory. `/run/rspawn/machines/NAME` describes one running
//! machine, `/run/rspawn/addresses/ADDRESS` is a symbolic link to the record of
//! the machine that holds the address. netd writes, everybody reads; a reader
//! never needs netd to be alive.

#![cfg_attr(not(test), no_std)]

pub mod lookup;
pub mod name;
pub mod record;
pub mod text;

pub use lookup::{LookupError, RecordBuf};
pub use name::{MachineName, NameError};
pub use record::{Address, Record, RecordError};

/// Directory that holds everything of the running system.
pub const RUNTIME_DIR: &str = "/run/rspawn";
/// Directory of the records, one regular file a machine, named after it.
pub const MACHINES_DIR: &str = "/run/rspawn/machines";
/// Directory of the reverse look-ups, one symbolic link an address.
pub const ADDRESSES_DIR: &str = "/run/rspawn/addresses";
