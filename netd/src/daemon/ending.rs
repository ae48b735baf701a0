//! Machines as they end, and what is cleared away behind them.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use registry::cgroup2::{self, Group};
use registry::{LeaderId, MachineName};
use tokio::sync::oneshot;

use super::registration::Entry;
use super::{Daemon, Input, tell_later};
use crate::log::{self, Pace};
use crate::machines::{Attachment, Machine};

/// How often an ended machine's cgroup is tried to be removed.
const REMOVALS: u32 = 100;
/// How long to wait between that: as long as processes need to end, later as long as
/// a host in need takes to have descriptors again.
const REMOVAL_PAUSES: [Duration; 2] = [Duration::from_millis(20), Duration::from_secs(1)];

/// A machine that loses its link because it ends has ended after this.
const ENDS_WITHIN: Duration = Duration::from_millis(500);
/// How many cgroups that cannot be removed are remembered.
const TOLD_MAX: usize = 256;

static NOT_REMOVED: Pace = Pace::new();

/// The cgroups of which it was said lately that they cannot be removed, by their ids: a crash
/// is noticed in several ways, each of which ends what is left.
#[derive(Clone, Debug, Default)]
pub(super) struct Told(Rc<RefCell<VecDeque<u64>>>);

impl Told {
    /// Whether it was not said yet of this one, and notes that it is.
    fn is_new(&self, id: u64) -> bool {
        let mut told = self.0.borrow_mut();
        if told.contains(&id) {
            return false;
        }
        told.truncate(TOLD_MAX - 1);
        told.push_front(id);
        true
    }
}

impl Daemon {
    /// A link is gone, by whomever: no name leads to it any more.
    pub(super) fn link_is_gone(&mut self, index: u32) {
        let Some((name, entry)) = self.attached_by(index).filter(|(_, entry)| entry.runs()) else {
            return;
        };
        // Most often its leader has ended just now, and that is said a moment later.
        if matches!(entry.machine.leader.reopen(), Ok(None)) {
            return;
        }
        let (before, leader) = (entry.machine.ips(), entry.machine.leader.clone());
        tell_later(&self.sender, ENDS_WITHIN, Input::Unlinked(name, leader));
        let is_published = entry.is_published();
        if let Some(entry) = self.machines.get_mut(&name) {
            entry.machine.addresses.clear();
        }
        self.to_publish.extend(self.claims.release(&name));
        if is_published {
            self.publish_after(&name, &before);
        }
    }

    /// Says so if a machine runs on without its link.
    pub(super) fn tell_unlinked(&self, name: MachineName, leader: &LeaderId) {
        let entry = self.machines.get(&name);
        let runs_on = |entry: &Entry| entry.runs() && !entry.unsupervised;
        if entry.is_some_and(|entry| runs_on(entry) && entry.machine.leader == *leader) {
            tracing::warn!(
                machine = %name,
                "its link was deleted: it cannot be reached until it is started anew"
            );
        }
    }

    /// The payload's first process has ended: the machine is no more.
    pub(super) fn leader_ended(&mut self, name: MachineName, leader: &LeaderId) {
        let Some(entry) = self.machines.get_mut(&name) else {
            return;
        };
        if entry.machine.leader != *leader {
            return;
        }
        entry.ended = true;
        // Its socket from inside would keep the namespace alive.
        (entry.following, entry.netlink) = (None, None);
        self.to_publish.extend(self.claims.release(&name));
        self.withdraw(&name);
        if self
            .machines
            .get(&name)
            .is_some_and(|entry| entry.unsupervised)
        {
            self.forget(name);
        }
    }

    /// The supervisor has ended. Its goodbye may still be under way; the end of its
    /// connection is behind that.
    pub(super) async fn supervisor_ended(&mut self, name: MachineName, supervisor: &LeaderId) {
        let Some(entry) = self.machines.get_mut(&name) else {
            return;
        };
        if entry.machine.supervisor != *supervisor {
            return;
        }
        entry.unsupervised = true;
        if entry.connection.is_none() {
            self.crashed(name).await;
        }
    }

    /// The supervisor has ended without a goodbye: what it left behind is ended.
    pub(super) async fn crashed(&mut self, name: MachineName) {
        let ended = self.machines.get(&name).is_some_and(|entry| entry.ended);
        tracing::warn!(machine = %name, "its supervisor has crashed: the machine is ended");
        self.abandon(name).await;
        // Its link was told by its registration.
        self.clear_left_behind(name, &HashMap::new());
        if ended {
            self.forget(name);
        }
    }

    /// Ends all of a machine that nobody supervises.
    pub(super) async fn abandon(&mut self, name: MachineName) {
        let Some(entry) = self.machines.get_mut(&name) else {
            return;
        };
        (entry.connection, entry.to_supervisor) = (None, None);
        let (cgroup, id) = (entry.machine.cgroup.clone(), entry.machine.cgroup_id);
        let link = entry.machine.attachment.link();
        let directory = self
            .cgroups
            .as_ref()
            .and_then(|cgroups| cgroups.directory_of(&cgroup));
        if let Some(directory) = directory {
            // Nobody waits for it.
            drop(self.end_processes(&name, directory, id));
        }
        if let Some(index) = link {
            self.retire_link(index);
        }
    }

    /// Kills what is in a machine's cgroup, and removes it once that has ended. The answer
    /// tells that nothing lives in it any more, whether or not it can be removed: what
    /// was in it may have given the cgroups below to another user. A cgroup of the same
    /// name that is a later machine's is left alone.
    pub(super) fn end_processes(
        &self,
        name: &MachineName,
        directory: PathBuf,
        id: u64,
    ) -> oneshot::Receiver<()> {
        let (ended, answer) = oneshot::channel();
        if matches!(end_cgroup(&directory, id), Ok(Left::Nothing)) {
            let _ = ended.send(());
            return answer;
        }
        // The mount through which it is reached.
        let (name, cgroups) = (*name, self.cgroups.clone());
        let told = self.unremoved.clone();
        tokio::task::spawn_local(async move {
            let why = until_ended(&directory, id, ended).await.err();
            if let Some(why) = why.filter(|_| told.is_new(id)) {
                NOT_REMOVED.say(|held_back| {
                    tracing::warn!(
                        machine = %name,
                        "{} cannot be removed; the next start of its name removes it: {why}{held_back}",
                        directory.display()
                    );
                });
            }
            drop(cgroups);
        });
        answer
    }

    /// What tells a machine's cgroup from a later one of the same name.
    pub(super) fn cgroup_id(&self, machine: &Machine) -> u64 {
        let Some(cgroups) = self.cgroups.as_ref().filter(|_| !machine.cgroup.is_empty()) else {
            return 0;
        };
        let id = cgroups.open(&machine.cgroup).and_then(|group| group.id());
        id.unwrap_or_else(|error| {
            tracing::warn!(
                machine = %machine.name,
                "cannot look at its cgroup, so that nothing is ended if its supervisor crashes: \
                 {error}"
            );
            0
        })
    }

    fn withdraw(&mut self, name: &MachineName) {
        let Some(entry) = self.machines.get(name) else {
            return;
        };
        if let Err(error) = self.registry.withdraw(name, &entry.machine.ips()) {
            tracing::error!(machine = %name, "{}", log::chain(&error));
        }
    }

    /// Nothing of a machine is left.
    pub(super) fn forget(&mut self, name: MachineName) {
        self.withdraw(&name);
        self.to_publish.extend(self.claims.release(&name));
        let Some(entry) = self.remove(&name) else {
            return;
        };
        if let Attachment::Zone { bridge, .. } = entry.machine.attachment {
            self.leave_zone(&name, bridge);
        }
        if entry.machine.ephemeral {
            self.store.release(&name.into());
        } else if matches!(entry.machine.attachment, Attachment::Veth(_)) {
            // The 90 days for which it is kept begin now.
            self.keep_subnets(&name.into());
        }
        tracing::info!(machine = %name, "ended");
    }
}

/// What is left of a cgroup.
enum Left {
    /// It is gone.
    Nothing,
    /// Cgroups in which nothing lives, and why they cannot be removed.
    Empty(io::Error),
    /// Processes that are ending.
    Processes,
}

/// Tries until a cgroup is gone, or it makes no sense to.
async fn until_ended(directory: &Path, id: u64, ended: oneshot::Sender<()>) -> io::Result<()> {
    let mut ended = Some(ended);
    let mut last = Ok(());
    for attempt in 0..REMOVALS {
        let [short, long] = REMOVAL_PAUSES;
        tokio::time::sleep(if attempt < REMOVALS / 2 { short } else { long }).await;
        let left = end_cgroup(directory, id);
        if matches!(left, Ok(Left::Nothing | Left::Empty(_)))
            && let Some(ended) = ended.take()
        {
            let _ = ended.send(());
        }
        last = match left {
            Ok(Left::Nothing) => return Ok(()),
            Ok(Left::Empty(why)) if why.kind() == io::ErrorKind::PermissionDenied => {
                return Err(why);
            }
            Ok(Left::Empty(why)) | Err(why) => Err(why),
            Ok(Left::Processes) => Err(io::Error::other("it is in use")),
        };
    }
    last
}

/// Kills what is in the cgroup `id` and removes it.
fn end_cgroup(directory: &Path, id: u64) -> io::Result<Left> {
    let group = match Group::open(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Left::Nothing),
        group => group?,
    };
    if group.id()? != id {
        return Ok(Left::Nothing);
    }
    group.kill()?;
    let Err(why) = cgroup2::remove_tree(directory) else {
        return Ok(Left::Nothing);
    };
    match group.is_populated() {
        Ok(true) => Ok(Left::Processes),
        Ok(false) => Ok(Left::Empty(why)),
        // It went at this moment.
        Err(_) => Err(why),
    }
}
