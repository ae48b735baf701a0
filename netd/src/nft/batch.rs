//! A batch: what the kernel does wholly or not at all.

use netlink_packet_core::{NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE};
use netlink_packet_netfilter::nftables::{NfTablesMessage, TableFlags};

use super::messages;
use super::rules::{BY_LINK, IPV4_HOSTS, Layout, link_element};
use super::sets::Ours;
use super::table::GoneLink;

/// How many elements a message has: its length is 16 bits, and an element takes 36 bytes.
const ELEMENTS_AT_ONCE: usize = 1024;

/// One message of a batch.
#[derive(Debug)]
pub(super) struct Step {
    pub message: NfTablesMessage,
    /// Netlink flags beside NLM_F_REQUEST.
    pub flags: u16,
    /// What it does, for errors.
    pub what: String,
}

/// Messages that are carried out as one transaction.
#[derive(Debug, Default)]
pub(super) struct Batch {
    steps: Vec<Step>,
}

impl Batch {
    /// The whole table made anew, whatever stood under its name before.
    pub fn rebuild(layout: &Layout, flags: Option<TableFlags>) -> Batch {
        let mut batch = Batch::default();
        // Deleting what does not exist is an error, creating what exists is none. Without
        // flags, as these cannot be changed on an existing table.
        batch.create(NfTablesMessage::NewTable(messages::table(None)), "table");
        batch.delete_table();
        batch.create(NfTablesMessage::NewTable(messages::table(flags)), "table");
        for (set, id) in layout.sets.iter().zip(1..) {
            let what = format!("set {}", set.name);
            batch.create(NfTablesMessage::NewSet(messages::new_set(set, id)), &what);
            batch.add_elements(set.name, set.elements.wanted().into_iter().flatten());
        }
        for chain in &layout.chains {
            let what = format!("chain {}", chain.name);
            batch.create(NfTablesMessage::NewChain(messages::chain(chain)), &what);
            for rule in &chain.rules {
                let what = format!("rule '{}' of chain {}", rule.comment, chain.name);
                batch.push(
                    NfTablesMessage::NewRule(messages::rule(chain, rule)),
                    NLM_F_CREATE | NLM_F_APPEND,
                    &what,
                );
            }
        }
        batch
    }

    /// Takes a table over that outlived its owner.
    pub fn adopt(flags: TableFlags) -> Batch {
        let mut batch = Batch::default();
        batch.push(
            NfTablesMessage::NewTable(messages::table(Some(flags))),
            0,
            "table",
        );
        batch
    }

    /// Removes the table.
    pub fn remove() -> Batch {
        let mut batch = Batch::default();
        batch.delete_table();
        batch
    }

    /// Takes elements of our own away, all of which are there, and adds others.
    pub fn change(gone: &Ours, new: &Ours) -> Batch {
        let mut batch = Batch::default();
        for (set, elements) in gone {
            let elements: Vec<_> = elements.iter().cloned().collect();
            for some in elements.chunks(ELEMENTS_AT_ONCE) {
                let message = messages::elements(set, some.iter().cloned());
                let message = NfTablesMessage::DeleteSetElement(message);
                batch.push(message, 0, &format!("elements of set {set}"));
            }
        }
        for (set, elements) in new {
            batch.add_elements(set, elements);
        }
        batch
    }

    /// Removes what the sets that packets fill know of links that are gone, as far as that
    /// can be named: of a wide subnet, and of IPv6, it ends by its own time.
    pub fn forget(gone: &[GoneLink]) -> Batch {
        let mut batch = Batch::default();
        let links: Vec<_> = gone.iter().map(|gone| link_element(gone.index)).collect();
        for set in BY_LINK {
            batch.destroy(set, links.iter().cloned());
        }
        let hosts: Vec<_> = gone.iter().flat_map(GoneLink::hosts).collect();
        for hosts in hosts.chunks(ELEMENTS_AT_ONCE) {
            batch.destroy(IPV4_HOSTS, hosts.iter().cloned());
        }
        batch
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The messages; the last one asks for an acknowledgement.
    pub fn into_steps(mut self) -> Vec<Step> {
        if let Some(last) = self.steps.last_mut() {
            last.flags |= NLM_F_ACK;
        }
        self.steps
    }

    fn create(&mut self, message: NfTablesMessage, what: &str) {
        self.push(message, NLM_F_CREATE, what);
    }

    fn add_elements<'a>(&mut self, set: &str, elements: impl IntoIterator<Item = &'a Vec<u8>>) {
        let elements: Vec<_> = elements.into_iter().cloned().collect();
        for some in elements.chunks(ELEMENTS_AT_ONCE) {
            let message = messages::elements(set, some.iter().cloned());
            let what = format!("elements of set {set}");
            self.create(NfTablesMessage::NewSetElement(message), &what);
        }
    }

    fn destroy(&mut self, set: &str, elements: impl IntoIterator<Item = Vec<u8>>) {
        let elements = messages::elements(set, elements);
        let what = format!("elements of set {set}");
        self.push(messages::destroy_elements(&elements), 0, &what);
    }

    fn delete_table(&mut self) {
        self.push(
            NfTablesMessage::DeleteTable(messages::table(None)),
            0,
            "table",
        );
    }

    fn push(&mut self, message: NfTablesMessage, flags: u16, what: &str) {
        self.steps.push(Step {
            message,
            flags,
            what: what.to_owned(),
        });
    }
}
