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
pub struct Requests(mpsc::Sender<Received>);

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
        Ok((place, Requests(sender)))
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

    /// Sends a datagram by the port that it names, at once or not at all.
    ///
    /// # Errors
    /// If the port is down or gone, its queue is full, or the datagram too long.
    pub fn send(&self, transmit: &Transmit) -> io::Result<()> {
        frame::send(&self.sender, transmit)
    }
}

impl Requests {
    /// Listens at the port with this index of the bridge with this Ethernet address. The
    /// socket is closed by `worker`, as that takes some time. Must be called within a tokio
    /// `LocalSet`.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn listen(&self, port: u32, bridge: Mac, worker: Queue) -> Result<Listener, OpenError> {
        let socket = PacketSocket::open_port(port, bridge)?;
        let (until_dropped, dropped) = oneshot::channel();
        let requests = self.0.clone();
        tokio::task::spawn_local(async move {
            tokio::select! {
                _ = dropped => {}
                () = pass_on(&socket, &requests) => {}
            }
            let descriptor = socket.into_descriptor();
            worker.add(move || drop(descriptor));
        });
        Ok(Listener {
            _until_dropped: until_dropped,
        })
    }
}

/// Until the server has ended.
async fn pass_on(socket: &PacketSocket, requests: &mpsc::Sender<Received>) {
    let mut looked = Instant::now();
    loop {
        if looked.elapsed() >= LOOK_FOR_LOSSES {
            looked = Instant::now();
            tell_losses(socket);
        }
        let received = match socket.recv().await {
            Ok(received) => received,
            Err(error) => {
                tracing::warn!(
                    ifindex = socket.ifindex(),
                    "no DHCP for what is behind this interface: {error}"
                );
                return;
            }
        };
        if requests.send(received).await.is_err() {
            return;
        }
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
