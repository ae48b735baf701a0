//! One run of a container: made, connected, looked after, cleared away.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use registry::ifname::LinkKind;
use registry::mac::Side;
use registry::protocol::{Host0, Network, Registration};
use registry::{HostId, IfName, Mac};
use rustix::process::Pid;

use crate::bind::Bind;
use crate::cgroup::{Cgroup, CgroupError};
use crate::channel::{Channel, NetworkReady, Report};
use crate::child::{self, BindMount, Plan};
use crate::config::{Config, NetworkMode};
use crate::console::Streams;
use crate::device_policy::{self, Device};
use crate::error::{Doing, StepError, one_line};
use crate::host0;
use crate::link::{self, LinkError, LinkInfo, LinkPlan};
use crate::mount_points::MountPoints;
use crate::mounts::network_files::{RESOLV_CONF, text_of};
use crate::mounts::ops::{copy_of, copy_of_directory, set_propagation, set_read_only};
use crate::mounts::run_host::HostFacts;
use crate::mounts::target::Kind;
use crate::netd_client::{Connection, Event};
use crate::netlink::Netlink;
use crate::networkd::KeepOff;
use crate::payload::Payload;
use crate::sys::clone::{Cloned, clone_into};
use crate::tell;
use crate::tree::Tree;

/// A container could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A step failed.
    #[error(transparent)]
    Step(#[from] StepError),
    /// Its cgroups could not be made.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// The link could not be made.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The host has no identity.
    #[error(transparent)]
    HostId(#[from] registry::host_id::HostIdError),
    /// netd did not take it.
    #[error("netd refuses the container: {0}")]
    Refused(String),
    /// It failed inside.
    #[error("{0}")]
    Inside(String),
}

/// What every run of one container has in common.
#[derive(Debug)]
pub struct Blueprint<'a> {
    /// What was asked for.
    pub config: &'a Config,
    /// The tree.
    pub tree: &'a Tree,
    /// Where what is made in the tree is written down, if the tree can be written.
    pub mount_points: Option<&'a MountPoints>,
    /// What runs.
    pub payload: &'a Payload,
    /// The machine id, 32 hexadecimal digits.
    pub machine_id: &'a str,
    /// What the container is told of the host.
    pub facts: &'a HostFacts,
    /// The payload's streams, where it has no console.
    pub streams: Option<&'a Streams>,
}

/// A container that runs.
#[derive(Debug)]
pub struct Container<'a> {
    blueprint: &'a Blueprint<'a>,
    pid: Pid,
    leader: OwnedFd,
    cgroup: Cgroup,
    link: Option<LinkInfo>,
    keep_off: Option<KeepOff>,
    bridge: Option<u32>,
    configured: bool,
    /// The connection to netd, if there is one.
    pub netd: Option<Connection>,
    /// Receives the payload's notifications.
    pub notify: Option<OwnedFd>,
    /// The console, if it has one.
    pub console: Option<OwnedFd>,
    _kmsg: Option<OwnedFd>,
}

impl<'a> Container<'a> {
    /// Makes a container and starts its payload.
    ///
    /// # Errors
    /// See [`StartError`]; nothing is left then.
    pub fn start(blueprint: &'a Blueprint<'a>) -> Result<Self, StartError> {
        let config = blueprint.config;
        let mut netlink = Netlink::open().doing(|| "open a netlink socket".into())?;
        let bridge = match &config.network {
            NetworkMode::Bridge(name) => Some(link::find_bridge(&mut netlink, name)?),
            _ => None,
        };
        let (cgroup, (channel, pid, leader)) = clone_into_cgroup(blueprint)?;
        let mut container = Self {
            blueprint,
            pid,
            leader,
            cgroup,
            link: None,
            keep_off: None,
            bridge,
            configured: false,
            netd: None,
            notify: None,
            console: None,
            _kmsg: None,
        };
        let connected = container.connect(&mut netlink, &channel);
        let started = container.finish(channel, connected);
        match started {
            Ok(()) => Ok(container),
            Err(error) => {
                rustix::process::pidfd_send_signal(
                    &container.leader,
                    rustix::process::Signal::KILL,
                )
                .ok();
                container.wait().ok();
                container.clear_away();
                Err(error)
            }
        }
    }

    /// The payload's first process.
    #[must_use]
    pub fn leader(&self) -> &OwnedFd {
        &self.leader
    }

    /// Waits for the payload's end.
    ///
    /// # Errors
    /// As waitid(2).
    pub fn wait(&self) -> io::Result<rustix::process::WaitIdStatus> {
        use rustix::process::{WaitId, WaitIdOptions, waitid};
        let status = waitid(WaitId::PidFd(self.leader.as_fd()), WaitIdOptions::EXITED)?;
        status.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

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
            netd.configured();
        }
        Ok(())
    }

    /// Removes everything that the container had, after its payload has ended.
    pub fn clear_away(&mut self) {
        let warn = |error: &dyn std::error::Error| tell!("{}", one_line(error));
        if let Some(link) = self.link.take() {
            let put_away = Netlink::open().and_then(|mut n| link::put_away(&mut n, &link));
            if let Err(error) = put_away.doing(|| "put the container's link away".into()) {
                warn(&error);
            }
        }
        self.keep_off = None;
        let netd = self.netd.take();
        if let Some(netd) = &netd {
            netd.goodbye();
        }
        if let Err(error) = self.cgroup.remove() {
            warn(&error);
        }
        if let Some(mount_points) = self.blueprint.mount_points {
            mount_points.clear(self.blueprint.tree);
        }
        if let Some(netd) = netd {
            netd.wait_for_close();
        }
    }

    /// Makes the network, and tells the process inside.
    fn connect(&mut self, netlink: &mut Netlink, channel: &Channel) -> Result<(), StartError> {
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
                netd.configured();
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
            NetworkMode::Bridge(_) => LinkKind::BridgePort,
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
            let network = if self.link.is_some() && self.bridge.is_none() {
                "it has no address and no name until then"
            } else {
                "it has no name until then"
            };
            tell!("{what}: {name} starts all the same, {network}");
        };
        let connection = match Connection::open() {
            Ok(connection) => connection,
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
            Some(Event::Gone) => {
                warn("netd ended the connection");
                Ok(None)
            }
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

    /// Hears what the process inside says, until its program was started.
    fn finish(
        &mut self,
        channel: Channel,
        connected: Result<(), StartError>,
    ) -> Result<(), StartError> {
        if let Err(error) = connected {
            // It ends without being told that the network is there.
            rustix::net::shutdown(&channel, rustix::net::Shutdown::Write).ok();
            while matches!(channel.next_report(), Ok(Some(_))) {}
            return Err(error);
        }
        let mut failure = None;
        let mut ready = false;
        while let Some(report) = channel
            .next_report()
            .doing(|| "hear from the container".into())?
        {
            match report {
                Report::Failed(why) => failure = Some(why),
                Report::Ready(descriptors) => {
                    let mut descriptors = descriptors.into_iter();
                    self.notify = descriptors.next();
                    self._kmsg = descriptors.next();
                    self.console = descriptors.next();
                    ready = true;
                }
            }
        }
        match failure {
            Some(why) => Err(StartError::Inside(why)),
            None if !ready => Err(StartError::Inside(
                "the container's first process ended before it was set up".into(),
            )),
            None => Ok(()),
        }
    }
}

/// Clones into a cgroup of the container's own. netd may still be clearing away what
/// a crashed supervisor of this name left, and take an empty cgroup for that: then
/// another is made.
fn clone_into_cgroup(
    blueprint: &Blueprint<'_>,
) -> Result<(Cgroup, (Channel, Pid, OwnedFd)), StartError> {
    const ATTEMPTS: u32 = 3;
    let mut attempt = 1;
    loop {
        let cgroup = Cgroup::create(&blueprint.config.name)?;
        match clone_payload(blueprint, &cgroup) {
            Ok(made) => return Ok((cgroup, made)),
            Err(_) if attempt < ATTEMPTS && cgroup.is_gone() => attempt += 1,
            Err(error) => {
                cgroup.remove().ok();
                return Err(error.into());
            }
        }
    }
}

fn clone_payload(
    blueprint: &Blueprint<'_>,
    cgroup: &Cgroup,
) -> Result<(Channel, Pid, OwnedFd), StepError> {
    let config = blueprint.config;
    let tree = copy_of_directory(blueprint.tree)
        .and_then(|tree| {
            set_propagation(&tree, libc::MS_PRIVATE)?;
            if config.read_only {
                set_read_only(&tree, true)?;
            }
            Ok(tree)
        })
        .doing(|| format!("take the tree {}", blueprint.tree.path().display()))?;
    let binds = config
        .binds
        .iter()
        .map(bind_mount)
        .collect::<Result<Vec<_>, _>>()?;
    let resolv_conf = if config.resolv_conf && !config.private_network() {
        copy_of(std::path::Path::new(RESOLV_CONF), false)
            .and_then(|mount| set_read_only(&mount, false).map(|()| mount))
            .ok()
    } else {
        None
    };
    limit_devices(cgroup, &binds);
    let (own, theirs) = Channel::pair().doing(|| "make a socket pair".into())?;
    let mut flags =
        libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    if config.private_network() {
        flags |= libc::CLONE_NEWNET;
    }
    // SAFETY: rspawn has one thread.
    #[allow(unsafe_code)]
    let cloned = unsafe { clone_into(flags, Some(cgroup.payload())) }
        .doing(|| "make the container's namespaces".into())?;
    match cloned {
        Cloned::Parent { pid, pidfd } => Ok((own, pid, pidfd)),
        Cloned::Child => {
            drop(own);
            child::run(Plan {
                config,
                payload: blueprint.payload,
                facts: blueprint.facts,
                tree: &tree,
                mount_points: blueprint.mount_points,
                binds: &binds,
                resolv_conf,
                streams: blueprint.streams.map(Streams::container_ends),
                channel: theirs,
            })
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

/// Without the rule a container that is root could make the host's disks for itself;
/// where the kernel has no such rules, the user is told.
fn limit_devices(cgroup: &Cgroup, binds: &[BindMount]) {
    let shown: Vec<Device> = binds
        .iter()
        .filter_map(|bind| Device::of(&bind.mount).ok().flatten())
        .collect();
    if let Err(error) = device_policy::apply(cgroup.scope(), &shown) {
        tell!(
            "the container may use every device of the host ({error}): drop CAP_MKNOD if you don't trust it"
        );
    }
}

fn bind_mount(bind: &Bind) -> Result<BindMount, StepError> {
    let copy = || -> io::Result<BindMount> {
        let mount = copy_of(&bind.source, bind.recursive)?;
        set_propagation(&mount, libc::MS_SLAVE)?;
        if bind.read_only {
            set_read_only(&mount, true)?;
        }
        let mode = rustix::fs::fstat(&mount)?.st_mode;
        let kind = match rustix::fs::FileType::from_raw_mode(mode) {
            rustix::fs::FileType::Directory => Kind::Directory,
            _ => Kind::File,
        };
        Ok(BindMount {
            mount,
            target: bind.target.to_string_lossy().into_owned(),
            kind,
        })
    };
    copy().doing(|| format!("show {} in the container", bind.source.display()))
}
