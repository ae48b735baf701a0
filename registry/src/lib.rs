//! The machine registry: what a machine is called, what its links are called, how
//! it is recorded, and how its supervisor and netd speak about it.
//!
//! Readers that need only names and records use `registry_core`, which this crate
//! hands on.

pub mod cgroup2;
pub mod host_id;
pub mod ifname;
pub mod leader;
pub mod mac;
pub mod mount_points;
pub mod mountinfo;
pub mod names;
pub mod networkd;
pub mod record_text;
pub mod unit_name;
pub mod zone;

#[cfg(feature = "client")]
pub mod protocol;
#[cfg(feature = "client")]
pub mod seqpacket;

pub use host_id::HostId;
pub use ifname::IfName;
pub use leader::LeaderId;
pub use mac::Mac;
pub use record_text::RecordText;
pub use registry_core::lookup::{LookupError, RecordBuf};
pub use registry_core::name::{MachineName, NameError};
pub use registry_core::record::{self, Address, Record, RecordError};
pub use registry_core::{ADDRESSES_DIR, MACHINES_DIR, RUNTIME_DIR};
pub use zone::ZoneName;

/// The link group (IFLA_GROUP) of every host-side link of ours: "own" means this
/// group, never a name pattern.
pub const LINK_GROUP: u32 = 0x7273;

/// Name of a container's own end of its link.
pub const CONTAINER_LINK: &str = "host0";

/// The socket on which netd takes the connections of supervisors.
pub const SUPERVISOR_SOCKET: &str = "/run/rspawn/supervisor.sock";

/// The socket on which netd serves D-Bus peer to peer.
pub const BUS_SOCKET: &str = "/run/rspawn/bus.sock";

/// Directory of the lock files by which a machine name is taken, one a name.
pub const NAMES_DIR: &str = "/run/rspawn/names";

/// Directory of what is kept over reboots of the host.
pub const STATE_DIR: &str = "/var/lib/rspawn";
