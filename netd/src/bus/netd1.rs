//! `org.rspawn.Netd1`: what netd knows of machines and their network.

use std::collections::HashMap;
use std::time::Instant;

use registry::MachineName;
use tokio::sync::{mpsc, oneshot};
use zbus::{OwnedVariant, Variant, fdo, interface};

use crate::client::HeldLease;
use crate::daemon::{LeaseStatus, ListedMachine, MachineStatus, Query};

/// Where the object is.
pub const PATH: &str = "/org/rspawn/Netd1";

/// One machine in a list: name, service, how it is attached, addresses.
type Listed = (String, String, String, Vec<String>);
/// A lease of netd's own.
type ClientLease = (String, String, String, u64);
type Properties = HashMap<&'static str, OwnedVariant>;

/// The object, as one client sees it.
pub(super) struct Netd1 {
    daemon: mpsc::Sender<Query>,
    privileged: bool,
}

impl Netd1 {
    pub(super) fn new(daemon: mpsc::Sender<Query>, privileged: bool) -> Self {
        Self { daemon, privileged }
    }

    async fn ask<T>(&self, query: impl FnOnce(oneshot::Sender<T>) -> Query) -> fdo::Result<T> {
        let (sender, answer) = oneshot::channel();
        let stopping = |()| fdo::Error::Failed("netd is stopping".into());
        self.daemon
            .send(query(sender))
            .await
            .map_err(|_| stopping(()))?;
        answer.await.map_err(|_| stopping(()))
    }

    fn check_privileged(&self, what: &str) -> fdo::Result<()> {
        match self.privileged {
            true => Ok(()),
            false => Err(fdo::Error::AccessDenied(format!("only root may {what}"))),
        }
    }

    /// The machine of that name, if it runs.
    async fn running(&self, name: &str) -> fdo::Result<MachineName> {
        let machine = MachineName::from_query(name.as_bytes()).map_err(|_| no_machine(name))?;
        let listed = self.ask(|sender| Query::One(machine, sender)).await?;
        listed.map(|_| machine).ok_or_else(|| no_machine(name))
    }
}

fn no_machine(name: &str) -> fdo::Error {
    fdo::Error::Failed(format!("no machine {name} runs"))
}

// One call of a client after the other: what it sends meanwhile waits in its socket.
#[interface(name = "org.rspawn.Netd1", spawn = false)]
impl Netd1 {
    /// All machines that run: name, manager, attachment (`veth`, `bridge`, `private`
    /// or `host`), addresses.
    async fn list(&self) -> fdo::Result<Vec<Listed>> {
        let machines = self.ask(Query::List).await?;
        let row = |m: ListedMachine| (m.name, m.service, m.network.to_owned(), m.addresses);
        Ok(machines.into_iter().map(row).collect())
    }

    /// All that is known of one machine. Who is not root gets its name and its
    /// addresses.
    async fn status(&self, name: &str) -> fdo::Result<Properties> {
        let unknown = || no_machine(name);
        let machine = MachineName::from_query(name.as_bytes()).map_err(|_| unknown())?;
        if self.privileged {
            let status = self.ask(|sender| Query::Status(machine, sender)).await?;
            all_properties(status.ok_or_else(unknown)?)
        } else {
            let listed = self.ask(|sender| Query::One(machine, sender)).await?;
            let listed = listed.ok_or_else(unknown)?;
            properties([
                ("Name", listed.name.into()),
                ("Addresses", listed.addresses.into()),
            ])
        }
    }

    /// What netd itself has leased from others' servers: link, address with the length of
    /// its prefix, server, and seconds until it ends, the largest number if it never does.
    /// For root alone.
    async fn client_leases(&self) -> fdo::Result<Vec<ClientLease>> {
        self.check_privileged("see leases")?;
        let leases = self.ask(Query::ClientLeases).await?;
        Ok(leases.iter().map(client_lease).collect())
    }

    /// The leases that netd's DHCP servers have given, of all links or, with a name, of one
    /// machine: `Machine`, `Zone`, `Link`, `Address`, `HardwareAddress`, `ClientId`
    /// (hexadecimal digits), `Hostname`, and `ExpiresIn` in seconds; what is not known is
    /// empty. For root alone.
    async fn leases(&self, name: &str) -> fdo::Result<Vec<Properties>> {
        self.check_privileged("see leases")?;
        let machine = match name {
            "" => None,
            name => Some(self.running(name).await?),
        };
        let leases = self.ask(|sender| Query::Leases(machine, sender)).await?;
        leases.iter().map(lease_properties).collect()
    }

    /// Has netd read its files anew (systemd.network(5), netd.conf), and do what they say
    /// otherwise now. Gives what there is to be said of them, a line each. For root alone.
    async fn reload(&self) -> fdo::Result<Vec<String>> {
        self.check_privileged("have netd read its files anew")?;
        self.ask(Query::Reload).await
    }

    /// The version of netd.
    #[zbus(property)]
    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }
}

fn all_properties(status: MachineStatus) -> fdo::Result<Properties> {
    let leases: Vec<(String, String, u64)> = status.leases.iter().map(lease_row).collect();
    properties([
        ("Name", status.name.into()),
        ("Addresses", status.addresses.into()),
        ("Service", status.service.into()),
        ("Id", status.id.into()),
        ("RootDirectory", status.root.into()),
        ("Leader", status.leader.into()),
        ("Cgroup", status.cgroup.into()),
        ("Network", status.network.into()),
        ("Link", status.link.into()),
        ("Timestamp", status.since.into()),
        ("Subnets", status.subnets.into()),
        ("Clash", status.clash.into()),
        ("Leases", leases.into()),
    ])
}

fn properties<const N: usize>(values: [(&'static str, Variant<'_>); N]) -> fdo::Result<Properties> {
    let owned = |(key, value): (&'static str, Variant<'_>)| {
        let value = value
            .try_to_owned()
            .map_err(|error| fdo::Error::Failed(error.to_string()))?;
        Ok((key, value))
    };
    values.into_iter().map(owned).collect()
}

fn client_lease(lease: &HeldLease) -> ClientLease {
    let left = |until: Instant| until.saturating_duration_since(Instant::now()).as_secs();
    (
        lease.link.clone(),
        lease.address.to_string(),
        lease.server.to_string(),
        lease.until.map_or(u64::MAX, left),
    )
}

fn lease_properties(lease: &LeaseStatus) -> fdo::Result<Properties> {
    properties([
        ("Machine", lease.machine.as_str().into()),
        ("Zone", lease.zone.as_str().into()),
        ("Link", lease.link.as_str().into()),
        ("Address", lease.address.to_string().into()),
        ("HardwareAddress", lease.mac.as_str().into()),
        ("ClientId", lease.client_id.as_str().into()),
        ("Hostname", lease.hostname.as_str().into()),
        ("ExpiresIn", lease.expires_in.into()),
    ])
}

/// Address, Ethernet address, seconds until it ends.
fn lease_row(lease: &LeaseStatus) -> (String, String, u64) {
    (
        lease.address.to_string(),
        lease.mac.clone(),
        lease.expires_in,
    )
}
