//! The table in the kernel: put in place, checked, healed, removed.

use std::collections::BTreeSet;

use ipnetwork::Ipv4Network;
use netlink_packet_netfilter::nftables::TableFlags;
use registry::LINK_GROUP;

use super::batch::Batch;
use super::error::NftError;
use super::readback::{self, Found, Head};
use super::rules::{self, INBOUND_OPEN, Layout};
use super::sets::Ours;
use super::socket::{Family, NftSocket};
use super::stations::{self, Changes};

/// Name of the table, in whichever family.
pub const TABLE_NAME: &str = "rspawn";

const INSTALLING: &str = "writing the firewall table";
const ADOPTING: &str = "taking over the firewall table";
const OPENING: &str = "changing which links are open to the outside";
const CHANGING: &str = "changing who is in a zone";
const FORGETTING: &str = "removing what packets of ended links left in the firewall table";
const REMOVING: &str = "removing the firewall table";

/// How the table is guarded against other programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// Only we can change it, `nft flush ruleset` of others passes it by, and it stays
    /// when we end (Linux 6.9 and later).
    Owned,
    /// Others can change it; [`super::Monitor`] tells, [`Table::heal`] repairs.
    Watched,
}

impl Protection {
    fn flags(self) -> Option<TableFlags> {
        match self {
            Protection::Owned => Some(TableFlags::Owner | TableFlags::Persisent),
            Protection::Watched => None,
        }
    }
}

/// What stands in the kernel under the table's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The table, as it should be.
    Intact,
    /// Nothing.
    Missing,
    /// A table that is not as it should be: rules, sets, elements or flags differ.
    Altered,
}

/// A link that is no more, whose index and addresses packets may have left in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GoneLink {
    /// Its index.
    pub index: u32,
    /// The subnet that it had.
    pub subnet: Option<Ipv4Network>,
}

impl GoneLink {
    /// Its hosts as elements; none of a wide subnet, of which most were never there.
    pub(super) fn hosts(&self) -> impl Iterator<Item = Vec<u8>> + use<> {
        const HOSTS_MAX: u32 = 256;
        let index = self.index;
        let narrow = self.subnet.filter(|subnet| subnet.size() <= HOSTS_MAX);
        let hosts = narrow.into_iter().flat_map(|subnet| subnet.iter());
        hosts.map(move |address| rules::host_element(index, address))
    }
}

/// Our table, and the socket that owns it. Dropping it leaves the table in place.
#[derive(Debug)]
pub struct Table {
    socket: NftSocket,
    family: Family,
    protection: Protection,
    /// Where DHCP requests are logged to.
    dhcp_log: Option<u16>,
    /// The elements that are ours to say.
    ours: Ours,
    /// Those of them that an earlier run left and nobody has confirmed.
    unconfirmed: Ours,
    /// Whether the kernel can remove what may or may not be there.
    can_destroy: bool,
    /// Generation of the ruleset at which the table was last seen intact.
    intact_at: Option<u32>,
}

impl Table {
    /// Puts the table in place in the network namespace of the calling thread, in one
    /// transaction, with the best protection that this kernel has. A table that is
    /// already as it should be, left by an earlier run, is taken over untouched.
    ///
    /// DHCP requests of our links are logged to the group `dhcp_log` of nfnetlink_log, if
    /// one is given. No link is open to the outside at first, see
    /// [`Table::set_inbound_open`].
    ///
    /// # Errors
    /// [`NftError::Owned`] if another living process owns the table;
    /// [`NftError::Refused`] without CAP_NET_ADMIN, or if the kernel lacks what a rule needs.
    pub fn install(dhcp_log: Option<u16>) -> Result<Table, NftError> {
        best(|protection| Table::install_as(protection, dhcp_log))
    }

    /// As [`Table::install`], the table for what passes the bridges of zones.
    ///
    /// # Errors
    /// As [`Table::install`]; where the kernel has no nf_tables for bridges
    /// (`CONFIG_NF_TABLES_BRIDGE`), [`NftError::Refused`].
    pub fn install_for_bridges() -> Result<Table, NftError> {
        best(|protection| Table::install_table(Family::Bridge, protection, None))
    }

    /// Like [`Table::install`], with this protection and no other.
    ///
    /// # Errors
    /// As [`Table::install`], and [`NftError::Refused`] with `EOPNOTSUPP` or `EINVAL` where
    /// the kernel cannot protect a table.
    pub fn install_as(protection: Protection, dhcp_log: Option<u16>) -> Result<Table, NftError> {
        Table::install_table(Family::Inet, protection, dhcp_log)
    }

    fn install_table(
        family: Family,
        protection: Protection,
        dhcp_log: Option<u16>,
    ) -> Result<Table, NftError> {
        let mut table = Table {
            socket: NftSocket::open(family)?,
            family,
            protection,
            dhcp_log,
            ours: Ours::new(),
            unconfirmed: Ours::new(),
            can_destroy: true,
            intact_at: None,
        };
        // Who was there is there until somebody says that he is not: meanwhile nothing of
        // theirs is held back.
        for set in stations::sets_of(family) {
            let found = readback::elements(&mut table.socket, set)?.unwrap_or_default();
            table.ours.insert(set, found);
        }
        table.unconfirmed = table.ours.clone();
        table.heal()?;
        Ok(table)
    }

    /// What the table filters.
    #[must_use]
    pub fn family(&self) -> Family {
        self.family
    }

    /// How the table is guarded.
    pub fn protection(&self) -> Protection {
        self.protection
    }

    /// Netlink port of the socket that writes the table: changes whose
    /// [`super::Author::port`] is this one are our own.
    pub fn port(&self) -> u32 {
        self.socket.port()
    }

    /// Tells whether the table is as it should be. Costs one question if nobody changed
    /// any rule of the host since the last time, about a dozen otherwise. Writes nothing.
    ///
    /// # Errors
    /// [`NftError::Owned`] if another process owns the table by now; [`NftError::Restless`]
    /// if the rules of the host change all the time.
    pub fn verify(&mut self) -> Result<State, NftError> {
        if self.intact_at == Some(readback::generation(&mut self.socket)?) {
            return Ok(State::Intact);
        }
        let found = self.read()?;
        Ok(self.judge(&found))
    }

    /// Makes the table as it should be, in one transaction, and says how it was before.
    /// Writes nothing if it was intact.
    ///
    /// # Errors
    /// As [`Table::verify`], and [`NftError::Refused`].
    pub fn heal(&mut self) -> Result<State, NftError> {
        if self.intact_at == Some(readback::generation(&mut self.socket)?) {
            return Ok(State::Intact);
        }
        let found = self.read()?;
        let state = self.judge(&found);
        if state == State::Intact {
            return Ok(state);
        }
        match (self.adoptable(&found), self.protection.flags()) {
            (true, Some(flags)) => self.socket.transact(ADOPTING, Batch::adopt(flags))?,
            (_, flags) => {
                let layout = self.layout();
                self.socket
                    .transact(INSTALLING, Batch::rebuild(&layout, flags))?;
            }
        }
        Ok(state)
    }

    /// Sets which links let new flows from outside in (`Inbound=yes`), by interface index.
    /// An index that is gone does no harm, as the kernel does not use it again soon; it is
    /// to be left out at the next call. Writes only the difference.
    ///
    /// # Errors
    /// As [`Table::heal`].
    pub fn set_inbound_open(&mut self, links: &BTreeSet<u32>) -> Result<(), NftError> {
        let wanted = links.iter().copied().map(rules::link_element).collect();
        let before = self.ours.get(INBOUND_OPEN).cloned().unwrap_or_default();
        let gone = Ours::from([(INBOUND_OPEN, before)]);
        self.change(OPENING, &gone, Ours::from([(INBOUND_OPEN, wanted)]))
    }

    /// Notes who came to zones and who went. Writes only the difference, in one transaction.
    ///
    /// # Errors
    /// As [`Table::heal`], by which what failed is done.
    pub fn change_stations(&mut self, changes: &Changes) -> Result<(), NftError> {
        let gone = stations::elements_of(self.family, &changes.gone);
        let come = stations::elements_of(self.family, &changes.come);
        for (set, elements) in &come {
            if let Some(unconfirmed) = self.unconfirmed.get_mut(set) {
                unconfirmed.retain(|element| !elements.contains(element));
            }
        }
        self.change(CHANGING, &gone, come)
    }

    /// Removes those that an earlier run left and that did not come since.
    ///
    /// # Errors
    /// As [`Table::change_stations`].
    pub fn remove_unconfirmed(&mut self) -> Result<(), NftError> {
        let gone = std::mem::take(&mut self.unconfirmed);
        self.change(CHANGING, &gone, Ours::new())
    }

    /// Takes away of our elements those that are `gone` and have not `come` too.
    fn change(&mut self, doing: &'static str, gone: &Ours, come: Ours) -> Result<(), NftError> {
        let (mut less, mut more) = (Ours::new(), Ours::new());
        for (set, elements) in gone {
            let have = self.ours.entry(set).or_default();
            let stays = |element: &Vec<u8>| come.get(set).is_some_and(|new| new.contains(element));
            let leaving = elements.iter().filter(|element| !stays(element));
            let leaving: BTreeSet<_> = leaving.filter(|e| have.remove(*e)).cloned().collect();
            less.insert(set, leaving);
        }
        for (set, elements) in come {
            let have = self.ours.entry(set).or_default();
            let new = elements.into_iter().filter(|e| have.insert(e.clone()));
            more.insert(set, new.collect());
        }
        let batch = Batch::change(&less, &more);
        if batch.is_empty() {
            return Ok(());
        }
        match self.transact_quietly(doing, batch) {
            // The table or the set is not what we left: then the whole of it is due.
            Err(error) if matches!(error.refusal(), Some(libc::ENOENT | libc::EEXIST)) => {
                self.heal().map(|_| ())
            }
            result => result,
        }
    }

    /// Carries out what leaves the table as intact as it was, as long as nobody else changes
    /// anything meanwhile.
    fn transact_quietly(&mut self, doing: &'static str, batch: Batch) -> Result<(), NftError> {
        let intact_at = self.intact_at.take();
        let before = readback::generation(&mut self.socket)?;
        self.socket.transact(doing, batch)?;
        let after = readback::generation(&mut self.socket)?;
        if intact_at == Some(before) && after == before.wrapping_add(1) {
            self.intact_at = Some(after);
        }
        Ok(())
    }

    /// Removes what packets of these links have left in the sets. Does nothing where the
    /// kernel is older than 6.3: there it ends by its time, two minutes at the most.
    ///
    /// # Errors
    /// [`NftError::Refused`], where the table is not what we left.
    pub fn forget(&mut self, gone: &[GoneLink]) -> Result<(), NftError> {
        if gone.is_empty() || !self.can_destroy {
            return Ok(());
        }
        // What packets add is not compared.
        match self.transact_quietly(FORGETTING, Batch::forget(gone)) {
            Err(error) if matches!(error.refusal(), Some(libc::EINVAL | libc::EOPNOTSUPP)) => {
                self.can_destroy = false;
                Ok(())
            }
            result => result,
        }
    }

    /// Removes the table from the kernel.
    ///
    /// # Errors
    /// As [`Table::verify`], and [`NftError::Refused`].
    pub fn remove(mut self) -> Result<(), NftError> {
        remove_by(&mut self.socket).map(|_| ())
    }

    fn layout(&self) -> Layout {
        match self.family {
            Family::Inet => Layout::new(LINK_GROUP, self.dhcp_log, &self.ours),
            Family::Bridge => Layout::of_bridges(&self.ours),
        }
    }

    fn read(&mut self) -> Result<Found, NftError> {
        let layout = self.layout();
        let found = readback::read(&mut self.socket, &layout)?;
        refuse_foreign_owner(found.head.as_ref(), self.socket.port())?;
        Ok(found)
    }

    fn judge(&mut self, found: &Found) -> State {
        let state = match found.head {
            None => State::Missing,
            Some(head) if found.as_wanted && self.guarded(&head) => State::Intact,
            Some(_) => State::Altered,
        };
        self.intact_at = (state == State::Intact).then_some(found.generation);
        state
    }

    /// The table has the flags that it should have. That a living owner is us was checked.
    fn guarded(&self, head: &Head) -> bool {
        head.flags == self.protection.flags().unwrap_or_default()
    }

    /// The table lacks nothing but an owner: its last one ended.
    fn adoptable(&self, found: &Found) -> bool {
        found.as_wanted
            && found
                .head
                .is_some_and(|head| head.flags == TableFlags::Persisent)
    }
}

fn best(install: impl Fn(Protection) -> Result<Table, NftError>) -> Result<Table, NftError> {
    match install(Protection::Owned) {
        // What kernels answer that know no such flags: 5.12 to 6.8, and before.
        Err(error) if matches!(error.refusal(), Some(libc::EOPNOTSUPP | libc::EINVAL)) => {
            tracing::debug!("this kernel's nf_tables cannot protect a table from others");
            install(Protection::Watched)
        }
        result => result,
    }
}

/// Removes the tables when no daemon runs, for uninstalling. Tells whether there was one.
///
/// # Errors
/// [`NftError::Owned`] if a living process owns the table; [`NftError::Refused`] without
/// CAP_NET_ADMIN.
pub fn remove() -> Result<bool, NftError> {
    // Where the kernel knows no such tables, there is none.
    let of_bridges = match remove_by(&mut NftSocket::open(Family::Bridge)?) {
        Err(error @ NftError::Owned { .. }) => return Err(error),
        removed => removed.unwrap_or(false),
    };
    Ok(remove_by(&mut NftSocket::open(Family::Inet)?)? || of_bridges)
}

fn remove_by(socket: &mut NftSocket) -> Result<bool, NftError> {
    let Some(head) = readback::head(socket)? else {
        return Ok(false);
    };
    refuse_foreign_owner(Some(&head), socket.port())?;
    match socket.transact(REMOVING, Batch::remove()) {
        Ok(()) => Ok(true),
        Err(error) if error.refusal() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

fn refuse_foreign_owner(head: Option<&Head>, own_port: u32) -> Result<(), NftError> {
    match head.and_then(|head| head.owner) {
        Some(port) if port != own_port => Err(NftError::Owned { port }),
        _ => Ok(()),
    }
}
