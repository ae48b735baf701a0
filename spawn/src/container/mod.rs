//! One run of a container: made, connected, looked after, cleared away.

mod clone;
mod network;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Pid;

use crate::cgroup::{Cgroup, CgroupError};
use crate::channel::{Channel, Report};
use crate::config::{Config, NetworkMode};
use crate::console::Streams;
use crate::error::{Doing, StepError, one_line};
use crate::link::{self, LinkError, LinkInfo};
use crate::mounts::run_host::HostFacts;
use crate::netd_client::Connection;
use crate::netlink::Netlink;
use crate::networkd::KeepOff;
use crate::payload::Payload;
use crate::ready;
use crate::tell;
use crate::tree::Tree;
use crate::zone::{self, ZoneError};
use registry::mount_points::MountPoints;

/// How long the process inside may take to say why it has ended.
const ITS_OWN_WORD: Duration = Duration::from_millis(20);

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
    /// The zone's bridge could not be had.
    #[error(transparent)]
    Zone(#[from] ZoneError),
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
    /// Whether somebody waits for the name to resolve.
    awaits_name: bool,
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
        let mut joining = None;
        let bridge = match &config.network {
            NetworkMode::Bridge(name) => Some(link::find_bridge(&mut netlink, name)?),
            NetworkMode::Zone(zone) => {
                let lock = registry::zone::join(Path::new(registry::RUNTIME_DIR));
                joining = Some(lock.doing(|| format!("join the zone {zone}"))?);
                Some(zone::find_or_make(&mut netlink, zone)?)
            }
            _ => None,
        };
        let (cgroup, (channel, pid, leader)) = clone::clone_into_cgroup(blueprint)?;
        let mut container = Self {
            blueprint,
            pid,
            leader,
            cgroup,
            link: None,
            keep_off: None,
            bridge,
            configured: false,
            awaits_name: ready::is_awaited(),
            netd: None,
            notify: None,
            console: None,
            _kmsg: None,
        };
        let connected = container.connect(&mut netlink, &channel);
        drop(joining);
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

    /// Whether its first process has ended.
    fn has_ended(&self) -> bool {
        is_readable(&self.leader, Duration::ZERO)
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
        match (&netd, &self.blueprint.config.network) {
            (Some(netd), _) => netd.goodbye(),
            // Else netd does it, as this takes some time.
            (None, NetworkMode::Zone(zone)) => {
                if let Err(error) = zone::remove_if_empty(zone) {
                    warn(&error);
                }
            }
            (None, _) => {}
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

    /// Hears what the process inside says, until its program was started.
    fn finish(
        &mut self,
        channel: Channel,
        connected: Result<(), StartError>,
    ) -> Result<(), StartError> {
        if let Err(error) = connected {
            // What failed here may have failed because it had ended before.
            if is_readable(&channel, ITS_OWN_WORD)
                && let Ok(Some(Report::Failed(why))) = channel.next_report()
            {
                return Err(StartError::Inside(why));
            }
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

/// Whether there is something to read within a time.
fn is_readable(fd: impl AsFd, within: Duration) -> bool {
    let timeout = Timespec::try_from(within).ok();
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], timeout.as_ref()).is_ok_and(|ready| ready > 0)
}
