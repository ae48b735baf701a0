//! rtnetlink: all of it that netd uses, behind types of its own.
//!
//! [`Monitor`] tells what is and what changes, [`Requests`] changes it. They use
//! two sockets, so that an overrun of events never eats an acknowledgement.

mod address;
mod author;
mod chunk;
mod dump;
mod error;
mod filter;
mod lease;
mod link;
mod monitor;
mod netconf;
mod ports;
mod requests;
mod route;
mod throttle;

pub(crate) use address::is_link_local;
pub use address::{ADDRESS_PROTOCOL, LinkAddress};
pub use author::Author;
pub use error::RtnlError;
pub use lease::{LeaseAddress, LeaseRoute};
pub use link::{Link, LinkType};
pub use monitor::{Event, Monitor, Snapshot, decode};
pub use ports::has_ports;
pub use requests::{Request, Requests};
pub use route::Route;
