//! A client's connection, held within bounds.
//!
//! Anybody may connect. So what a client may send at once, how long it may say
//! nothing, and how long it may leave its answers unread are limited here, below the
//! library that speaks the protocol: that takes messages of up to 128 MiB, and asks
//! the host's name services for the groups of each client.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf, UCred};
use tokio::time::timeout;
use zbus::connection::AuthMechanism;
use zbus::connection::socket::{ReadHalf, Socket, Split, WriteHalf};
use zbus::export::async_trait::async_trait;
use zbus::fdo::ConnectionCredentials;

/// The longest message that is taken, in bytes.
const MESSAGE_MAX: usize = 64 * 1024;
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
        let reader = Reader {
            stream: read,
            credentials: self.credentials,
        };
        Split::new(reader, Writer(write))
    }
}

/// What comes from the client.
#[derive(Debug)]
pub(super) struct Reader {
    stream: OwnedReadHalf,
    credentials: UCred,
}

#[async_trait]
impl ReadHalf for Reader {
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

/// Who is root may wait for as long as it likes.
fn idle_max(credentials: &UCred) -> Duration {
    if credentials.uid() == 0 {
        Duration::from_secs(60 * 60)
    } else {
        IDLE_MAX
    }
}

/// What goes to the client.
#[derive(Debug)]
pub(super) struct Writer(OwnedWriteHalf);

#[async_trait]
impl WriteHalf for Writer {
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
