//! The netlink socket to nf_tables: questions, dumps and transactions.
//!
//! Nothing here waits: an empty queue means that there is no more (see
//! [`crate::netlink`]).

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_netfilter::nftables::NfTablesMessage;
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType};

use super::batch::{Batch, Step};
use super::error::NftError;
use crate::netlink::{self, DATAGRAM_MAX};

/// Subsystem number of nf_tables, which marks a batch as one for it.
const SUBSYSTEM_NFTABLES: u16 = 10;
/// The kernel's own address.
const KERNEL: SocketAddrNetlink = SocketAddrNetlink::new(0, 0);
/// An answer has this many datagrams at most; a bound for a kernel that never ends one.
const MAX_DATAGRAMS: usize = 4096;

/// Messages up to this length, in bytes, fit the usual room of a socket.
const SENT_USUALLY: usize = 64 * 1024;

/// What a table filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// What the host receives, forwards and sends.
    Inet,
    /// What passes bridges.
    Bridge,
}

impl std::fmt::Display for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Inet => "inet",
            Self::Bridge => "bridge",
        })
    }
}

/// What a dump gave.
#[derive(Debug)]
pub(super) enum Dump {
    /// All of it.
    Whole(Vec<NfTablesMessage>),
    /// Something changed meanwhile: ask again.
    Interrupted,
}

/// A socket of one network namespace, that of the thread that opened it.
#[derive(Debug)]
pub(super) struct NftSocket {
    fd: OwnedFd,
    port: u32,
    family: Family,
    buffer: Vec<u8>,
    sequence: u32,
}

impl NftSocket {
    /// For tables of this family.
    pub fn open(family: Family) -> Result<NftSocket, NftError> {
        let fd = open(0).map_err(NftError::Open)?;
        let port = rustix::net::getsockname(&fd)
            .and_then(SocketAddrNetlink::try_from)
            .map_err(|error| NftError::Open(error.into()))?
            .pid();
        Ok(NftSocket {
            fd,
            port,
            family,
            buffer: vec![0; DATAGRAM_MAX],
            sequence: 0,
        })
    }

    /// The socket's netlink port, by which the kernel knows an owner.
    pub fn port(&self) -> u32 {
        self.port
    }

    /// Asks for one thing. `None`: there is no such thing.
    pub fn get(
        &mut self,
        doing: &'static str,
        message: NfTablesMessage,
    ) -> Result<Option<NfTablesMessage>, NftError> {
        match self.ask(doing, message, NLM_F_REQUEST) {
            Ok(answer) => match answer.into_iter().next() {
                Some((_, message)) => Ok(Some(message)),
                None => Err(NftError::NoAnswer { doing }),
            },
            Err(error) if error.refusal() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Asks for all things of a kind. None at all if what they belong to is missing.
    pub fn dump(
        &mut self,
        doing: &'static str,
        message: NfTablesMessage,
    ) -> Result<Dump, NftError> {
        match self.ask(doing, message, NLM_F_REQUEST | NLM_F_DUMP) {
            Ok(answer) => {
                if answer
                    .iter()
                    .any(|(header, _)| header.flags & NLM_F_DUMP_INTR != 0)
                {
                    return Ok(Dump::Interrupted);
                }
                Ok(Dump::Whole(
                    answer.into_iter().map(|(_, message)| message).collect(),
                ))
            }
            Err(error) => match error.refusal() {
                Some(libc::ENOENT) => Ok(Dump::Whole(Vec::new())),
                Some(libc::EINTR) => Ok(Dump::Interrupted),
                _ => Err(error),
            },
        }
    }

    /// Carries a batch out, wholly or not at all.
    pub fn transact(&mut self, doing: &'static str, batch: Batch) -> Result<(), NftError> {
        let steps = batch.into_steps();
        if steps.is_empty() {
            return Ok(());
        }
        crate::operations::count(|done| &done.firewall_writes, 1);
        let begin = self.next_sequence();
        let mut bytes = Vec::with_capacity(8192);
        netlink::append(&mut bytes, begin, control(ControlMessage::BatchBegin));
        let mut names = Vec::with_capacity(steps.len());
        for Step {
            message,
            flags,
            what,
        } in steps
        {
            let sequence = self.next_sequence();
            netlink::append(
                &mut bytes,
                sequence,
                self.nftables(message, NLM_F_REQUEST | flags),
            );
            names.push((sequence, what));
        }
        let end = self.next_sequence();
        netlink::append(&mut bytes, end, control(ControlMessage::BatchEnd));
        self.send(doing, &bytes)?;
        self.acknowledged(doing, begin, &names)
    }

    /// Reads what the kernel says to a batch: the first refusal, or the acknowledgement
    /// of the last step.
    fn acknowledged(
        &mut self,
        doing: &'static str,
        begin: u32,
        names: &[(u32, String)],
    ) -> Result<(), NftError> {
        let mut refusal = None;
        let mut acknowledged = false;
        for message in self.drain(doing)? {
            let NetlinkPayload::Error(error) = &message.payload else {
                continue;
            };
            let sequence = message.header.sequence_number;
            let name = names.iter().find(|(number, _)| *number == sequence);
            match (error.code, name) {
                (None, Some(_)) => acknowledged = true,
                (Some(_), _) if refusal.is_none() && (name.is_some() || sequence == begin) => {
                    let what = name.map_or_else(|| "the transaction".to_owned(), |n| n.1.clone());
                    refusal = Some(NftError::Refused {
                        doing,
                        what,
                        source: error.to_io(),
                    });
                }
                // An answer to something earlier, or a further refusal.
                _ => {}
            }
        }
        match (refusal, acknowledged) {
            (Some(refusal), _) => Err(refusal),
            (None, true) => Ok(()),
            (None, false) => Err(NftError::NoAnswer { doing }),
        }
    }

    fn ask(
        &mut self,
        doing: &'static str,
        message: NfTablesMessage,
        flags: u16,
    ) -> Result<Vec<(NetlinkHeader, NfTablesMessage)>, NftError> {
        let sequence = self.next_sequence();
        let mut bytes = Vec::with_capacity(256);
        netlink::append(&mut bytes, sequence, self.nftables(message, flags));
        self.send(doing, &bytes)?;
        let mut answers = Vec::new();
        let mut complete = flags & NLM_F_DUMP != NLM_F_DUMP;
        for message in self.drain(doing)? {
            if message.header.sequence_number != sequence {
                continue;
            }
            match message.payload {
                NetlinkPayload::InnerMessage(NetfilterMessage {
                    inner: NetfilterMessageInner::NfTables(inner),
                    ..
                }) => answers.push((message.header, inner)),
                NetlinkPayload::Error(error) if error.code.is_some() => {
                    let what = "the request".to_owned();
                    return Err(NftError::Refused {
                        doing,
                        what,
                        source: error.to_io(),
                    });
                }
                NetlinkPayload::Done(done) if done.code < 0 => {
                    let source = io::Error::from_raw_os_error(done.code.saturating_neg());
                    let what = "the rest of the answer".to_owned();
                    return Err(NftError::Refused {
                        doing,
                        what,
                        source,
                    });
                }
                NetlinkPayload::Done(_) => complete = true,
                _ => {}
            }
        }
        if complete {
            Ok(answers)
        } else {
            Err(NftError::NoAnswer { doing })
        }
    }

    fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    fn nftables(&self, message: NfTablesMessage, flags: u16) -> NetlinkMessage<NetfilterMessage> {
        let family = match self.family {
            Family::Inet => NetfilterProtoFamily::Inet,
            Family::Bridge => NetfilterProtoFamily::Bridge,
        };
        let header = NetfilterHeader::new(family, 0, 0);
        with_flags(NetfilterMessage::new(header, message), flags)
    }

    fn send(&self, doing: &'static str, bytes: &[u8]) -> Result<(), NftError> {
        if bytes.len() > SENT_USUALLY {
            // A transaction is one message, whatever is in it. Where this is not allowed,
            // the message is refused.
            let room = bytes.len().saturating_mul(2);
            let _ = rustix::net::sockopt::set_socket_send_buffer_size_force(&self.fd, room);
        }
        let sent =
            rustix::net::sendto(&self.fd, bytes, SendFlags::empty(), &KERNEL).map_err(|error| {
                NftError::Send {
                    doing,
                    source: error.into(),
                }
            })?;
        if sent == bytes.len() {
            return Ok(());
        }
        let source = io::Error::from(io::ErrorKind::WriteZero);
        Err(NftError::Send { doing, source })
    }

    /// Reads all that lies in the queue.
    fn drain(
        &mut self,
        doing: &'static str,
    ) -> Result<Vec<NetlinkMessage<NetfilterMessage>>, NftError> {
        let mut messages = Vec::new();
        for _ in 0..MAX_DATAGRAMS {
            let Some(datagram) = netlink::receive(self.fd.as_fd(), &mut self.buffer)
                .map_err(|source| NftError::Receive { doing, source })?
            else {
                break;
            };
            for bytes in datagram.messages() {
                messages.push(
                    NetlinkMessage::deserialize(bytes)
                        .map_err(|source| NftError::Malformed { doing, source })?,
                );
            }
        }
        Ok(messages)
    }
}

/// A netfilter netlink socket that is in these multicast groups (a bit each).
pub(super) fn open(groups: u32) -> io::Result<OwnedFd> {
    let fd = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        Some(NETFILTER),
    )?;
    rustix::net::bind(&fd, &SocketAddrNetlink::new(0, groups))?;
    Ok(fd)
}

fn control(message: ControlMessage) -> NetlinkMessage<NetfilterMessage> {
    let header = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, SUBSYSTEM_NFTABLES);
    with_flags(NetfilterMessage::new(header, message), NLM_F_REQUEST)
}

fn with_flags(message: NetfilterMessage, flags: u16) -> NetlinkMessage<NetfilterMessage> {
    let mut message = NetlinkMessage::from(message);
    message.header.flags = flags;
    message
}
