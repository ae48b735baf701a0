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

impl std::fmt::Display for LeaderId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.pid, self.start_time, self.pidfd_id)
    }
}

impl std::str::FromStr for LeaderId {
    type Err = std::num::ParseIntError;

    /// Reads what [`std::fmt::Display`] writes.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut words = text.split(' ').map(str::parse::<u64>);
        let mut next = || words.next().unwrap_or_else(|| "".parse());
        Ok(Self {
            pid: u32::try_from(next()?).unwrap_or(0),
            start_time: next()?,
            pidfd_id: next()?,
        })
    }
}

impl LeaderId {
    /// The proof for the calling process.
    ///
    /// # Errors
    /// As [`LeaderId::of`].
    pub fn own() -> io::Result<Self> {
        let pid = rustix::process::getpid();
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        Self::of(std::process::id(), &pidfd)
    }

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

    /// Opens the process again if it still is the same; `None` if it is gone.
    ///
    /// # Errors
    /// It cannot be told whether it is gone, because descriptors or memory have run
    /// out: it may well run.
    pub fn reopen(&self) -> io::Result<Option<OwnedFd>> {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else {
            return Ok(None);
        };
        let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(error) => return none_if_gone(error.into()),
        };
        match Self::of(self.pid, &pidfd) {
            Ok(found) => Ok((found == *self).then_some(pidfd)),
            Err(error) => none_if_gone(error),
        }
    }
}

/// What an error says of a process: that there is none of this id, or nothing.
fn none_if_gone(error: io::Error) -> io::Result<Option<OwnedFd>> {
    match error
        .raw_os_error()
        .map(rustix::io::Errno::from_raw_os_error)
    {
        // INVAL: the id is that of a thread by now (pidfd_open(2)).
        Some(rustix::io::Errno::SRCH | rustix::io::Errno::NOENT | rustix::io::Errno::INVAL) => {
            Ok(None)
        }
        _ => Err(error),
    }
}

/// The process that a pidfd stands for, by /proc/self/fdinfo; `None` if it is gone,
/// outside this PID namespace, or the descriptor no pidfd.
///
/// # Errors
/// It cannot be looked at, because descriptors or memory have run out.
pub fn pid_of(pidfd: impl AsFd) -> io::Result<Option<u32>> {
    use std::os::fd::AsRawFd;
    let fd = pidfd.as_fd().as_raw_fd();
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}"))?;
    let line = info.lines().find_map(|line| line.strip_prefix("Pid:"));
    let pid = line.and_then(|line| line.trim().parse::<u32>().ok());
    Ok(pid.filter(|pid| *pid != 0))
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
        assert_eq!(pid_of(&pidfd).unwrap(), Some(child.id()));
        assert!(id.reopen().unwrap().is_some());
        assert!(
            LeaderId {
                start_time: id.start_time + 1,
                ..id.clone()
            }
            .reopen()
            .unwrap()
            .is_none()
        );
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(id.reopen().unwrap().is_none());
        assert_eq!(pid_of(&pidfd).unwrap(), None);
    }

    #[test]
    fn a_process_that_cannot_be_opened_is_not_taken_for_gone() {
        let own = Pid::from_raw(std::process::id() as i32).unwrap();
        let pidfd = pidfd_open(own, PidfdFlags::empty()).unwrap();
        let id = LeaderId::of(std::process::id(), &pidfd).unwrap();
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let none = rustix::process::Rlimit {
            current: Some(0),
            ..limit
        };
        rustix::process::setrlimit(rustix::process::Resource::Nofile, none).unwrap();
        let answer = id.reopen();
        rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
        assert_eq!(
            answer.unwrap_err().raw_os_error(),
            Some(rustix::io::Errno::MFILE.raw_os_error())
        );
        assert!(id.reopen().unwrap().is_some());
    }

    #[test]
    fn a_hostile_command_name_does_not_move_the_fields() {
        let stat = format!("7 (a) R 1 (b) S{}", " 5".repeat(18) + " 4242 0 0");
        assert_eq!(start_time(&stat), Some(4242));
        assert_eq!(start_time("7 (a"), None);
    }
}
