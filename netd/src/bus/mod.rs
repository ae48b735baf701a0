//! D-Bus, peer to peer on a socket of netd's own: no bus daemon is needed.
//!
//! Each connection has its own object server with the same objects: the few methods
//! of the bus driver that every client begins with, and `org.rspawn.Netd1`.

mod driver;
mod netd1;
mod slots;
mod socket;

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use futures::StreamExt;
use tokio::net::unix::UCred;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use zbus::connection::Builder;
use zbus::{Connection, Guid, MessageStream};

use crate::daemon::Query;
use crate::log::Pace;

pub use netd1::PATH;

/// How long a new connection may take to say who it is.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);

static NOT_TAKEN: Pace = Pace::new();

/// The socket could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve D-Bus on {path}")]
pub struct BusError {
    path: String,
    #[source]
    source: io::Error,
}

/// Serves on the socket at `path` from now on, until what it gives is told to abort.
/// Must be called within a tokio `LocalSet`.
///
/// # Errors
/// [`BusError`].
pub fn serve(path: &Path, daemon: mpsc::Sender<Query>) -> Result<AbortHandle, BusError> {
    let failed = |source| BusError {
        path: path.display().to_string(),
        source,
    };
    let listener = listen(path).map_err(failed)?;
    let accepting = tokio::task::spawn_local(accept_all(listener, daemon));
    Ok(accepting.abort_handle())
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    let draft = path.with_extension("new");
    let _ = fs::remove_file(&draft);
    let listener = UnixListener::bind(&draft)?;
    // Anybody may ask for names and addresses; what else one may is decided by who
    // one is.
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o666))?;
    fs::rename(&draft, path)?;
    Ok(listener)
}

async fn accept_all(listener: UnixListener, daemon: mpsc::Sender<Query>) {
    let slots = slots::Slots::default();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                NOT_TAKEN.say(|held_back| {
                    tracing::warn!(
                        "cannot take a connection to the bus socket: {error}{held_back}"
                    );
                });
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(credentials) = stream.peer_cred() else {
            continue;
        };
        let Some(slot) = slots.take(credentials.uid()) else {
            tracing::debug!(
                uid = credentials.uid(),
                "too many connections to the bus socket: one turned away"
            );
            continue;
        };
        let daemon = daemon.clone();
        tokio::task::spawn_local(async move {
            let connecting = connect(stream, credentials, daemon);
            match tokio::time::timeout(HANDSHAKE_MAX, connecting).await {
                Ok(Ok(connection)) => until_closed(connection).await,
                Ok(Err(error)) => tracing::debug!("a connection to the bus socket: {error}"),
                Err(_) => tracing::debug!("a connection to the bus socket said nothing"),
            }
            drop(slot);
        });
    }
}

async fn connect(
    stream: UnixStream,
    credentials: UCred,
    daemon: mpsc::Sender<Query>,
) -> zbus::Result<Connection> {
    let privileged = credentials.uid() == 0;
    let guid = Guid::generate();
    let driver = driver::Driver::new(guid.to_string());
    Builder::socket(socket::Bounded::new(stream, credentials))
        .server(guid)
        .p2p()
        .serve_at(driver::PATH, driver)
        .serve_at(netd1::PATH, netd1::Netd1::new(daemon, privileged))
        .build()
        .await
}

async fn until_closed(connection: Connection) {
    let mut messages = MessageStream::from(&connection);
    while let Some(Ok(_)) = messages.next().await {}
}
