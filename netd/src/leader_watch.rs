//! Waiting for a process to end.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use registry::LeaderId;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::Interest;

/// How long after something that may pass (no descriptors, no memory) it is tried
/// again.
const AGAIN: Duration = Duration::from_secs(1);

/// Waits until a process has ended that is known by its id alone. Whatever keeps it
/// from being looked at, it counts as alive until it is seen to be gone.
pub async fn ended_unless_same(process: LeaderId) {
    loop {
        match process.reopen() {
            Ok(Some(pidfd)) => return ended(pidfd).await,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(
                    "cannot look whether process {} still runs: {error}",
                    process.pid
                );
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

/// Waits until the process behind `pidfd` has ended (pidfd_open(2): it becomes
/// readable then).
pub async fn ended(pidfd: OwnedFd) {
    let pidfd = Arc::new(pidfd);
    match crate::async_fd::watch(pidfd.clone(), Interest::READABLE) {
        Ok(watched) if watched.readable().await.is_ok() => return,
        Ok(_) => {}
        Err(error) => tracing::warn!("a process is looked at every second: {error}"),
    }
    // The kernel watches no more descriptors (epoll(7), max_user_watches), or the
    // event loop ends: neither says anything of the process.
    while !has_ended(&pidfd) {
        tokio::time::sleep(AGAIN).await;
    }
}

fn has_ended(pidfd: &OwnedFd) -> bool {
    let mut asked = [PollFd::new(pidfd, PollFlags::IN)];
    let at_once = Timespec::default();
    poll(&mut asked, Some(&at_once)).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Pid, PidfdFlags, pidfd_open};

    #[tokio::test]
    async fn the_end_of_a_process_is_noticed() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let pid = Pid::from_raw(child.id() as i32).unwrap();
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        let watch = tokio::spawn(ended(pidfd));
        tokio::task::yield_now().await;
        assert!(!watch.is_finished());
        child.kill().unwrap();
        watch.await.unwrap();
        child.wait().unwrap();
    }
}
