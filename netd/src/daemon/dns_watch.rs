//! Noticing that the host's name servers change.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

use super::{Daemon, Input};
use crate::upstream_dns::UpstreamDns;

/// Starts to tell the daemon of changes.
pub(super) fn start(daemon: mpsc::Sender<Input>) {
    match watch() {
        Ok(watch) => {
            tokio::task::spawn_local(tell(watch, daemon));
        }
        Err(error) => tracing::warn!(
            "changes of the host's name servers go unnoticed until netd is started anew: {error}"
        ),
    }
}

fn watch() -> std::io::Result<AsyncFd<OwnedFd>> {
    let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    let changes = WatchFlags::CLOSE_WRITE | WatchFlags::MOVED_TO | WatchFlags::CREATE;
    for file in UpstreamDns::files() {
        // The files are replaced, not written: only their directories can be watched.
        let Some(directory) = Path::new(file).parent() else {
            continue;
        };
        let _ = inotify::add_watch(&watch, directory, changes | WatchFlags::ONLYDIR);
    }
    crate::async_fd::watch(watch, Interest::READABLE)
}

async fn tell(watch: AsyncFd<OwnedFd>, daemon: mpsc::Sender<Input>) {
    let mut buffer = [0; 4096];
    loop {
        let read = watch
            .async_io(Interest::READABLE, |watch| {
                Ok(rustix::io::read(watch, &mut buffer)?)
            })
            .await;
        if read.is_err() || daemon.send(Input::DnsChanged).await.is_err() {
            return;
        }
    }
}

impl Daemon {
    pub(super) fn reread_dns(&mut self) {
        let dns = UpstreamDns::read();
        if dns != self.dns {
            tracing::info!(servers = ?dns.servers, "the host's name servers changed");
            self.dns = dns;
            self.refresh_dhcp();
        }
    }
}
