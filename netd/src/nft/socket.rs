//! The netlink socket to nf_tables: questions, dumps and transactions.
//!
//! The kernel handles a request within `send()`, so its whole answer lies in the
//! socket's queue when that returns; a dump puts its next part there as the one before
//! is read. Nothing here waits: an empty queue means that there is no more.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use netlink_packet_core::{
    DecodeError, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_netfilter::nftables::NfTablesMessage;
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::batch::{Batch, Step};
use super::error::NftError;

/// Subsystem number of nf_tables, which marks a batch as one for it.
const SUBSYSTEM_NFTABLES: u16 = 10;
/// The kernel's own address.
const KERNEL: SocketAddrNetlink = SocketAddrNetlink::new(0, 0);
/// Longest datagram: the kernel's dumps and notifications stay below 32 KiB.
pub(super) const RECEIVE_BUFFER: usize = 64 * 1024;
/// An answer has this many datagrams at most; a bound for a kernel that never ends one.
const MAX_DATAGRAMS: usize = 4096;

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
    sequence: u32,
}

impl NftSocket {
    pub fn open() -> Result<NftSocket, NftError> {
        let fd = open(0).map_err(NftError::Open)?;
        let port = rustix::net::getsockname(&fd)
            .and_then(SocketAddrNetlink::try_from)
            .map_err(|error| NftError::Open(error.into()))?
            .pid();
        Ok(NftSocket {
            fd,
            port,
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
        append(
            &mut bytes,
            header(begin, NLM_F_REQUEST),
            control(ControlMessage::BatchBegin),
        );
        let mut names = Vec::with_capacity(steps.len());
        for Step {
            message,
            flags,
            what,
        } in steps
        {
            let sequence = self.next_sequence();
            append(
                &mut bytes,
                header(sequence, NLM_F_REQUEST | flags),
                nftables(message),
            );
            names.push((sequence, what));
        }
        let end = self.next_sequence();
        append(
            &mut bytes,
            header(end, NLM_F_REQUEST),
            control(ControlMessage::BatchEnd),
        );
        self.send(doing, &bytes)?;
        self.acknowledged(doing, begin, &names)
    }

    /// Reads what the kernel says to a batch: the first refusal, or the acknowledgement
    /// of the last step.
    fn acknowledged(
        &self,
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
        append(&mut bytes, header(sequence, flags), nftables(message));
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

    fn send(&self, doing: &'static str, bytes: &[u8]) -> Result<(), NftError> {
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
        &self,
        doing: &'static str,
    ) -> Result<Vec<NetlinkMessage<NetfilterMessage>>, NftError> {
        let mut messages = Vec::new();
        let mut buffer = vec![0; RECEIVE_BUFFER];
        for _ in 0..MAX_DATAGRAMS {
            let Some(datagram) = receive(self.fd.as_fd(), &mut buffer)
                .map_err(|source| NftError::Receive { doing, source })?
            else {
                break;
            };
            for bytes in Datagram(datagram) {
                messages.push(
                    bytes
                        .and_then(NetlinkMessage::deserialize)
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

/// Reads one datagram without waiting. `None`: there is none.
pub(super) fn receive<'a>(
    socket: BorrowedFd<'_>,
    buffer: &'a mut [u8],
) -> io::Result<Option<&'a [u8]>> {
    loop {
        match rustix::net::recv(socket, &mut *buffer, RecvFlags::DONTWAIT | RecvFlags::TRUNC) {
            Ok((_, length)) => {
                let whole = buffer.get(..length);
                return whole
                    .map(Some)
                    .ok_or_else(|| io::ErrorKind::FileTooLarge.into());
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

/// The netlink messages of a datagram, each with its header.
pub(super) struct Datagram<'a>(pub &'a [u8]);

impl<'a> Iterator for Datagram<'a> {
    type Item = Result<&'a [u8], DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let bytes = self.0;
        let length = bytes
            .first_chunk::<4>()
            .and_then(|field| usize::try_from(u32::from_ne_bytes(*field)).ok())
            .filter(|length| *length >= HEADER_LEN);
        let Some((length, message)) = length.and_then(|l| bytes.get(..l).map(|m| (l, m))) else {
            self.0 = &[];
            return Some(Err(DecodeError::buffer_too_small(bytes.len(), HEADER_LEN)));
        };
        self.0 = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Ok(message))
    }
}

/// Length of a netlink message's header (struct nlmsghdr).
pub(super) const HEADER_LEN: usize = 16;

fn header(sequence: u32, flags: u16) -> NetlinkHeader {
    let mut header = NetlinkHeader::default();
    (header.sequence_number, header.flags) = (sequence, flags);
    header
}

fn control(message: ControlMessage) -> NetfilterMessage {
    let header = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, SUBSYSTEM_NFTABLES);
    NetfilterMessage::new(header, message)
}

fn nftables(message: NfTablesMessage) -> NetfilterMessage {
    NetfilterMessage::new(
        NetfilterHeader::new(NetfilterProtoFamily::Inet, 0, 0),
        message,
    )
}

fn append(bytes: &mut Vec<u8>, header: NetlinkHeader, message: NetfilterMessage) {
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
    message.finalize();
    let start = bytes.len();
    bytes.resize(start + message.buffer_len(), 0);
    if let Some(place) = bytes.get_mut(start..) {
        message.serialize(place);
    }
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}
