//! One machine.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use registry::protocol::{Network, Registration};
use registry::record::key;
use registry::{Address, LeaderId, MachineName, Record, RecordText};

/// How a machine is attached to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// It shares the host's network.
    Host,
    /// It has only loopback.
    Private,
    /// By a veth with subnets of its own; the interface index of the host's end.
    Veth(u32),
    /// By a veth whose host's end is a bridge's port.
    Bridge {
        /// Interface index of the host's end.
        port: u32,
        /// Interface index of the bridge.
        bridge: u32,
    },
    /// The same, and netd gives out the bridge's addresses.
    Zone {
        /// Interface index of the host's end.
        port: u32,
        /// Interface index of the zone's bridge.
        bridge: u32,
    },
}

/// A machine that runs.
#[derive(Debug)]
pub struct Machine {
    /// Its name.
    pub name: MachineName,
    /// The manager that registered it.
    pub service: String,
    /// Machine id, 32 hexadecimal digits.
    pub id: Option<String>,
    /// Its tree's directory on the host; unknown until its supervisor is back
    /// after netd was started anew.
    pub root: Option<String>,
    /// Its cgroup, as proc_pid_cgroup(5) names it; empty if it has none of its own.
    pub cgroup: String,
    /// What tells its cgroup from a later one of the same name; 0 if it has none.
    pub cgroup_id: u64,
    /// How it is attached.
    pub attachment: Attachment,
    /// Whether nothing of its name is to be remembered.
    pub ephemeral: bool,
    /// The payload's first process.
    pub leader: LeaderId,
    /// The process that supervises it.
    pub supervisor: LeaderId,
    /// When it was registered.
    pub since: (SystemTime, u64),
    /// Its addresses, in the order in which its name resolves.
    pub addresses: Vec<Address>,
}

impl From<&Network> for Attachment {
    fn from(network: &Network) -> Self {
        match *network {
            Network::Host => Self::Host,
            Network::Private => Self::Private,
            Network::Veth { ifindex } => Self::Veth(ifindex),
            Network::Bridge { ifindex, bridge } => Self::Bridge {
                port: ifindex,
                bridge,
            },
            Network::Zone { ifindex, bridge } => Self::Zone {
                port: ifindex,
                bridge,
            },
        }
    }
}

impl Attachment {
    /// For the record and for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Private => "private",
            Self::Veth(_) => "veth",
            Self::Bridge { .. } => "bridge",
            Self::Zone { .. } => "zone",
        }
    }

    /// Interface index of the host's end of the machine's link.
    #[must_use]
    pub fn link(self) -> Option<u32> {
        match self {
            Self::Veth(index)
            | Self::Bridge { port: index, .. }
            | Self::Zone { port: index, .. } => Some(index),
            Self::Host | Self::Private => None,
        }
    }

    /// Interface index by which the host reaches the machine.
    #[must_use]
    pub fn facing(self) -> Option<u32> {
        match self {
            Self::Veth(index)
            | Self::Bridge { bridge: index, .. }
            | Self::Zone { bridge: index, .. } => Some(index),
            Self::Host | Self::Private => None,
        }
    }

    /// Interface indices of the host's end of the machine's link and of the bridge whose
    /// port that is.
    #[must_use]
    pub fn on_bridge(self) -> Option<(u32, u32)> {
        match self {
            Self::Bridge { port, bridge } | Self::Zone { port, bridge } => Some((port, bridge)),
            Self::Host | Self::Private | Self::Veth(_) => None,
        }
    }

    /// The same on another bridge, for one that is on a bridge.
    #[must_use]
    pub fn moved_to(self, bridge: u32) -> Self {
        match self {
            Self::Bridge { port, .. } => Self::Bridge { port, bridge },
            Self::Zone { port, .. } => Self::Zone { port, bridge },
            Self::Host | Self::Private | Self::Veth(_) => self,
        }
    }

    /// Whether netd says which addresses the machine has: then its name resolves no sooner
    /// than they are set.
    #[must_use]
    pub fn is_assigned(self) -> bool {
        matches!(self, Self::Veth(_) | Self::Zone { .. })
    }
}

impl Machine {
    /// A machine that registers.
    #[must_use]
    pub fn new(registration: Registration, leader: LeaderId, supervisor: LeaderId) -> Self {
        Self {
            name: registration.name,
            service: registration.service,
            id: registration.id,
            root: Some(registration.root),
            cgroup: registration.cgroup,
            cgroup_id: 0,
            attachment: Attachment::from(&registration.network),
            ephemeral: registration.ephemeral,
            leader,
            supervisor,
            since: (SystemTime::now(), monotonic_usec()),
            addresses: Vec::new(),
        }
    }

    /// The machine that a record of this boot describes; `None` if something is
    /// missing in it.
    #[must_use]
    pub fn from_record(record: &Record<'_>, boot_id: &str) -> Option<Self> {
        if record.get(key::BOOT_ID) != Some(boot_id) {
            return None;
        }
        let process = |pid, start, pidfd_id| {
            Some(LeaderId {
                pid: number(record, pid)?,
                start_time: number(record, start)?,
                pidfd_id: number(record, pidfd_id)?,
            })
        };
        let link = number(record, key::LINK_INDEX);
        let facing = number(record, key::NETIF);
        let attachment = match (record.get(key::NETWORK)?, link, facing) {
            ("veth", Some(link), _) => Attachment::Veth(link),
            ("bridge", Some(port), Some(bridge)) => Attachment::Bridge { port, bridge },
            ("zone", Some(port), Some(bridge)) => Attachment::Zone { port, bridge },
            ("private", ..) => Attachment::Private,
            ("host", ..) => Attachment::Host,
            _ => return None,
        };
        let realtime = std::time::Duration::from_micros(number(record, key::REALTIME)?);
        Some(Self {
            name: record.name(),
            service: record.get(key::SERVICE)?.to_owned(),
            id: record.get(key::ID).map(str::to_owned),
            root: None,
            cgroup: record.get(key::CGROUP).unwrap_or_default().to_owned(),
            cgroup_id: number(record, key::CGROUP_ID).unwrap_or(0),
            attachment,
            ephemeral: record.get(key::EPHEMERAL).is_some(),
            leader: process(key::LEADER, key::LEADER_START, key::LEADER_PIDFD_ID)?,
            supervisor: process(
                key::SUPERVISOR,
                key::SUPERVISOR_START,
                key::SUPERVISOR_PIDFD_ID,
            )?,
            since: (
                UNIX_EPOCH.checked_add(realtime)?,
                number(record, key::MONOTONIC)?,
            ),
            addresses: record.addresses().collect(),
        })
    }

    /// The machine's record. `link` is the name of the host's end of its link.
    #[must_use]
    pub fn record(&self, boot_id: &str, link: Option<&str>) -> String {
        let mut text = RecordText::new(&self.name);
        text.put(key::CLASS, "container");
        text.put(key::SERVICE, &self.service);
        if let Some(id) = &self.id {
            text.put(key::ID, id);
        }
        text.put(key::BOOT_ID, boot_id);
        text.put(key::LEADER, self.leader.pid);
        text.put(key::LEADER_START, self.leader.start_time);
        text.put(key::LEADER_PIDFD_ID, self.leader.pidfd_id);
        text.put(key::SUPERVISOR, self.supervisor.pid);
        text.put(key::SUPERVISOR_START, self.supervisor.start_time);
        text.put(key::SUPERVISOR_PIDFD_ID, self.supervisor.pidfd_id);
        text.put(key::CGROUP, &self.cgroup);
        text.put(key::CGROUP_ID, self.cgroup_id);
        text.put(key::NETWORK, self.attachment.as_str());
        if let Some(index) = self.attachment.facing() {
            text.put(key::NETIF, index);
        }
        if let Some(index) = self.attachment.link() {
            text.put(key::LINK_INDEX, index);
        }
        if let Some(link) = link {
            text.put(key::LINK, link);
        }
        if self.ephemeral {
            text.put(key::EPHEMERAL, 1);
        }
        let realtime = self.since.0.duration_since(UNIX_EPOCH).unwrap_or_default();
        text.put(key::REALTIME, realtime.as_micros());
        text.put(key::MONOTONIC, self.since.1);
        for address in &self.addresses {
            text.put_address(address);
        }
        text.finish()
    }

    /// The machine's addresses without their scopes.
    #[must_use]
    pub fn ips(&self) -> BTreeSet<IpAddr> {
        self.addresses.iter().map(|address| address.ip).collect()
    }
}

fn number<T: std::str::FromStr>(record: &Record<'_>, key: &str) -> Option<T> {
    record.get(key)?.parse().ok()
}

fn monotonic_usec() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    seconds * 1_000_000 + u64::try_from(now.tv_nsec).unwrap_or_default() / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn machine(attachment: Attachment) -> Machine {
        let process = |pid| LeaderId {
            pid,
            start_time: 5,
            pidfd_id: 6,
        };
        Machine {
            name: "web".parse().unwrap(),
            service: "rspawn".into(),
            id: Some("0".repeat(32)),
            root: None,
            cgroup: "/machine.slice/machine-web.scope".into(),
            cgroup_id: 77,
            attachment,
            ephemeral: false,
            leader: process(100),
            supervisor: process(99),
            since: (UNIX_EPOCH + std::time::Duration::from_micros(1_234_567), 42),
            addresses: vec![Address {
                ip: "192.0.2.2".parse().unwrap(),
                scope: 0,
            }],
        }
    }

    #[test]
    fn a_record_gives_the_machine_back() {
        for attachment in [
            Attachment::Host,
            Attachment::Private,
            Attachment::Veth(7),
            Attachment::Bridge { port: 7, bridge: 3 },
            Attachment::Zone { port: 7, bridge: 3 },
        ] {
            let machine = machine(attachment);
            let text = machine.record("boot", Some("ve-web"));
            let record = Record::parse(text.as_bytes()).unwrap();
            let back = Machine::from_record(&record, "boot").unwrap();
            assert_eq!(format!("{back:?}"), format!("{machine:?}"));
            assert!(Machine::from_record(&record, "another boot").is_none());
        }
    }

    #[test]
    fn what_one_user_may_not_know_of_another_is_not_in_the_record() {
        let mut machine = machine(Attachment::Host);
        machine.root = Some("/home/alice/secret".into());
        assert!(!machine.record("boot", None).contains("secret"));
    }
}
