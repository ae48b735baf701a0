//! Noticing that the host's name servers change.

use std::path::Path;

use rustix::fs::inotify::WatchFlags;
use tokio::sync::mpsc;

use super::{Daemon, Input};
use crate::inotify::Inotify;
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

fn watch() -> std::io::Result<Inotify> {
    let watch = Inotify::new()?;
    let changes = WatchFlags::CLOSE_WRITE | WatchFlags::MOVED_TO | WatchFlags::CREATE;
    for file in UpstreamDns::files() {
        // The files are replaced, not written: only their directories can be watched.
        if let Some(directory) = Path::new(file).parent() {
            let _ = watch.add(directory, changes | WatchFlags::ONLYDIR);
        }
    }
    Ok(watch)
}

/// Whatever the change is, and whether some were lost: all is read anew.
async fn tell(watch: Inotify, daemon: mpsc::Sender<Input>) {
    while watch.next().await.is_ok() {
        if daemon.send(Input::DnsChanged).await.is_err() {
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
