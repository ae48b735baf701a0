//! Keeping systemd-networkd off a container's link where it runs without udev.
//!
//! With udev the installed rule marks the links of our group. Without it, which is
//! where /sys is read-only (a host that is itself a container), networkd knows a link
//! by its name alone: it has to be told before the link is there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use registry::IfName;
use registry::networkd::keep_off_file;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{StatVfsMountFlags, statvfs};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// How long a start waits for networkd.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(1);
/// Where networkd keeps its state while it runs.
const STATE: &str = "/run/systemd/netif";

/// A file that has networkd leave a link alone. It goes when this is dropped.
#[derive(Debug)]
pub struct KeepOff(PathBuf);

impl KeepOff {
    /// Tells networkd to leave `link` alone, which is not there yet; does nothing
    /// where networkd does not run, or goes by udev.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn announce(link: &IfName) -> io::Result<Option<Self>> {
        if !Path::new(STATE).is_dir() || !is_without_udev() {
            return Ok(None);
        }
        let path = keep_off_file(link.as_str());
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        fs::write(&path, text(link))?;
        Ok(Some(Self(path)))
    }

    /// Has networkd read the file.
    ///
    /// # Errors
    /// networkd does not take it, or not in time.
    pub fn reload(&self) -> io::Result<()> {
        let mut reload = Command::new("networkctl")
            .arg("reload")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        if !ends_in_time(&reload)? {
            reload.kill()?;
            reload.wait()?;
            return Err(io::Error::other("`networkctl reload` takes too long"));
        }
        if reload.wait()?.success() {
            Ok(())
        } else {
            Err(io::Error::other("`networkctl reload` failed"))
        }
    }
}

fn ends_in_time(child: &Child) -> io::Result<bool> {
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let deadline = Instant::now() + RELOAD_TIMEOUT;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).ok();
        let mut waited = [PollFd::new(&pidfd, PollFlags::IN)];
        match poll(&mut waited, timeout.as_ref()) {
            Ok(ended) => return Ok(ended > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

impl Drop for KeepOff {
    fn drop(&mut self) {
        fs::remove_file(&self.0).ok();
    }
}

/// systemd takes a read-only /sys as the sign that there is no udev.
fn is_without_udev() -> bool {
    statvfs("/sys").is_ok_and(|sys| sys.f_flag.contains(StatVfsMountFlags::RDONLY))
}

fn text(link: &IfName) -> String {
    format!("[Match]\nName={link}\n\n[Link]\nUnmanaged=yes\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_names_one_link() {
        let link: IfName = "ve-web".parse().unwrap();
        assert!(text(&link).starts_with("[Match]\nName=ve-web\n"));
    }
}
