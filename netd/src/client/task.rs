//! The task of one link.

use std::io;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedReceiver;

use super::Told;
use super::link::{ClientLink, Left};
use super::sockets::{Heard, Sockets};

/// How long nothing is received after the kernel has refused to.
const PAUSE: Duration = Duration::from_millis(100);

/// Runs a client until netd stops or its link is gone, or another is to go on: then it
/// gives what that one needs.
pub(super) async fn run(client: ClientLink, mut orders: UnboundedReceiver<Told>) -> Option<Left> {
    // A future has room for each of its steps: without this for the client several times.
    let mut client = Box::new(client);
    loop {
        let deadline = client.deadline();
        tokio::select! {
            told = orders.recv() => match told {
                Some(told) => {
                    if !client.obey(told) {
                        break;
                    }
                }
                None => {
                    client.link_is_gone();
                    break;
                }
            },
            heard = hear(client.sockets.as_ref()) => match heard {
                Ok(heard) => client.hear(heard),
                Err(error) => {
                    tracing::debug!(link = %client.link.name, %error, "cannot receive");
                    tokio::time::sleep(PAUSE).await;
                }
            },
            () = until(deadline) => client.wake(),
        }
        // However much comes in, others get their turn.
        tokio::task::yield_now().await;
    }
    client.close()
}

async fn hear(sockets: Option<&Sockets>) -> io::Result<Heard> {
    match sockets {
        Some(sockets) => sockets.next().await,
        None => std::future::pending().await,
    }
}

async fn until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when.into()).await,
        None => std::future::pending().await,
    }
}
