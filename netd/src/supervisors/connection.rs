//! One connection, from its first message to its end.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use registry::protocol::{FromSupervisor, Refusal, ToSupervisor, decode, encode};
use registry::seqpacket::{Received, receive, send};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::check::{Rejected, check};
use super::waiting::Place;
use super::{ConnectionId, PAUSE, SupervisorEvent, bad, too_many};
use crate::log::{self, Pace};

/// How long a new connection may stay silent, and how long an answer may wait to be
/// read.
const SILENCE_MAX: Duration = Duration::from_secs(10);

static REFUSED: Pace = Pace::new();
static NOT_CHECKED: Pace = Pace::new();

/// A message and its descriptors.
pub(super) type Message = (Vec<u8>, Vec<OwnedFd>);

/// How a connection ends.
enum End {
    /// The supervisor has closed it, or netd has no more to say.
    Closed,
    /// It was wrong, and is told why.
    Refused(Refusal),
}

impl From<Refusal> for End {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Serves a connection to its end.
pub(super) async fn serve<T: From<SupervisorEvent>>(
    id: ConnectionId,
    socket: OwnedFd,
    place: Place,
    events: &mpsc::Sender<T>,
) {
    let Ok(socket) = crate::async_fd::watch(socket, Interest::READABLE | Interest::WRITABLE) else {
        return;
    };
    let connection = Connection { id, socket, events };
    if let Err(End::Refused(refusal)) = connection.converse(place).await {
        tell(&refusal);
        connection.reply(&ToSupervisor::Refused(refusal)).await;
    }
}

/// Refuses a connection that is not served, if that can be done at once.
pub(super) fn turn_away(socket: &OwnedFd, refusal: &Refusal) {
    if let Ok(bytes) = encode(&ToSupervisor::Refused(refusal.clone())) {
        let _ = send(socket, &bytes, &[]);
    }
}

/// One line a refusal, at a pace that the others do not set.
fn tell(refusal: &Refusal) {
    REFUSED.say(|held_back| {
        let why = log::foreign(&refusal.message);
        tracing::warn!("a supervisor is refused: {why}{held_back}");
    });
}

struct Connection<'a, T> {
    id: ConnectionId,
    socket: AsyncFd<OwnedFd>,
    events: &'a mpsc::Sender<T>,
}

impl<T: From<SupervisorEvent>> Connection<'_, T> {
    async fn converse(&self, place: Place) -> Result<(), End> {
        let (answer, mut answers) = mpsc::channel(4);
        let first = self.first_message(place).await?;
        let registering = match check(self.id, &self.socket, first, answer) {
            Ok(registering) => registering,
            Err(Rejected::Refused(refusal)) => return Err(refusal.into()),
            Err(Rejected::ForNow(error)) => {
                // Refused, its supervisor would not come again; one whose connection
                // ends does.
                NOT_CHECKED.say(|held_back| {
                    tracing::warn!("a registration cannot be checked now: {error}{held_back}");
                });
                tokio::time::sleep(PAUSE).await;
                return Err(End::Closed);
            }
        };
        self.tell_daemon(SupervisorEvent::Registered(Box::new(registering)))
            .await?;
        // One answer asks for `host0` to be set, and is followed by one word of it.
        let mut answered = false;
        loop {
            tokio::select! {
                answer = answers.recv() => match answer {
                    Some(ToSupervisor::Refused(refusal)) => return Err(refusal.into()),
                    Some(answer) => {
                        answered = true;
                        self.reply(&answer).await;
                    }
                    None => return Err(End::Closed),
                },
                message = self.next_message() => {
                    self.take(&message?, &mut answered).await?;
                }
            }
        }
    }

    /// The first message, which has to come soon.
    async fn first_message(&self, mut place: Place) -> Result<Message, End> {
        tokio::select! {
            biased;
            first = timeout(SILENCE_MAX, self.next_message()) => {
                first.unwrap_or_else(|_| Err(bad("nothing was said for 10 s").into()))
            }
            () = place.needed() => Err(too_many().into()),
        }
    }

    /// Takes a message of a supervisor that has registered.
    async fn take(&self, (bytes, descriptors): &Message, answered: &mut bool) -> Result<(), End> {
        if !descriptors.is_empty() {
            return Err(bad("descriptors go with a registration alone").into());
        }
        let message = decode(bytes).map_err(|error| bad(log::foreign(&log::chain(&error))))?;
        match message {
            FromSupervisor::Goodbye => {
                self.tell_daemon(SupervisorEvent::Goodbye(self.id)).await?;
                match receive(&self.socket) {
                    Ok(Received::Message(..) | Received::Oversized) => {
                        Err(bad("nothing follows a goodbye").into())
                    }
                    _ => Err(End::Closed),
                }
            }
            FromSupervisor::Configured(configured) if std::mem::take(answered) => {
                self.tell_daemon(SupervisorEvent::Configured(self.id, configured))
                    .await
            }
            FromSupervisor::Configured(_) => Err(bad("nothing was asked to be configured").into()),
            FromSupervisor::Register(_) => Err(bad("a connection registers one container").into()),
        }
    }

    async fn tell_daemon(&self, event: SupervisorEvent) -> Result<(), End> {
        self.events
            .send(event.into())
            .await
            .map_err(|_| End::Closed)
    }

    async fn next_message(&self) -> Result<Message, End> {
        let received = self
            .socket
            .async_io(Interest::READABLE, |socket| receive(socket));
        match received.await {
            Ok(Received::Message(bytes, descriptors)) => Ok((bytes, descriptors)),
            Ok(Received::Closed) => Err(End::Closed),
            Ok(Received::Oversized) => {
                Err(bad("a message is too long, or has too many descriptors").into())
            }
            Err(error) => {
                tracing::debug!("a supervisor's connection broke: {error}");
                Err(End::Closed)
            }
        }
    }

    async fn reply(&self, answer: &ToSupervisor) {
        let bytes = match encode(answer) {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::error!("an answer to a supervisor cannot be sent: {error}");
                return;
            }
        };
        let write = |socket: &OwnedFd| -> io::Result<()> { send(socket, &bytes, &[]) };
        let sent = self.socket.async_io(Interest::WRITABLE, write);
        // One that does not read its answers is not waited for.
        match timeout(SILENCE_MAX, sent).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!("an answer to a supervisor was lost: {error}"),
            Err(_) => tracing::debug!("a supervisor does not read its answers"),
        }
    }
}
