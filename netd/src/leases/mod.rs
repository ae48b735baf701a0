//! Leases that outlast netd and the host: a file for each zone or bridge below
//! `/var/lib/rspawn/leases`.
//!
//! A change is one line at the end of the file, with a checksum of its own, and counts once
//! the disk has it: an acknowledgement waits for that ([`Commits`]). Changes that come while
//! the disk is busy are written together, so that the disk is asked as often as it can
//! answer, however many clients there are. Of a file that was damaged all whole lines count;
//! it is set aside for whoever wants to look.

mod clock;
mod commits;
mod file;
mod record;

pub use clock::Clocks;
pub use commits::Commits;
pub use file::{LeaseFile, LeaseFileError, leases_in};
pub use record::{Change, Kept, RecordError, parse_line, sealed};
