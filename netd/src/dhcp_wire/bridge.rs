//! A DHCP server's place at a bridge, whose ports are told apart: what comes by the bridge
//! itself does not tell by which port it came, so there is a packet socket for each port.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use registry::Mac;
use tokio::sync::{mpsc, oneshot};

use super::{OpenError, PacketSocket, Received, frame, sys};
use crate::dhcp::server::Transmit;
use crate::log::Pace;
use crate::worker::Queue;

/// How many requests wait for the server, of all ports. Each port gets its turn for a
/// place, so that none floods out another; what a port has beyond that waits, and is lost,
/// in its own socket.
const WAITING_MAX: usize = 32;

/// So many requests come by a port as they come, and so many more as there are milliseconds;
/// where it is more, the port is read in rounds.
const BURST: u32 = 64;
/// The time from one round to the next.
const REST: Duration = Duration::from_millis(2);
/// How often it is looked whether a port's requests were lost, while there are any.
const LOOK_FOR_LOSSES: Duration = Duration::from_secs(1);
/// Lines about requests that were lost.
static LOST: Pace = Pace::new();

/// The server's place.
#[derive(Debug)]
pub struct BridgePort {
    ifindex: u32,
    sender: OwnedFd,
    requests: Mutex<mpsc::Receiver<Received>>,
}

/// Where the ports' requests go.
#[derive(Clone, Debug)]
pub struct Requests {
    sender: mpsc::Sender<Received>,
    rest: Duration,
}

/// A port that is listened at, until this is dropped.
#[derive(Debug)]
pub struct Listener {
    _until_dropped: oneshot::Sender<()>,
}

impl BridgePort {
    /// A server's place at the bridge with this interface index, in the calling thread's
    /// network namespace.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(ifindex: u32) -> Result<(Self, Requests), OpenError> {
        let (sender, requests) = mpsc::channel(WAITING_MAX);
        let place = Self {
            ifindex,
            // Bound to no protocol, it receives nothing and no packet passes by it.
            sender: sys::open().map_err(OpenError::Socket)?,
            requests: Mutex::new(requests),
        };
        Ok((place, Requests { sender, rest: REST }))
    }

    /// The bridge's index.
    #[must_use]
    pub fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// Waits for the next request. Nothing is lost if the future is dropped.
    pub async fn recv(&self) -> Received {
        let next = std::future::poll_fn(|context| {
            let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
            requests.poll_recv(context)
        });
        match next.await {
            Some(request) => request,
            // No port is listened at any more.
            None => std::future::pending().await,
        }
    }

    /// The next request, if one waits.
    pub fn try_recv(&self) -> Option<Received> {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.try_recv().ok()
    }

    /// Sends a datagram by the port that it names, at once or not at all.
    ///
    /// # Errors
    /// If the port is down or gone, its queue is full, or the datagram too long.
    pub fn send(&self, transmit: &Transmit) -> io::Result<()> {
        frame::send(&self.sender, transmit)
    }
}

impl Requests {
    /// A port by which much comes rests so long from one round to the next; what does not fit
    /// into its socket meanwhile is lost. For whoever takes only a few requests a second.
    #[must_use]
    pub fn resting(self, rest: Duration) -> Self {
        Self { rest, ..self }
    }

    /// Listens at the port with this index of the bridge with this Ethernet address. The
    /// socket is closed by `worker`, as that takes some time. Must be called within a tokio
    /// `LocalSet`.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn listen(&self, port: u32, bridge: Mac, worker: Queue) -> Result<Listener, OpenError> {
        let socket = PacketSocket::open_port(port, bridge)?;
        let (until_dropped, dropped) = oneshot::channel();
        let requests = self.clone();
        tokio::task::spawn_local(async move {
            if let Some(descriptor) = listen(socket, &requests, dropped).await {
                worker.add(move || drop(descriptor));
            }
        });
        Ok(Listener {
            _until_dropped: until_dropped,
        })
    }
}

/// Until the listener is dropped, or the server has ended. Gives what is left of the socket.
async fn listen(
    mut socket: PacketSocket,
    Requests { sender, rest }: &Requests,
    mut dropped: oneshot::Receiver<()>,
) -> Option<OwnedFd> {
    let mut rounds = Rounds::new(Instant::now());
    loop {
        let rests = tokio::select! {
            _ = &mut dropped => false,
            rests = pass_on(&socket, sender, &mut rounds) => rests,
        };
        if !rests {
            return Some(socket.into_descriptor());
        }
        // An event loop that watches the socket would be woken by each request all the same.
        let gathering = socket.unwatch();
        tokio::select! {
            _ = &mut dropped => return Some(gathering.into_descriptor()),
            () = tokio::time::sleep(*rest) => {}
        }
        match gathering.watch() {
            Ok(watched) => socket = watched,
            Err(error) => {
                tracing::error!("no DHCP behind a port: {}", crate::log::chain(&error));
                return None;
            }
        }
    }
}

/// Passes on what comes, until there was so much of it that the port may rest; then it is
/// true. It is false when the server has ended.
async fn pass_on(
    socket: &PacketSocket,
    requests: &mpsc::Sender<Received>,
    rounds: &mut Rounds,
) -> bool {
    loop {
        if rounds.looked.elapsed() >= LOOK_FOR_LOSSES {
            rounds.looked = Instant::now();
            tell_losses(socket);
        }
        let mut next = Some(socket.recv().await);
        let mut count = 0;
        while let Some(received) = next {
            let received = match received {
                Ok(received) => received,
                Err(error) => {
                    tracing::warn!(
                        ifindex = socket.ifindex(),
                        "no DHCP for what is behind this interface: {error}"
                    );
                    return false;
                }
            };
            if requests.send(received).await.is_err() {
                return false;
            }
            count += 1;
            next = socket.try_recv();
        }
        if rounds.note(count, Instant::now()) {
            return true;
        }
    }
}

/// How much comes by a port: while it is much, it is read in rounds, since requests that are
/// read together cost less. Who comes alone is answered at once.
#[derive(Debug)]
struct Rounds {
    /// Requests beyond what their time allowed.
    level: u32,
    /// Up to when that time was counted.
    counted: Instant,
    /// When it was looked for losses last.
    looked: Instant,
}

impl Rounds {
    fn new(now: Instant) -> Self {
        Self {
            level: 0,
            counted: now,
            looked: now,
        }
    }

    /// So many came. Whether the port may rest.
    fn note(&mut self, count: u32, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.counted).as_millis();
        let passed = u32::try_from(passed).unwrap_or(u32::MAX);
        self.counted += Duration::from_millis(passed.into());
        self.level = self.level.saturating_sub(passed).saturating_add(count);
        self.level = self.level.min(2 * BURST);
        self.level > BURST
    }
}

fn tell_losses(socket: &PacketSocket) {
    let lost = socket.take_drops();
    if lost > 0 {
        LOST.say(|more| {
            tracing::warn!(
                ifindex = socket.ifindex(),
                lost,
                "DHCP requests by a zone's port came faster than they are read{more}"
            );
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_with_little_to_say_never_rests() {
        let mut now = Instant::now();
        let mut rounds = Rounds::new(now);
        assert!(!rounds.note(BURST, now), "a burst");
        for _ in 0..10_000 {
            now += Duration::from_millis(1);
            assert!(!rounds.note(1, now));
        }
    }

    #[test]
    fn a_port_with_much_to_say_rests_until_it_has_less() {
        let mut now = Instant::now();
        let mut rounds = Rounds::new(now);
        for _ in 0..100 {
            now += Duration::from_micros(200);
            rounds.note(1, now);
        }
        assert!(rounds.note(1, now));
        for _ in 0..100 {
            now += REST;
            assert!(rounds.note(12, now), "in rounds it is as much");
        }
        now += Duration::from_secs(1);
        assert!(!rounds.note(1, now));
    }
}
