//! The DHCP server of a link.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use ipnetwork::IpNetwork;
use registry::mac::Side;
use registry::{Mac, MachineName};

use super::Daemon;
use super::links::OwnLink;
use crate::dhcp::server::{self, Event, Handle, Server, ServerConfig};
use crate::dhcp_wire::Expected;
use crate::log;
use crate::rtnl::Link;
use crate::subnets::Owner;

/// A link logs something that a container can bring about at most this often.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The DHCP server of a link.
#[derive(Debug)]
pub(super) enum Service {
    /// It is made when somebody asks it: most containers have their address from rspawn.
    Expected { _guard: Expected },
    /// It runs.
    Running(Handle),
}

impl Service {
    pub(super) fn running(&self) -> Option<&Handle> {
        match self {
            Self::Expected { .. } => None,
            Self::Running(handle) => Some(handle),
        }
    }
}

impl Daemon {
    /// Sees to it that a link's clients are served. Whether all is well.
    pub(super) fn serve_dhcp(&mut self, link: &Link) -> bool {
        if !self.profile_of(link).dhcp_server {
            return true;
        }
        let subnets = self.links.get(&link.index).and_then(|own| own.subnets);
        if subnets.is_none_or(|subnets| subnets.v4.is_none()) {
            return true;
        }
        let Some(guard) = self.wire.expect(link.index) else {
            return self.start_dhcp(link.index);
        };
        if let Some(own) = self.links.get_mut(&link.index) {
            own.dhcp = Some(Service::Expected { _guard: guard });
        }
        true
    }

    /// Starts the server of a link that has an IPv4 subnet. Whether all is well.
    pub(super) fn start_dhcp(&mut self, index: u32) -> bool {
        let runs = |own: &OwnLink| matches!(own.dhcp, Some(Service::Running(_)));
        if self.links.get(&index).is_some_and(runs) {
            return true;
        }
        let Some((machine, config)) = self.dhcp_config(index) else {
            return true;
        };
        let port = match self.wire.port(index) {
            Ok(port) => port,
            Err(error) => {
                tracing::error!(%machine, "no DHCP: {}", log::chain(&error));
                return false;
            }
        };
        let handle = Handle::default();
        let (told, queue) = (handle.told(), self.worker.queue());
        let log = event_log(machine.into());
        // Not within the future, which would have room for it a second time.
        let server = Box::new(Server::new(config));
        tokio::task::spawn_local(async move {
            server::serve(&port, *server, told, log).await;
            if let Some(descriptor) = port.close() {
                queue.add(move || drop(descriptor));
            }
        });
        if let Some(own) = self.links.get_mut(&index) {
            own.dhcp = Some(Service::Running(handle));
        }
        true
    }

    /// Tells every server what changed of what it hands out.
    pub(super) fn refresh_dhcp(&mut self) {
        for index in self.links.keys() {
            self.refresh_dhcp_of(*index);
        }
        self.refresh_advertisements();
    }

    /// The same of one link, if one runs there.
    pub(super) fn refresh_dhcp_of(&self, index: u32) {
        self.refresh_zone_dhcp(index);
        let service = self.links.get(&index).and_then(|own| own.dhcp.as_ref());
        if let Some(service) = service.and_then(Service::running)
            && let Some((_, config)) = self.dhcp_config(index)
        {
            service.set_config(config);
        }
    }

    /// Serves DHCP on a link no more.
    pub(super) fn stop_dhcp(&mut self, index: u32) {
        self.stop_zone_dhcp(index);
        if let Some(own) = self.links.get_mut(&index) {
            own.dhcp = None;
        }
    }

    fn dhcp_config(&self, index: u32) -> Option<(MachineName, ServerConfig)> {
        let own = self.links.get(&index)?;
        let machine = *own.owner?.machine()?;
        let IpAddr::V4(container) = own.subnets?.container().next()?.ip() else {
            return None;
        };
        let mut config = self.base_config(index)?;
        let mac = Mac::of_machine(&self.host_id, &machine, Side::Container, 0);
        config
            .reserve(mac, container)
            .map_err(|error| tracing::error!(%machine, "no DHCP: {error}"))
            .ok()?;
        Some((machine, config))
    }

    /// What the server of a link hands out, as far as it does not depend on who is there.
    pub(super) fn base_config(&self, index: u32) -> Option<ServerConfig> {
        let link = self.world.link(index)?;
        let own = self.links.get(&index)?;
        let (owner, subnets) = (own.owner?, own.subnets?);
        let profile = self.profile_of(link);
        if !profile.dhcp_server {
            return None;
        }
        let IpNetwork::V4(host) = subnets.host().next()? else {
            return None;
        };
        let mut config = ServerConfig::new(host)
            .map_err(|error| tracing::error!(of = %owner, "no DHCP: {error}"))
            .ok()?;
        config.dns = self.dns.servers.iter().filter_map(ipv4).collect();
        config.domain.clone_from(&self.dns.domain);
        config.mtu = u16::try_from(self.mtu_for(link)).ok();
        for wrong in profile.dhcp.refine(&mut config) {
            tracing::error!(of = %owner, "{}: {wrong}", profile.name);
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

/// What logs the events of a link's server.
pub(super) fn event_log(owner: Owner) -> impl FnMut(Event) {
    let mut last: Option<Instant> = None;
    move |event| {
        tracing::debug!(of = %owner, ?event, "DHCP");
        let Some(text) = worth_saying(&event) else {
            return;
        };
        if last.is_none_or(|last| last.elapsed() >= LOG_INTERVAL) {
            last = Some(Instant::now());
            tracing::warn!(of = %owner, "{text}");
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
            "no address is left on the link for a further client, {mac}"
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
