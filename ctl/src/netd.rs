//! Asking netd over its bus socket.

use std::collections::HashMap;
use std::time::Duration;

use serde::Serialize;
use zbus::OwnedVariant;
use zbus::connection::Builder;

/// How long netd may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

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
    fn status(&self, name: &str) -> zbus::Result<Properties>;
    fn leases(&self, name: &str) -> zbus::Result<Vec<Properties>>;
    fn client_leases(&self) -> zbus::Result<Vec<(String, String, String, u64)>>;
    fn reload(&self) -> zbus::Result<Vec<String>>;
}

type Properties = HashMap<String, OwnedVariant>;

/// Asks netd of a machine.
///
/// # Errors
/// netd does not run, or does not answer.
pub fn details(machine: &str) -> zbus::Result<Details> {
    ask(async |netd| {
        let mut properties = netd.status(machine).await?;
        Ok(Details {
            root: take(&mut properties, "RootDirectory"),
            subnets: take(&mut properties, "Subnets"),
            clash: take(&mut properties, "Clash"),
            leases: take(&mut properties, "Leases"),
        })
    })
}

/// A lease that one of netd's DHCP servers has given. What is not known is empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lease {
    /// The machine that has it.
    pub machine: String,
    /// The zone in which it was given.
    pub zone: String,
    /// The host's interface on which it was given.
    pub link: String,
    /// The address.
    pub address: String,
    /// The client's Ethernet address.
    pub hardware_address: String,
    /// The client's identifier, in hexadecimal digits.
    pub client_id: String,
    /// What the client calls itself.
    pub hostname: String,
    /// Seconds until it ends.
    pub expires_in: u64,
}

/// Asks netd for leases: of one machine, or of all links.
///
/// # Errors
/// netd does not run, does not answer, or knows no such machine; or who asks is not root.
pub fn leases(machine: Option<&str>) -> zbus::Result<Vec<Lease>> {
    ask(async |netd| {
        let leases = netd.leases(machine.unwrap_or_default()).await?;
        Ok(leases.into_iter().map(lease).collect())
    })
}

/// A lease that netd itself has, as a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReceivedLease {
    /// The interface.
    pub link: String,
    /// The address, with the length of its network's prefix.
    pub address: String,
    /// The server that gave it.
    pub server: String,
    /// Seconds until it ends; none if it never does.
    pub expires_in: Option<u64>,
}

/// Asks netd for what it has leased itself.
///
/// # Errors
/// netd does not run or does not answer.
pub fn received_leases() -> zbus::Result<Vec<ReceivedLease>> {
    ask(async |netd| {
        let leases = netd.client_leases().await?.into_iter();
        let lease = |(link, address, server, left)| ReceivedLease {
            link,
            address,
            server,
            expires_in: Some(left).filter(|left| *left != u64::MAX),
        };
        Ok(leases.map(lease).collect())
    })
}

fn lease(mut properties: Properties) -> Lease {
    Lease {
        machine: take(&mut properties, "Machine"),
        zone: take(&mut properties, "Zone"),
        link: take(&mut properties, "Link"),
        address: take(&mut properties, "Address"),
        hardware_address: take(&mut properties, "HardwareAddress"),
        client_id: take(&mut properties, "ClientId"),
        hostname: take(&mut properties, "Hostname"),
        expires_in: take(&mut properties, "ExpiresIn"),
    }
}

/// Has netd read its files anew, and gives what there is to be said of them.
///
/// # Errors
/// netd does not run or does not answer; or who asks is not root.
pub fn reload() -> zbus::Result<Vec<String>> {
    ask(async |netd| netd.reload().await)
}

/// What netd says, without the name of the error that it says it by.
#[must_use]
pub fn in_words(error: zbus::Error) -> anyhow::Error {
    match error {
        zbus::Error::MethodError(_, Some(text), _) => anyhow::anyhow!(text),
        zbus::Error::InputOutput(error) => anyhow::Error::new(error).context(format!(
            "netd does not listen on {} (start it with `netd` or `systemctl start netd`)",
            registry::BUS_SOCKET
        )),
        error => error.into(),
    }
}

fn ask<T>(what: impl AsyncFnOnce(Netd1Proxy<'_>) -> zbus::Result<T>) -> zbus::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let asked = async {
        let address = format!("unix:path={}", registry::BUS_SOCKET);
        let connection = Builder::address(address.as_str()).p2p().build().await?;
        what(Netd1Proxy::new(&connection).await?).await
    };
    runtime.block_on(async {
        let answer = tokio::time::timeout(PATIENCE, asked).await;
        answer.map_err(|_| zbus::Error::Failure("netd does not answer".into()))?
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
