//! The firewall table: restored when somebody changed it, and rid of what ended links left
//! in it.

use std::time::Duration;

use tokio::time::Instant;

use super::at;
use crate::log::{self, Pace};
use crate::nft::{Event, GoneLink, Monitor, NftError, State, Table};

/// How long after a failure it is tried again to restore the table.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How long after a link's end what it left is removed, together with what others left
/// that ended meanwhile.
const FORGET_AFTER: Duration = Duration::from_millis(500);
/// Lines about a table that cannot be read or restored.
static UNHEALED: Pace = Pace::new();

/// The table and what becomes of it.
pub(super) struct Firewall {
    monitor: Monitor,
    table: Table,
    /// When the table is looked at without an event; until then there is nothing to hear
    /// of it.
    heal_at: Option<Instant>,
    gone: Vec<GoneLink>,
    /// When what these have left is removed.
    forget_at: Option<Instant>,
}

impl Firewall {
    pub fn new(monitor: Monitor, table: Table) -> Self {
        Self {
            monitor,
            table,
            heal_at: None,
            gone: Vec::new(),
            forget_at: None,
        }
    }

    /// A link is no more.
    pub fn link_is_gone(&mut self, link: GoneLink) {
        self.gone.push(link);
        let after = Instant::now() + FORGET_AFTER;
        self.forget_at.get_or_insert(after);
    }

    /// Waits until something is due, and does it. Nothing is lost if the future is dropped.
    pub async fn look_after(&mut self) {
        tokio::select! {
            event = self.monitor.next(), if self.heal_at.is_none() => self.take(event),
            () = at(self.heal_at) => self.heal(None),
            () = at(self.forget_at) => self.forget(),
        }
    }

    fn take(&mut self, event: Result<Event, NftError>) {
        let by = match event {
            Ok(Event::Table { by, .. }) if by.port == self.table.port() => return,
            Ok(Event::Table { by, .. }) => by.name,
            Ok(Event::Overrun) => None,
            Err(error) => {
                tracing::error!("{}", log::chain(&error));
                self.heal_at = Some(Instant::now() + TRY_AGAIN_AFTER);
                return;
            }
        };
        self.heal(by.as_deref());
    }

    pub fn heal(&mut self, by: Option<&str>) {
        self.heal_at = None;
        match self.table.heal() {
            Ok(State::Intact) => {}
            Ok(state) => tracing::warn!(
                "table inet rspawn was {state:?} (by {}): restored",
                by.unwrap_or("an unknown program")
            ),
            Err(error) => {
                UNHEALED.say(|more| tracing::error!("{}{more}", log::chain(&error)));
                self.heal_at = Some(Instant::now() + TRY_AGAIN_AFTER);
            }
        }
    }

    fn forget(&mut self) {
        self.forget_at = None;
        let gone = std::mem::take(&mut self.gone);
        // A table that is not as it was is made anew, and holds nothing of them then.
        if let Err(error) = self.table.forget(&gone) {
            tracing::debug!("{}", log::chain(&error));
        }
    }
}
