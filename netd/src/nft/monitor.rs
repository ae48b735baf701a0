//! Hearing of changes that anybody makes to our table.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use netlink_packet_core::{NLMSG_OVERRUN, NlaBuffer, NlasIterator};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::error::NftError;
use super::socket;
use super::table::TABLE_NAME;
use crate::netlink::{self, DATAGRAM_MAX, HEADER_LEN, Messages};

const WATCHING: &str = "watching the firewall table";

/// The bit of nf_tables' multicast group, NFNLGRP_NFTABLES (7).
const GROUP_NFTABLES: u32 = 1 << (7 - 1);
const SUBSYSTEM_NFTABLES: u8 = 10;
/// The families of our tables.
const FAMILIES: [u8; 2] = [1, 7];
/// In all messages about what a table holds the first attribute is the table's name.
const ATTRIBUTE_TABLE: u16 = 1;
/// Length of the header of nf_tables' messages (struct nfgenmsg).
const NFGENMSG_LEN: usize = 4;
/// Message types of `linux/netfilter/nf_tables.h`.
const DELETE_TABLE: u8 = 2;
const NEW_GENERATION: u8 = 15;
/// Room for the notifications of other programs' rule sets, which come in bursts.
const QUEUE_BYTES: usize = 1 << 20;

/// Who made a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// Netlink port of the socket that it was made through; compare [`super::Table::port`].
    pub port: u32,
    /// Process id, as the host's first namespace counts.
    pub pid: Option<u32>,
    /// Name of the process, at most 15 bytes.
    pub name: Option<String>,
}

/// What a transaction did to our table in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The table is gone.
    Deleted,
    /// Something in the table was added, removed or replaced.
    Changed,
}

/// What the monitor tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A transaction touched the table.
    Table {
        /// What it did.
        change: Change,
        /// Who did it.
        by: Author,
    },
    /// Messages were lost: whatever may have happened, read the table.
    Overrun,
}

/// A socket that hears of each transaction on the ruleset of its network namespace.
#[derive(Debug)]
pub struct Monitor {
    socket: AsyncFd<OwnedFd>,
    buffer: Vec<u8>,
    state: Transaction,
}

impl Monitor {
    /// Starts to listen, in the network namespace of the calling thread. Open it before
    /// the table is installed or read, so that no change falls between.
    ///
    /// # Errors
    /// [`NftError::Open`], also when no tokio runtime with I/O is entered.
    pub fn open() -> Result<Monitor, NftError> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(NftError::Open(io::Error::other(
                "no tokio runtime is entered",
            )));
        }
        let fd = socket::open(GROUP_NFTABLES).map_err(NftError::Open)?;
        // The greater size needs CAP_NET_ADMIN; without it overruns are but likelier.
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size_force(&fd, QUEUE_BYTES);
        let socket = crate::async_fd::watch(fd, Interest::READABLE).map_err(NftError::Open)?;
        Ok(Monitor {
            socket,
            buffer: vec![0; DATAGRAM_MAX],
            state: Transaction::default(),
        })
    }

    /// Waits for the next change of the table. Losing the future loses no event.
    ///
    /// # Errors
    /// [`NftError::Receive`] if the socket fails.
    pub async fn next(&mut self) -> Result<Event, NftError> {
        loop {
            if let Some(event) = self.state.next_event() {
                return Ok(event);
            }
            let failed = |source| NftError::Receive {
                doing: WATCHING,
                source,
            };
            let mut ready = self.socket.readable().await.map_err(failed)?;
            match netlink::receive(self.socket.get_ref().as_fd(), &mut self.buffer) {
                Ok(Some(datagram)) => self.state.take(datagram.messages()),
                Ok(None) => {
                    ready.clear_ready();
                    self.state.drained();
                }
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => self.state.lost(),
                Err(error) => return Err(failed(error)),
            }
        }
    }
}

/// What the monitor tells of messages that came together and after which the queue is
/// empty. Never panics, whatever their bytes are.
#[must_use]
pub fn events_of(datagram: &[u8]) -> Vec<Event> {
    let mut state = Transaction::default();
    state.take(netlink::messages(datagram));
    state.drained();
    state.events.into()
}

/// What is known of the transaction whose messages are coming in. The kernel sends them
/// together when it is committed, last the new generation with its author.
#[derive(Debug, Default)]
struct Transaction {
    touched: Option<Change>,
    overrun: bool,
    events: VecDeque<Event>,
}

impl Transaction {
    fn next_event(&mut self) -> Option<Event> {
        if self.overrun {
            None
        } else {
            self.events.pop_front()
        }
    }

    fn take(&mut self, mut messages: Messages<'_>) {
        for message in messages.by_ref() {
            self.take_message(message);
        }
        if messages.broken() {
            self.lost();
        }
    }

    /// Messages were lost. Told only once the queue is empty: until then the kernel goes
    /// on throwing messages away, and would say nothing of it.
    fn lost(&mut self) {
        self.overrun = true;
    }

    /// The queue is empty.
    fn drained(&mut self) {
        if std::mem::take(&mut self.overrun) {
            self.touched = None;
            self.events = VecDeque::from([Event::Overrun]);
        }
    }

    fn take_message(&mut self, message: &[u8]) {
        let Some(kind) = message.get(4..6).and_then(native_u16) else {
            return;
        };
        let [subsystem, number] = kind.to_be_bytes();
        match (subsystem, number) {
            _ if kind == NLMSG_OVERRUN => self.lost(),
            (SUBSYSTEM_NFTABLES, NEW_GENERATION) => {
                if let Some(change) = self.touched.take() {
                    self.events.push_back(Event::Table {
                        change,
                        by: author(message),
                    });
                }
            }
            (SUBSYSTEM_NFTABLES, _) if !is_ours(message) => {}
            // What goes with its table is reported before it, so this comes last, unless
            // the same transaction makes the table anew.
            (SUBSYSTEM_NFTABLES, DELETE_TABLE) => self.touched = Some(Change::Deleted),
            (SUBSYSTEM_NFTABLES, _) => self.touched = Some(Change::Changed),
            _ => {}
        }
    }
}

fn native_u16(bytes: &[u8]) -> Option<u16> {
    bytes.try_into().ok().map(u16::from_ne_bytes)
}

fn native_u32(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_ne_bytes)
}

fn network_u32(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_be_bytes)
}

/// Text of an attribute without its NUL; what is no UTF-8 is replaced.
fn text(bytes: &[u8]) -> String {
    let end = bytes
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

/// The message is about our table, or about something in it.
fn is_ours(message: &[u8]) -> bool {
    message
        .get(HEADER_LEN)
        .is_some_and(|family| FAMILIES.contains(family))
        && attributes(message)
            .find(|attribute| attribute.kind() == ATTRIBUTE_TABLE)
            .is_some_and(|attribute| text(attribute.value()) == TABLE_NAME)
}

fn attributes(message: &[u8]) -> impl Iterator<Item = NlaBuffer<&[u8]>> {
    let bytes = message.get(HEADER_LEN + NFGENMSG_LEN..).unwrap_or_default();
    NlasIterator::new(bytes).map_while(Result::ok)
}

/// The author that the message of a new generation names.
fn author(message: &[u8]) -> Author {
    const PID: u16 = 2;
    const NAME: u16 = 3;
    let value = |kind| attributes(message).find(|attribute| attribute.kind() == kind);
    Author {
        port: message.get(12..16).and_then(native_u32).unwrap_or_default(),
        pid: value(PID).and_then(|attribute| network_u32(attribute.value())),
        name: value(NAME).map(|attribute| text(attribute.value())),
    }
}
