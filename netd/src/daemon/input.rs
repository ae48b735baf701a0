//! What the daemon's other tasks tell it.

use std::time::Duration;

use registry::{LeaderId, MachineName};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::rtnl::LinkAddress;
use crate::supervisors::SupervisorEvent;

/// What the daemon is told by its other tasks.
#[derive(Debug)]
pub enum Input {
    /// Something came from a supervisor.
    Supervisor(SupervisorEvent),
    /// The leader of a machine has ended.
    LeaderEnded(MachineName, LeaderId),
    /// The supervisor of a machine has ended.
    SupervisorEnded(MachineName, LeaderId),
    /// A container on a bridge has these addresses.
    Addresses(MachineName, LeaderId, Vec<LinkAddress>),
    /// The supervisors of these names have ended without giving them back.
    NamesLeft(Vec<MachineName>),
    /// The link of a machine, which had this leader, went away some time ago.
    Unlinked(MachineName, LeaderId),
    /// The link with this index, of a machine that ended, was to be freed by now.
    DeadLinkStays(u32),
    /// A machine's record could not be written, some time ago.
    PublishAgain(MachineName),
    /// The host's name servers may have changed.
    DnsChanged,
}

impl From<SupervisorEvent> for Input {
    fn from(event: SupervisorEvent) -> Self {
        Self::Supervisor(event)
    }
}

/// Tells the daemon something after a while, unless it has ended by then.
pub(super) fn tell_later(
    daemon: &mpsc::Sender<Input>,
    after: Duration,
    input: Input,
) -> AbortHandle {
    let daemon = daemon.clone();
    let telling = tokio::task::spawn_local(async move {
        tokio::time::sleep(after).await;
        let _ = daemon.send(input).await;
    });
    telling.abort_handle()
}
