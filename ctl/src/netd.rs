//! Asking netd over its bus socket.

use std::collections::HashMap;

use zbus::OwnedVariant;
use zbus::connection::Builder;

/// What netd knows of a machine beyond its record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// The tree's directory on the host.
    pub root: String,
    /// The subnets of the machine's link.
    pub subnets: Vec<String>,
    /// What of the host overlaps them.
    pub clash: String,
    /// DHCP leases on the link: address, Ethernet address, seconds until it ends.
    pub leases: Vec<(String, String, u64)>,
}

#[zbus::proxy(
    interface = "org.rspawn.Netd1",
    default_service = "org.rspawn.Netd1",
    default_path = "/org/rspawn/Netd1"
)]
trait Netd1 {
    fn status(&self, name: &str) -> zbus::Result<HashMap<String, OwnedVariant>>;
}

/// Asks netd of a machine.
///
/// # Errors
/// netd does not run, or does not answer.
pub fn details(machine: &str) -> zbus::Result<Details> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let answer = tokio::time::timeout(std::time::Duration::from_secs(5), ask(machine)).await;
        answer.map_err(|_| zbus::Error::Failure("netd does not answer".into()))?
    })
}

async fn ask(machine: &str) -> zbus::Result<Details> {
    let address = format!("unix:path={}", registry::BUS_SOCKET);
    let connection = Builder::address(address.as_str()).p2p().build().await?;
    let netd = Netd1Proxy::new(&connection).await?;
    let mut properties = netd.status(machine).await?;
    Ok(Details {
        root: take(&mut properties, "RootDirectory"),
        subnets: take(&mut properties, "Subnets"),
        clash: take(&mut properties, "Clash"),
        leases: take(&mut properties, "Leases"),
    })
}

fn take<T: TryFrom<OwnedVariant> + Default>(
    properties: &mut HashMap<String, OwnedVariant>,
    key: &str,
) -> T {
    properties
        .remove(key)
        .and_then(|value| T::try_from(value).ok())
        .unwrap_or_default()
}
