//! The container's network: its link, and its registration with netd.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use registry::ifname::LinkKind;
use registry::mac::Side;
use registry::protocol::{Host0, Network, Registration};
use registry::{HostId, IfName, Mac};

use super::{Container, StartError};
use crate::channel::{Channel, NetworkReady};
use crate::config::NetworkMode;
use crate::error::{StepError, one_line};
use crate::host0;
use crate::link::{self, LinkInfo, LinkPlan};
use crate::mounts::network_files::text_of;
use crate::netd_client::{Connection, Event};
use crate::netlink::Netlink;
use crate::networkd::KeepOff;
use crate::tell;

impl Container<'_> {
    /// Registers with a netd that appeared while the container runs.
    ///
    /// # Errors
    /// netd is gone again.
    pub fn register_again(&mut self, netd: Connection) -> io::Result<()> {
        let sockets = self.open_inside(1).map_err(io::Error::other)?;
        self.register(&netd, sockets.first(), true)?;
        self.netd = Some(netd);
        Ok(())
    }

    /// Takes up what netd answered while the container runs: the network, where it
    /// was never set up.
    ///
    /// # Errors
    /// The network could not be set up.
    pub fn take_answer(&mut self, host0: Option<&Host0>) -> Result<(), StepError> {
        let Some(host0) = host0 else { return Ok(()) };
        if !self.configured {
            for socket in self.open_inside(1)? {
                host0::configure(&mut Netlink::from(socket), host0)?;
                self.configured = true;
            }
        }
        if let Some(netd) = &self.netd {
            netd.configured(self.awaits_name);
        }
        Ok(())
    }

    /// Waits until the container's name resolves, if whoever started rspawn waits for
    /// that; no longer than netd may take for an answer.
    pub fn wait_for_name(&mut self) {
        while self.awaits_name && self.configured {
            let answer = self
                .netd
                .as_ref()
                .and_then(|netd| netd.answer(&self.leader));
            match answer {
                Some(Event::Registered(registered)) => {
                    if let Err(error) = self.take_answer(registered.host0.as_ref()) {
                        tell!("{}", one_line(&error));
                    }
                }
                // Of netd's end the supervisor is told by the connection.
                Some(Event::Published | Event::Refused(_) | Event::Gone) | None => break,
            }
        }
        self.awaits_name = false;
    }

    /// Makes the network, and tells the process inside.
    pub(super) fn connect(
        &mut self,
        netlink: &mut Netlink,
        channel: &Channel,
    ) -> Result<(), StartError> {
        let mut resolv_conf = String::new();
        let sockets = self.open_inside(2)?;
        let mut sockets = sockets.into_iter();
        let mut inside = sockets.next().map(Netlink::from);
        if let Some(inside) = &mut inside {
            host0::set_loopback_up(inside)?;
        }
        self.make_link(netlink)?;
        if let Some(host0) = self.first_registration(sockets.next())? {
            if let Some(inside) = &mut inside {
                host0::configure(inside, &host0)?;
                self.configured = true;
            }
            if let Some(netd) = &self.netd {
                netd.configured(self.awaits_name);
            }
            if self.blueprint.config.resolv_conf && !host0.dns.is_empty() {
                resolv_conf = text_of(&host0.dns, host0.domain.as_deref());
            }
        } else if self.bridge.is_some()
            && let Some(inside) = &mut inside
        {
            // Whatever serves the bridge gives it an address; up it is anyway.
            host0::set_up_alone(inside)?;
        }
        // If nobody listens any more, it says why itself.
        channel.network_ready(&NetworkReady { resolv_conf }).ok();
        Ok(())
    }

    fn make_link(&mut self, netlink: &mut Netlink) -> Result<(), StartError> {
        let kind = match self.blueprint.config.network {
            NetworkMode::Host | NetworkMode::Private => return Ok(()),
            NetworkMode::Veth => LinkKind::Veth,
            NetworkMode::Bridge(_) | NetworkMode::Zone(_) => LinkKind::BridgePort,
        };
        let machine = &self.blueprint.config.name;
        let host = HostId::load()?;
        let (name, altname) = IfName::of_machine(kind, machine);
        let plan = LinkPlan {
            name,
            altname,
            host_mac: Mac::of_machine(&host, machine, Side::Host, 0),
            container_mac: Mac::of_machine(&host, machine, Side::Container, 0),
        };
        self.keep_off = announce(&plan.name);
        let ifindex = link::create(netlink, &plan, self.pid, self.bridge)?;
        self.link = Some(LinkInfo {
            ifindex,
            group: registry::LINK_GROUP,
            kind: "veth".into(),
            name: plan.name.as_str().to_owned(),
            altnames: plan.altname.into_iter().collect(),
        });
        Ok(())
    }

    /// Registers with netd, if it is there, and gives what it wants set on `host0`.
    fn first_registration(&mut self, socket: Option<OwnedFd>) -> Result<Option<Host0>, StartError> {
        let warn = |what: &str| {
            let name = &self.blueprint.config.name;
            let by_netd = matches!(
                self.blueprint.config.network,
                NetworkMode::Veth | NetworkMode::Zone(_)
            );
            let network = if by_netd {
                "it has no address and no name until then"
            } else {
                "it has no name until then"
            };
            tell!("{what}: {name} starts all the same, {network}");
        };
        let connection = match Connection::open_waiting(&self.leader) {
            Ok(connection) => connection,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                warn("netd has too many containers to register at once");
                return Ok(None);
            }
            Err(_) => {
                if self.blueprint.config.private_network() {
                    warn("netd is not running (start it with `netd` or `systemctl start netd`)");
                }
                return Ok(None);
            }
        };
        if let Err(error) = self.register(&connection, socket.as_ref(), false) {
            warn(&format!("netd is gone ({error})"));
            return Ok(None);
        }
        match connection.answer(&self.leader) {
            Some(Event::Registered(registered)) => {
                self.netd = Some(connection);
                Ok(registered.host0)
            }
            Some(Event::Refused(refusal)) => Err(StartError::Refused(refusal.message)),
            Some(Event::Gone | Event::Published) => {
                warn("netd ended the connection");
                Ok(None)
            }
            // Why it ended, it says itself.
            None if self.has_ended() => Ok(None),
            None => {
                warn("netd does not answer in time");
                // It may answer later.
                self.netd = Some(connection);
                Ok(None)
            }
        }
    }

    fn register(
        &self,
        connection: &Connection,
        socket: Option<&OwnedFd>,
        running: bool,
    ) -> io::Result<()> {
        let blueprint = self.blueprint;
        let ifindex = self.link.as_ref().map_or(0, |link| link.ifindex);
        let network = match (&blueprint.config.network, self.bridge) {
            (NetworkMode::Host, _) => Network::Host,
            (NetworkMode::Private, _) => Network::Private,
            (NetworkMode::Zone(_), Some(bridge)) => Network::Zone { ifindex, bridge },
            (_, Some(bridge)) => Network::Bridge { ifindex, bridge },
            (_, None) => Network::Veth { ifindex },
        };
        let registration = Registration {
            name: blueprint.config.name,
            service: "rspawn".into(),
            id: Some(blueprint.machine_id.to_owned()),
            root: blueprint.tree.path().to_string_lossy().into_owned(),
            cgroup: self.cgroup.name().to_owned(),
            network,
            ephemeral: false,
            running,
        };
        let mut descriptors = vec![self.leader.as_fd()];
        descriptors.extend(socket.map(AsFd::as_fd));
        connection.register(&registration, &descriptors)
    }

    /// Netlink sockets in the container's network namespace, if it has one.
    fn open_inside(&self, count: usize) -> Result<Vec<OwnedFd>, StepError> {
        if self.blueprint.config.private_network() {
            host0::open_inside(&self.leader, count)
        } else {
            Ok(vec![])
        }
    }
}

/// A networkd that was not told would give the link addresses of its own for a while:
/// no reason not to start.
fn announce(link: &IfName) -> Option<KeepOff> {
    let warn = |error: io::Error| {
        tell!("systemd-networkd may change {link} ({error})");
    };
    let announced = KeepOff::announce(link).map_err(warn).ok().flatten()?;
    announced.reload().map_err(warn).ok();
    Some(announced)
}
