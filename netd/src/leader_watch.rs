//! Waiting for a process to end.

use std::os::fd::OwnedFd;

use tokio::io::Interest;

/// Waits until the process behind `pidfd` has ended (pidfd_open(2): it becomes
/// readable then).
pub async fn ended(pidfd: OwnedFd) {
    match crate::async_fd::watch(pidfd, Interest::READABLE) {
        Ok(pidfd) => {
            let _ = pidfd.readable().await;
        }
        Err(error) => tracing::error!("cannot watch a process: {error}"),
    }
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
