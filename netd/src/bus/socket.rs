//! A client's connection, held within bounds.
//!
//! Anybody may connect. So what a client may send at once, how much it may ask before it
//! has its answers, how long it may say nothing, and how long it may leave its answers
//! unread are limited here, below the library that speaks the protocol: that takes
//! messages of up to 128 MiB, makes a task of each call to the interfaces that every
//! object has, and asks the host's name services for the groups of each client.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf, UCred};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use zbus::connection::AuthMechanism;
use zbus::connection::socket::{ReadHalf, Socket, Split, WriteHalf};
use zbus::export::async_trait::async_trait;
use zbus::fdo::ConnectionCredentials;
use zbus::message::{Flags, Message, Type};

/// The longest message that is taken, in bytes: a call with a name has a few hundred.
const MESSAGE_MAX: usize = 4 * 1024;
/// How many calls of a client are taken before the first is answered. What it sends
/// meanwhile waits in its socket.
const CALLS_MAX: usize = 4;
/// How long a client may wait to be answered before it is given up.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// How long a client may say nothing.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// How long the answers to a client may wait to be read.
const UNREAD_MAX: Duration = Duration::from_secs(5);

/// A client's connection.
#[derive(Debug)]
pub(super) struct Bounded {
    stream: UnixStream,
    credentials: UCred,
}

impl Bounded {
    pub(super) fn new(stream: UnixStream, credentials: UCred) -> Self {
        Self {
            stream,
            credentials,
        }
    }
}

impl Socket for Bounded {
    type ReadHalf = Reader;
    type WriteHalf = Writer;

    fn split(self) -> Split<Reader, Writer> {
        let (read, write) = self.stream.into_split();
        let calls = Arc::new(Semaphore::new(CALLS_MAX));
        let reader = Reader {
            bytes: Bytes {
                stream: read,
                credentials: self.credentials,
            },
            calls: calls.clone(),
        };
        let writer = Writer {
            bytes: BytesOut(write),
            calls,
        };
        Split::new(reader, writer)
    }
}

/// The client's messages.
#[derive(Debug)]
pub(super) struct Reader {
    bytes: Bytes,
    /// One permit for each call that may still be taken.
    calls: Arc<Semaphore>,
}

#[async_trait]
impl ReadHalf for Reader {
    async fn receive_message(
        &mut self,
        number: u64,
        early: &mut Vec<u8>,
        early_descriptors: &mut Vec<OwnedFd>,
    ) -> zbus::Result<Message> {
        let unanswered = |_| io::Error::new(io::ErrorKind::TimedOut, "no call is answered");
        let permit = timeout(ANSWER_MAX, self.calls.acquire())
            .await
            .map_err(unanswered)?
            .map_err(io::Error::other)?;
        loop {
            let message = self
                .bytes
                .receive_message(number, early, early_descriptors)
                .await?;
            // Nothing here does more than answer: what wants no answer is done with. All
            // else is answered once, be it with an error.
            if wants_answer(&message) {
                permit.forget();
                return Ok(message);
            }
        }
    }

    async fn recvmsg(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        self.bytes.recvmsg(buffer).await
    }

    async fn peer_credentials(&mut self) -> io::Result<ConnectionCredentials> {
        self.bytes.peer_credentials().await
    }

    fn auth_mechanism(&self) -> AuthMechanism {
        AuthMechanism::External
    }
}

/// What comes from the client.
#[derive(Debug)]
struct Bytes {
    stream: OwnedReadHalf,
    credentials: UCred,
}

#[async_trait]
impl ReadHalf for Bytes {
    async fn recvmsg(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        // It is as long as what is still to come of the message.
        if buffer.len() > MESSAGE_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a message is too long",
            ));
        }
        let silent = |_| io::Error::new(io::ErrorKind::TimedOut, "the client says nothing");
        let read = timeout(idle_max(&self.credentials), self.stream.read(buffer)).await;
        match read.map_err(silent)?? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            read => Ok((read, Vec::new())),
        }
    }

    async fn peer_credentials(&mut self) -> io::Result<ConnectionCredentials> {
        let credentials = ConnectionCredentials::default().set_unix_user_id(self.credentials.uid());
        let pid = self.credentials.pid().and_then(|pid| pid.try_into().ok());
        Ok(match pid {
            Some(pid) => credentials.set_process_id(pid),
            None => credentials,
        })
    }

    fn auth_mechanism(&self) -> AuthMechanism {
        AuthMechanism::External
    }
}

fn wants_answer(message: &Message) -> bool {
    let flags = message.primary_header().flags();
    message.message_type() == Type::MethodCall && !flags.contains(Flags::NO_REPLY_EXPECTED)
}

/// Who is root may wait for as long as it likes.
fn idle_max(credentials: &UCred) -> Duration {
    if credentials.uid() == 0 {
        Duration::from_secs(60 * 60)
    } else {
        IDLE_MAX
    }
}

/// The answers to the client.
#[derive(Debug)]
pub(super) struct Writer {
    bytes: BytesOut,
    calls: Arc<Semaphore>,
}

#[async_trait]
impl WriteHalf for Writer {
    async fn send_message(&mut self, message: &Message) -> zbus::Result<()> {
        self.bytes.send_message(message).await?;
        if matches!(message.message_type(), Type::MethodReturn | Type::Error) {
            self.calls.add_permits(1);
        }
        Ok(())
    }

    async fn sendmsg(
        &mut self,
        buffer: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<usize> {
        self.bytes.sendmsg(buffer, descriptors).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    async fn close(&mut self) -> io::Result<()> {
        self.bytes.close().await
    }
}

/// What goes to the client.
#[derive(Debug)]
struct BytesOut(OwnedWriteHalf);

#[async_trait]
impl WriteHalf for BytesOut {
    async fn sendmsg(&mut self, buffer: &[u8], _: &[BorrowedFd<'_>]) -> io::Result<usize> {
        let unread = |_| io::Error::new(io::ErrorKind::TimedOut, "the client reads no answers");
        timeout(UNREAD_MAX, self.0.write(buffer))
            .await
            .map_err(unread)?
    }

    async fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    async fn close(&mut self) -> io::Result<()> {
        self.0.shutdown().await
    }
}
