//! The DHCP server of a zone.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use ipnetwork::Ipv4Network;
use registry::{Mac, ZoneName};
use tokio::sync::{mpsc, oneshot};

use super::super::Daemon;
use super::super::dhcp_service::event_log;
use super::probing;
use crate::dhcp::server::{self, Bounds, Handle, Lease, Server, ServerConfig, Surroundings};
use crate::dhcp_wire::{BridgePort, Listener, OpenError, Requests};
use crate::leases::{Change, Clocks, Commits, LeaseFile, LeaseFileError};
use crate::log;
use crate::rtnl::Link;
use crate::subnets::Owner;
use crate::worker::Queue;

/// The server of a zone. It ends when this is dropped.
#[derive(Debug)]
pub struct Dhcp {
    handle: Rc<Handle>,
    requests: Requests,
}

impl Dhcp {
    /// What tells it what to do.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Serves what is behind a port of the bridge with this Ethernet address.
    pub fn listen(&self, port: u32, bridge: Mac, worker: Queue) -> Result<Listener, OpenError> {
        self.requests.listen(port, bridge, worker)
    }
}

/// The leases as they were kept, and the moment at which they were read.
type Opened = Option<(LeaseFile, Vec<Lease>)>;

impl Daemon {
    /// Starts the server of a zone that has an IPv4 subnet.
    pub(super) fn start_zone_dhcp(
        &self,
        zone: ZoneName,
        link: &Link,
    ) -> Result<Option<Dhcp>, OpenError> {
        let (Some(config), Some(mac)) = (self.zone_config(link.index), link.mac) else {
            return Ok(None);
        };
        let (port, requests) = BridgePort::open(link.index)?;
        let port = self.with_relays(link, port);
        let handle = Rc::new(Handle::default());
        let (told, queue) = (handle.told(), self.worker.queue());
        let opened = open_leases(
            self.places.leases().join(zone.as_str()),
            self.boot_id.clone(),
            config.keep,
            &queue,
        );
        let (probe, wanted) = mpsc::unbounded_channel();
        let server = Rc::downgrade(&handle);
        let bridge = (link.index, mac);
        tokio::task::spawn_local(probing::run(bridge, wanted, server, queue.clone()));
        let mut tell = event_log(Owner::Zone(zone));
        tokio::task::spawn_local(async move {
            let mut server = Box::new(Server::new(config));
            let mut commits = None;
            if let Ok(Some((file, leases))) = opened.await {
                server.restore(std::time::Instant::now(), leases);
                commits = Some(Commits::new(file, queue));
            }
            let surroundings = Surroundings {
                tell: Box::new(&mut tell),
                // It answers as long as there is anybody to ask.
                probe: Some(Box::new(move |address| {
                    let _ = probe.send(address);
                })),
                commits,
            };
            server::serve_with(&port, *server, told, surroundings).await;
        });
        Ok(Some(Dhcp { handle, requests }))
    }

    /// Tells a zone's server what changed of what it hands out.
    pub(in crate::daemon) fn refresh_zone_dhcp(&self, bridge: u32) {
        if let (Some(handle), Some(config)) = (self.zones.dhcp(bridge), self.zone_config(bridge)) {
            handle.set_config(config);
        }
    }

    /// Serves DHCP in a zone no more.
    pub(in crate::daemon) fn stop_zone_dhcp(&mut self, bridge: u32) {
        if let Some(zone) = self.zones.zones.get_mut(&bridge) {
            zone.ports
                .values_mut()
                .for_each(|listener| *listener = None);
            zone.dhcp = None;
        }
    }

    fn zone_config(&self, bridge: u32) -> Option<ServerConfig> {
        let mut config = self.base_config(bridge)?;
        let zone = self.zones.zones.get(&bridge)?;
        for (name, mac, address) in zone.members.addresses() {
            // A member that was there before a file kept its address for another.
            if let Some(other) = config.reserved_for(address).filter(|other| *other != mac) {
                config.give_back(other);
            }
            if let Err(error) = config.reserve(mac, address) {
                tracing::error!(machine = %name, "no DHCP: {error}");
            }
        }
        config.bounds = Bounds::shared();
        let profile = self.profile_of_index(bridge);
        let most = profile.dhcp.max_per_port;
        if let Some(most) = most.and_then(|most| usize::try_from(most).ok()) {
            // One port, whatever it says of itself.
            (config.bounds.per_port, config.bounds.per_mac) = (Some(most), most);
        }
        (config.probe, config.keep) = (true, profile.dhcp.persist);
        let chosen = profile.dhcp.pool_offset != 0 || profile.dhcp.pool_size != 0;
        if !chosen && let Some(offset) = usual_pool(config.network()) {
            // It lies within the subnet.
            let _ = config.limit_pool(offset, 0);
        }
        Some(config)
    }

    /// The addresses that a zone's server gives to whoever asks.
    pub(super) fn dynamic_range(
        &self,
        bridge: u32,
        subnet: Ipv4Network,
    ) -> RangeInclusive<Ipv4Addr> {
        let profile = self.profile_of_index(bridge);
        let profile = &profile.dhcp;
        let base = u32::from(subnet.network());
        let last = u32::from(subnet.broadcast()).saturating_sub(1);
        let (offset, size) = match (profile.pool_offset, profile.pool_size) {
            (0, 0) => (usual_pool(subnet).unwrap_or(u32::MAX), 0),
            chosen => chosen,
        };
        let first = base.saturating_add(offset.max(1));
        let end = match size {
            0 => last,
            size => first.saturating_add(size - 1).min(last),
        };
        first.into()..=end.into()
    }
}

/// Where in a subnet the last quarter begins, which is for clients that netd does not know;
/// nothing where all of it is no more than a few.
fn usual_pool(subnet: Ipv4Network) -> Option<u32> {
    let size = u32::MAX.checked_shr(subnet.prefix().into()).unwrap_or(0);
    (size >= 15).then_some(size / 4 * 3 + 3)
}

/// Reads the leases that a zone had, if they are `kept`; if not, none is from now on.
fn open_leases(
    path: PathBuf,
    boot_id: String,
    kept: bool,
    worker: &Queue,
) -> oneshot::Receiver<Opened> {
    let (sender, opened) = oneshot::channel();
    worker.add(move || {
        let opened = read_leases(&path, &boot_id, kept).map_err(|error| {
            tracing::error!("{}: leases are not kept", log::chain(&error));
        });
        // Who does not wait any more has ended.
        let _ = sender.send(opened.ok());
    });
    opened
}

fn read_leases(
    path: &Path,
    boot_id: &str,
    kept: bool,
) -> Result<(LeaseFile, Vec<Lease>), LeaseFileError> {
    let clocks = Clocks::read();
    let (mut file, found) = LeaseFile::open(path, boot_id, &clocks)?;
    if !kept {
        // Others have got these addresses since they were written down, or will.
        let freed: Vec<Change> = found.iter().map(|old| Change::Freed(old.address)).collect();
        file.append(&freed)?;
        return Ok((file, Vec::new()));
    }
    let leases = found.into_iter().map(|old| Lease::from_kept(old, &clocks));
    Ok((file, leases.collect()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::leases::Kept;

    /// The addresses that a server begins with.
    fn begun(path: &Path, kept: bool) -> Vec<Ipv4Addr> {
        let (_, leases) = read_leases(path, "boot", kept).unwrap();
        leases.into_iter().map(|lease| lease.address).collect()
    }

    #[test]
    fn what_was_kept_is_taken_over_only_where_leases_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("blue");
        let clocks = Clocks::read();
        let hour = Duration::from_secs(3600);
        let lease = Kept {
            address: Ipv4Addr::new(10, 0, 0, 9),
            mac: Mac([2, 0, 0, 0, 0, 9]),
            client: vec![1, 9],
            hostname: None,
            until_wall: clocks.wall + hour,
            until_boot: clocks.since_boot + hour,
        };
        let (mut file, _) = LeaseFile::open(&path, "boot", &clocks).unwrap();
        file.append(&[Change::Leased(lease.clone())]).unwrap();
        assert_eq!(begun(&path, true), [lease.address]);
        assert!(begun(&path, false).is_empty());
        assert!(begun(&path, true).is_empty(), "it was not kept meanwhile");
    }

    #[test]
    fn the_last_quarter_is_for_others() {
        let pool = |text: &str| usual_pool(text.parse().unwrap());
        assert_eq!(pool("10.0.0.0/24"), Some(192));
        assert_eq!(pool("10.0.0.0/28"), Some(12));
        assert_eq!(pool("10.0.0.0/16"), Some(49152));
        assert_eq!(pool("10.0.0.0/30"), None);
    }
}
