//! Proof that a process is still the one that was recorded.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// What tells a process from every other one of this boot, also after its id was
/// given to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderId {
    /// Process id in the host's PID namespace.
    pub pid: u32,
    /// Start time in clock ticks since boot (proc_pid_stat(5), field 22).
    pub start_time: u64,
    /// Inode of the process's pidfd, unique for the boot on kernels with pidfs
    /// (6.9), 0 elsewhere.
    pub pidfd_id: u64,
}

impl LeaderId {
    /// Reads the proof for a process that is held by `pidfd`.
    ///
    /// # Errors
    /// The process is gone, or /proc is not there.
    pub fn of(pid: u32, pidfd: impl AsFd) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let start_time = start_time(&stat).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "unreadable /proc/PID/stat")
        })?;
        Ok(Self {
            pid,
            start_time,
            pidfd_id: pidfd_id(pidfd)?,
        })
    }

    /// Opens the process again, if it still is the same.
    #[must_use]
    pub fn reopen(&self) -> Option<OwnedFd> {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        (Self::of(self.pid, &pidfd).ok()? == *self).then_some(pidfd)
    }
}

/// The process that a pidfd stands for, by /proc/self/fdinfo; `None` if it is gone
/// or outside this PID namespace.
#[must_use]
pub fn pid_of(pidfd: impl AsFd) -> Option<u32> {
    use std::os::fd::AsRawFd;
    let fd = pidfd.as_fd().as_raw_fd();
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("Pid:"))?;
    line.trim().parse::<u32>().ok().filter(|pid| *pid != 0)
}

/// The id of this boot of the host, 32 hexadecimal digits.
///
/// # Errors
/// /proc is not there.
pub fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?
        .trim()
        .replace('-', ""))
}

fn start_time(stat: &str) -> Option<u64> {
    // The command's name may hold anything, parentheses and spaces included.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

fn pidfd_id(pidfd: impl AsFd) -> io::Result<u64> {
    const PID_FS_MAGIC: u64 = 0x5049_4446;
    let statfs = rustix::fs::fstatfs(&pidfd)?;
    if statfs.f_type as u64 != PID_FS_MAGIC {
        return Ok(0);
    }
    Ok(rustix::fs::fstat(&pidfd)?.st_ino)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_again_until_it_ends() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let pid = Pid::from_raw(child.id() as i32).unwrap();
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        let id = LeaderId::of(child.id(), &pidfd).unwrap();
        assert_eq!(pid_of(&pidfd), Some(child.id()));
        assert!(id.reopen().is_some());
        assert!(
            LeaderId {
                start_time: id.start_time + 1,
                ..id.clone()
            }
            .reopen()
            .is_none()
        );
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(id.reopen().is_none());
        assert_eq!(pid_of(&pidfd), None);
    }

    #[test]
    fn a_hostile_command_name_does_not_move_the_fields() {
        let stat = format!("7 (a) R 1 (b) S{}", " 5".repeat(18) + " 4242 0 0");
        assert_eq!(start_time(&stat), Some(4242));
        assert_eq!(start_time("7 (a"), None);
    }
}
