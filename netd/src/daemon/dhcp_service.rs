//! The DHCP server of a link.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use registry::mac::Side;
use registry::{Mac, MachineName};

use super::Daemon;
use crate::dhcp::server::{self, Event, Handle, Server, ServerConfig};
use crate::log;
use crate::rtnl::Link;
use crate::subnets::Subnets;

/// A link logs something that a container can bring about at most this often.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

impl Daemon {
    /// Starts the server of a link that has an IPv4 subnet. Whether all is well.
    pub(super) fn start_dhcp(
        &mut self,
        link: &Link,
        machine: &MachineName,
        subnets: &Subnets,
    ) -> bool {
        let Some(config) = self.dhcp_config(link, machine, subnets) else {
            return true;
        };
        let port = match self.wire.port(link.index) {
            Ok(port) => port,
            Err(error) => {
                tracing::error!(%machine, "no DHCP on {}: {}", link.name, log::chain(&error));
                return false;
            }
        };
        let handle = Handle::default();
        let (told, queue) = (handle.told(), self.worker.queue());
        let log = event_log(*machine);
        // Not within the future, which would have room for it a second time.
        let server = Box::new(Server::new(config));
        tokio::task::spawn_local(async move {
            server::serve(&port, *server, told, log).await;
            if let Some(descriptor) = port.close() {
                queue.add(move || drop(descriptor));
            }
        });
        if let Some(own) = self.links.get_mut(&link.index) {
            own.dhcp = Some(handle);
        }
        true
    }

    /// Tells every server what changed of what it hands out.
    pub(super) fn refresh_dhcp(&self) {
        for (index, own) in &self.links {
            let (Some(service), Some(machine), Some(subnets), Some(link)) = (
                &own.dhcp,
                &own.machine,
                &own.subnets,
                self.world.link(*index),
            ) else {
                continue;
            };
            if let Some(config) = self.dhcp_config(link, machine, subnets) {
                service.set_config(config);
            }
        }
    }

    fn dhcp_config(
        &self,
        link: &Link,
        machine: &MachineName,
        subnets: &Subnets,
    ) -> Option<ServerConfig> {
        let profile = self.profile_of(link);
        if !profile.dhcp_server {
            return None;
        }
        let (host, container) = (subnets.host().next()?, subnets.container().next()?);
        let (ipnetwork::IpNetwork::V4(host), IpAddr::V4(container)) = (host, container.ip()) else {
            return None;
        };
        let mac = Mac::of_machine(&self.host_id, machine, Side::Container, 0);
        let mut config = ServerConfig::new(host)
            .map_err(|error| tracing::error!(%machine, "no DHCP: {error}"))
            .ok()?;
        config
            .reserve(mac, container)
            .map_err(|error| tracing::error!(%machine, "no DHCP: {error}"))
            .ok()?;
        config.dns = self.dns.servers.iter().filter_map(ipv4).collect();
        config.domain.clone_from(&self.dns.domain);
        config.mtu = u16::try_from(self.mtu_for(link)).ok();
        if let Err(error) = profile.dhcp.refine(&mut config) {
            tracing::error!(%machine, "{}: {error}; all of the subnet is served", profile.name);
        }
        Some(config)
    }
}

fn ipv4(ip: &IpAddr) -> Option<std::net::Ipv4Addr> {
    match ip {
        IpAddr::V4(ip) => Some(*ip),
        IpAddr::V6(_) => None,
    }
}

/// What logs the events of a machine's link.
fn event_log(machine: MachineName) -> impl FnMut(Event) {
    let mut last: Option<Instant> = None;
    move |event| {
        tracing::debug!(%machine, ?event, "DHCP");
        let Some(text) = worth_saying(&event) else {
            return;
        };
        if last.is_none_or(|last| last.elapsed() >= LOG_INTERVAL) {
            last = Some(Instant::now());
            tracing::warn!(%machine, "{text}");
        }
    }
}

/// What an administrator wants to know without having asked.
fn worth_saying(event: &Event) -> Option<String> {
    match event {
        Event::ReservedAddressInUse { address, .. } => Some(format!(
            "a DHCP client found its address {address} in use by another host on its link"
        )),
        Event::Exhausted { mac } => Some(format!(
            "no address is left on the machine's link for a further client, {mac}"
        )),
        Event::Refused { mac, address } => {
            Some(format!("{mac} asked for {address}, which it cannot have"))
        }
        Event::InUse { address } => Some(format!(
            "{address} is in use on the link by somebody who has it from elsewhere; \
             it is offered to nobody for a day"
        )),
        Event::Quota { port, mac } => Some(format!(
            "{mac} (interface {port}) has as many addresses as it may have"
        )),
        Event::Bound(_) | Event::Renewed(_) | Event::Ended(..) | Event::Ignored { .. } => None,
    }
}
