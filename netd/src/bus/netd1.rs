//! `org.rspawn.Netd1`: what netd knows of machines and their network.

use std::collections::HashMap;

use registry::MachineName;
use tokio::sync::{mpsc, oneshot};
use zbus::{OwnedVariant, Variant, fdo, interface};

use crate::daemon::{Input, LeaseStatus, MachineStatus, Query};

/// Where the object is.
pub const PATH: &str = "/org/rspawn/Netd1";

/// One machine in a list: name, service, how it is attached, addresses.
type Listed = (String, String, String, Vec<String>);
type Properties = HashMap<&'static str, OwnedVariant>;

/// The object, as one client sees it.
pub(super) struct Netd1 {
    daemon: mpsc::Sender<Input>,
    privileged: bool,
}

impl Netd1 {
    pub(super) fn new(daemon: mpsc::Sender<Input>, privileged: bool) -> Self {
        Self { daemon, privileged }
    }

    async fn ask<T>(&self, query: impl FnOnce(oneshot::Sender<T>) -> Query) -> fdo::Result<T> {
        let (sender, answer) = oneshot::channel();
        let stopping = |()| fdo::Error::Failed("netd is stopping".into());
        self.daemon
            .send(Input::Query(query(sender)))
            .await
            .map_err(|_| stopping(()))?;
        answer.await.map_err(|_| stopping(()))
    }
}

#[interface(name = "org.rspawn.Netd1")]
impl Netd1 {
    /// All machines that run: name, manager, attachment (`veth`, `bridge`, `private`
    /// or `host`), addresses.
    async fn list(&self) -> fdo::Result<Vec<Listed>> {
        let machines = self.ask(Query::List).await?;
        let row = |m: MachineStatus| (m.name, m.service, m.network.to_owned(), m.addresses);
        Ok(machines.into_iter().map(row).collect())
    }

    /// All that is known of one machine. Who is not root gets its name and its
    /// addresses.
    async fn status(&self, name: &str) -> fdo::Result<Properties> {
        let unknown = || fdo::Error::Failed(format!("no machine {name} runs"));
        let machine = MachineName::from_query(name.as_bytes()).map_err(|_| unknown())?;
        let status = self.ask(|sender| Query::Status(machine, sender)).await?;
        properties(status.ok_or_else(unknown)?, self.privileged)
    }

    /// The version of netd.
    #[zbus(property)]
    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }
}

fn properties(status: MachineStatus, privileged: bool) -> fdo::Result<Properties> {
    let mut properties = Properties::new();
    let mut put = |key, value: Variant<'_>| -> fdo::Result<()> {
        let value = value
            .try_to_owned()
            .map_err(|error| fdo::Error::Failed(error.to_string()))?;
        properties.insert(key, value);
        Ok(())
    };
    put("Name", status.name.into())?;
    put("Addresses", status.addresses.into())?;
    if privileged {
        put("Service", status.service.into())?;
        put("Id", status.id.into())?;
        put("RootDirectory", status.root.into())?;
        put("Leader", status.leader.into())?;
        put("Cgroup", status.cgroup.into())?;
        put("Network", status.network.into())?;
        put("Link", status.link.into())?;
        put("Timestamp", status.since.into())?;
        put("Subnets", status.subnets.into())?;
        put("Clash", status.clash.into())?;
        let leases: Vec<(String, String, u64)> = status.leases.iter().map(lease_row).collect();
        put("Leases", leases.into())?;
    }
    Ok(properties)
}

/// Address, Ethernet address, seconds until it ends.
fn lease_row(lease: &LeaseStatus) -> (String, String, u64) {
    (
        lease.address.to_string(),
        lease.mac.clone(),
        lease.expires_in,
    )
}
