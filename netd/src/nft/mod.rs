//! The firewall tables of our own, `inet rspawn` and, for zones, `bridge rspawn`, over
//! nf_tables netlink.
//!
//! The table is built from the link group alone ([`registry::LINK_GROUP`]), so that
//! a container more or less costs no rule and no transaction. What it does stands
//! in [`rules`] and `bridge_rules`; [`Table`] puts it in place in one transaction, tells
//! whether it is still as it should be and heals it; [`Monitor`] tells when somebody touched it.
//!
//! From Linux 6.9 the table is *owned* by the socket in [`Table`] and *persists*
//! when that socket closes: a foreign `nft flush ruleset` passes it by, and it goes
//! on working while the daemon is down. Older kernels have neither; there the
//! [`Monitor`] tells and [`Table::heal`] repairs.
//!
//! All calls but [`Monitor::next`] are synchronous and take well under a
//! millisecond: nf_tables answers within `send()`.

mod batch;
mod bridge_rules;
mod error;
mod expr;
mod messages;
mod monitor;
mod readback;
pub mod rules;
mod sets;
mod socket;
mod stations;
mod table;

pub use error::NftError;
pub use monitor::{Author, Change, Event, Monitor, events_of};
pub use socket::Family;
pub use stations::{Changes, Station};
pub use table::{GoneLink, Protection, State, TABLE_NAME, Table, remove};
