//! The firewall tables: restored when somebody changed them, told who is in zones, and rid of
//! what ended links left in them.

use std::time::Duration;

use tokio::time::Instant;

use super::at;
use crate::log::{self, Pace};
use crate::nft::{Changes, Event, GoneLink, Monitor, NftError, State, Station, Table};

/// How long after a failure it is tried again to restore the table.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How long after a link's end what it left is removed, together with what others left
/// that ended meanwhile.
const FORGET_AFTER: Duration = Duration::from_millis(500);
/// Lines about a table that cannot be read or restored.
static UNHEALED: Pace = Pace::new();

/// The tables and what becomes of them.
pub(super) struct Firewall {
    monitor: Monitor,
    table: Table,
    /// That of the bridge family, where the kernel has it.
    of_bridges: Option<Table>,
    /// Who came to zones and went, and is not in the tables yet.
    changes: Changes,
    /// When the tables are looked at without an event; until then there is nothing to hear
    /// of it.
    heal_at: Option<Instant>,
    gone: Vec<GoneLink>,
    /// When what these have left is removed.
    forget_at: Option<Instant>,
}

impl Firewall {
    /// Puts the tables in place, which hand DHCP requests to `dhcp_log`.
    ///
    /// # Errors
    /// [`NftError`], where the host's table cannot be had. That of bridges is done without.
    pub fn install(monitor: Monitor, dhcp_log: Option<u16>) -> Result<Self, NftError> {
        let of_bridges = Table::install_for_bridges().map_err(|error| {
            tracing::warn!(
                "{}: members of a zone are not protected from one another (the kernel needs \
                 nf_tables for bridges, CONFIG_NF_TABLES_BRIDGE)",
                log::chain(&error)
            );
        });
        let table = Table::install(dhcp_log)?;
        Ok(Self::new(monitor, table, of_bridges.ok()))
    }

    fn new(monitor: Monitor, table: Table, of_bridges: Option<Table>) -> Self {
        Self {
            monitor,
            table,
            of_bridges,
            changes: Changes::default(),
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
            Ok(Event::Table { by, .. }) if self.tables().any(|own| own.port() == by.port) => {
                return;
            }
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
        let healed: Vec<_> = self
            .tables_mut()
            .map(|table| (table.family(), table.heal()))
            .collect();
        for (family, healed) in healed {
            match healed {
                Ok(State::Intact) => {}
                Ok(state) => tracing::warn!(
                    "table {family} rspawn was {state:?} (by {}): restored",
                    by.unwrap_or("an unknown program")
                ),
                Err(error) => self.failed(&error),
            }
        }
    }

    fn tables(&self) -> impl Iterator<Item = &Table> {
        [&self.table].into_iter().chain(&self.of_bridges)
    }

    fn tables_mut(&mut self) -> impl Iterator<Item = &mut Table> {
        [&mut self.table].into_iter().chain(&mut self.of_bridges)
    }

    fn failed(&mut self, error: &NftError) {
        UNHEALED.say(|more| tracing::error!("{}{more}", log::chain(error)));
        self.heal_at = Some(Instant::now() + TRY_AGAIN_AFTER);
    }

    /// Has somebody in a zone's place from the next [`Firewall::tell`] on, instead of who was
    /// there before.
    pub fn replace_station(&mut self, before: Option<Station>, now: Option<Station>) {
        if before != now {
            self.changes.gone.extend(before);
        }
        // Also one that is there: a table may have it from the netd before this one alone.
        self.changes.come.extend(now);
    }

    /// Has the tables know who came and who went.
    pub fn tell(&mut self) {
        if self.changes.is_empty() {
            return;
        }
        let changes = std::mem::take(&mut self.changes);
        let told: Vec<_> = self
            .tables_mut()
            .map(|table| table.change_stations(&changes))
            .collect();
        told.into_iter()
            .filter_map(Result::err)
            .for_each(|error| self.failed(&error));
    }

    /// What the netd before this one knew of zones is known by now, or over.
    pub fn all_are_known(&mut self) {
        let removed: Vec<_> = self.tables_mut().map(Table::remove_unconfirmed).collect();
        removed
            .into_iter()
            .filter_map(Result::err)
            .for_each(|error| self.failed(&error));
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
