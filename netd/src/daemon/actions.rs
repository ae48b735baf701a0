//! Performing what is planned for a link, and what becomes of what fails.

use ipnetwork::IpNetwork;
use tokio::time::Instant;

use super::Daemon;
use crate::log;
use crate::plan::Action;
use crate::rtnl::{Link, Request, RtnlError};
use crate::subnets::Owner;
use crate::sysctl::{self, Protocol, SysctlError};

/// How often what may pass is tried before it is done without.
const ATTEMPTS: u32 = 3;

/// A change of a link failed.
#[derive(Debug, thiserror::Error)]
enum ActionError {
    #[error(transparent)]
    Link(#[from] RtnlError),
    #[error(transparent)]
    Guard(#[from] SysctlError),
}

/// What came of reconciling a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All is done that can be.
    Done,
    /// Something failed, and is to be tried again.
    Failed,
    /// Something is put off, so as not to wrestle with another program.
    Later,
}

impl Outcome {
    pub fn of(well: bool) -> Self {
        if well { Self::Done } else { Self::Failed }
    }
}

/// What came of a list of changes.
pub(super) struct Performed {
    /// Whether something is to be tried again.
    pub again: bool,
    /// What was not done.
    pub failed: Vec<Action>,
    /// Whether the host is protected from the link as well as it can be.
    pub guarded: bool,
}

impl ActionError {
    /// Whether what it is about is gone, of which an event tells.
    fn is_gone(&self) -> bool {
        match self {
            Self::Link(error) => error.is_gone(),
            Self::Guard(error) => matches!(error, SysctlError::Missing { .. }),
        }
    }

    /// Whether the same would come of it the next time: the host is without IPv6, its
    /// kernel parameters are read-only.
    fn is_lasting(&self) -> bool {
        let errno = match self {
            Self::Link(error) => error.errno(),
            Self::Guard(SysctlError::Write { source, .. }) => source.raw_os_error(),
            Self::Guard(_) => None,
        };
        matches!(
            errno,
            Some(
                libc::EPERM
                    | libc::EACCES
                    | libc::EROFS
                    | libc::EINVAL
                    | libc::EOPNOTSUPP
                    | libc::EAFNOSUPPORT
            )
        )
    }
}

impl Daemon {
    /// Performs what is planned for a link. What fails for good is done without from
    /// then on, so that the rest serves; what may pass is to be tried again.
    pub(super) fn perform_all(
        &mut self,
        link: &Link,
        owner: &Owner,
        actions: &[Action],
    ) -> Performed {
        let mut performed = Performed {
            again: false,
            failed: Vec::new(),
            guarded: true,
        };
        if actions.contains(&Action::Guard)
            && let Err(error) = self.guard(link, owner)
        {
            self.failed(link, owner, &Action::Guard, error.into(), &mut performed);
            if !performed.guarded {
                return performed;
            }
        }
        let requested = actions
            .iter()
            .filter_map(|action| Some((action, request_of(action)?)));
        let (requested, requests): (Vec<&Action>, Vec<Request>) = requested.unzip();
        for (place, error) in self.requests.carry_out(link.index, &requests) {
            if let Some(action) = requested.get(place)
                && !self.is_set_anew(link.index, action, &error)
            {
                self.failed(link, owner, action, error.into(), &mut performed);
            }
        }
        performed
    }

    /// Whether an address is set anew, with all that belongs to it: a route is refused where
    /// the kernel's table of its own addresses lacks that.
    fn is_set_anew(&mut self, index: u32, action: &Action, error: &RtnlError) -> bool {
        let Action::AddRoute(address @ IpNetwork::V4(_)) = action else {
            return false;
        };
        if error.errno() != Some(libc::EINVAL) {
            return false;
        }
        let requests = [
            Request::RemoveAddress(*address),
            Request::AddAddress(*address),
        ];
        let failed = self.requests.carry_out(index, &requests);
        // Somebody may have removed it by now.
        failed.iter().all(|(place, _)| *place == 0)
    }

    /// Sets a link's parameters; of one that had them they are set right.
    fn guard(&mut self, link: &Link, owner: &Owner) -> Result<(), SysctlError> {
        sysctl::bound_waiting(&link.name)?;
        let own = self.links.get(&link.index);
        if own.is_some_and(|own| own.confirmed || own.regains) {
            let corrected = sysctl::correct_link(&link.name)?;
            self.tell_corrected(owner, link, &corrected);
            return Ok(());
        }
        sysctl::guard(&link.name, Protocol::V6, link.held)?;
        if link.held.all_ipv4() || self.guard_ipv4(link.index) {
            return Ok(());
        }
        sysctl::guard(&link.name, Protocol::V4, link.held)
    }

    /// Sets a link's IPv4 parameters by rtnetlink. Whether that worked.
    fn guard_ipv4(&mut self, index: u32) -> bool {
        let values = sysctl::ipv4_guard().map(|(name, value)| Some((name, value.parse().ok()?)));
        let values: Option<Vec<(&'static str, u32)>> = values.collect();
        let Some(values) = values else { return false };
        let request = Request::SetIpv4Parameters(values);
        self.requests.carry_out(index, &[request]).is_empty()
    }

    fn failed(
        &mut self,
        link: &Link,
        owner: &Owner,
        action: &Action,
        error: ActionError,
        performed: &mut Performed,
    ) {
        // What a guard would protect from comes once the link is up.
        performed.guarded &= *action != Action::Guard;
        performed.failed.push(action.clone());
        if error.is_gone() {
            return;
        }
        let failures = self.retries.failures(link.index);
        if matches!(action, Action::AddRoute(_) | Action::Join(_)) {
            // Most often the kernel has made the route by itself, or somebody has taken
            // the address or the bridge, and that is told a moment later.
            performed.again = true;
            if failures == ATTEMPTS {
                tracing::warn!(of = %owner, link = %link.name, "{}", log::chain(&error));
            }
            return;
        }
        let tried = failures >= ATTEMPTS;
        if *action != Action::SetUp && (tried || error.is_lasting()) {
            self.do_without(link.index, owner, action, &error);
            performed.guarded = true;
            return;
        }
        tracing::warn!(of = %owner, "{}: tried again soon", log::chain(&error));
        performed.again = true;
    }

    fn do_without(&mut self, index: u32, owner: &Owner, action: &Action, error: &ActionError) {
        let why = log::chain(error);
        match action {
            Action::AddAddress(address) if address.is_ipv6() => {
                tracing::warn!(of = %owner, "{why}: it gets no IPv6 address");
            }
            Action::AddAddress(_) => {
                tracing::error!(of = %owner, "{why}: it gets no IPv4 address");
            }
            _ => tracing::error!(of = %owner, "{why}: done without"),
        }
        if let Some(own) = self.links.get_mut(&index) {
            own.done_without.push(action.clone());
            // What its owner has is another thing now.
            own.confirmed = false;
        }
        self.dirty.insert(index);
    }

    /// Has a link tried again that is not as it is to be.
    pub(super) fn note_outcome(&mut self, index: u32, outcome: Outcome) {
        match outcome {
            Outcome::Done => self.retries.forget(index),
            Outcome::Failed => {
                self.retries.failed(index, Instant::now());
            }
            Outcome::Later => self.retries.put_off(index, Instant::now()),
        }
    }

    /// Has the host forward the IPv6 packets of a link that is up. Apart from the guard, as
    /// the writer of this parameter goes round in circles while others change links.
    pub(super) fn let_forward(&self, link: &Link, owner: &Owner) {
        if let Err(error) = sysctl::let_forward(&link.name, link.held) {
            tracing::error!(of = %owner, "its IPv6 packets may not be forwarded: {}", log::chain(&error));
        }
    }
}

/// What is asked of the kernel for a change; nothing for what is a kernel parameter.
fn request_of(action: &Action) -> Option<Request> {
    match action {
        Action::Guard => None,
        Action::AddAddress(address) => Some(Request::AddAddress(*address)),
        Action::RemoveAddress(address) => Some(Request::RemoveAddress(*address)),
        Action::SetMtu(mtu) => Some(Request::SetMtu(*mtu)),
        Action::SetUp => Some(Request::SetUp),
        Action::AddRoute(address) => Some(Request::AddRoute(*address)),
        Action::Join(bridge) => Some(Request::Join(*bridge)),
    }
}
