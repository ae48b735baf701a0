//! The process at the other end of a connection.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};

use registry::LeaderId;
use registry::protocol::RefusalReason;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::check::Rejected;
use super::{refusal, sys};

/// How many generations may lie between a supervisor and the leader: its child, or the
/// child of a process that it has started for that.
const GENERATIONS: u32 = 3;

/// A caller that may register containers.
#[derive(Debug)]
pub(super) struct Caller {
    /// Which process it is.
    pub process: LeaderId,
    /// While this is held, its process id is nobody else's.
    _pidfd: OwnedFd,
}

/// Who is at the other end: root, in a process that netd can see.
pub(super) fn of(socket: &impl AsFd) -> Result<Caller, Rejected> {
    let not_allowed = |message: &str| refusal(RefusalReason::NotAllowed, message);
    let (pid, uid) = sys::peer(socket).map_err(|_| not_allowed("the caller has no credentials"))?;
    if uid != 0 {
        return Err(not_allowed("only root may register containers").into());
    }
    // The kernel has 0 for one that is in none of the process namespaces below.
    let number = u32::try_from(pid).ok().filter(|pid| *pid != 0);
    let (Some(number), Some(pid)) = (number, Pid::from_raw(pid)) else {
        return Err(not_allowed("the caller is in another PID namespace").into());
    };
    let gone = |error| Rejected::unless_gone(error, not_allowed("the caller has ended"));
    let pidfd = match sys::peer_pidfd(socket) {
        // Kernels before 6.5 do not have it.
        Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => {
            pidfd_open(pid, PidfdFlags::empty()).map_err(|error| gone(error.into()))?
        }
        pidfd => pidfd.map_err(gone)?,
    };
    let process = LeaderId::of(number, &pidfd).map_err(gone)?;
    Ok(Caller {
        process,
        _pidfd: pidfd,
    })
}

impl Caller {
    /// Whether a process is a child of this one, or of a child of its: by the chain of
    /// parents, which no process can forge.
    pub(super) fn has_started(&self, process: u32) -> bool {
        let mut at = process;
        for _ in 0..GENERATIONS {
            match parent(at) {
                Some(parent) if parent == self.process.pid => return true,
                Some(parent) if parent > 1 => at = parent,
                _ => return false,
            }
        }
        false
    }
}

/// A process's parent (proc_pid_stat(5), field 4).
fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name may hold anything, parentheses and spaces included.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    fn caller(pid: u32) -> Caller {
        let raw = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        let pidfd = pidfd_open(raw, PidfdFlags::empty()).unwrap();
        Caller {
            process: LeaderId::of(pid, &pidfd).unwrap(),
            _pidfd: pidfd,
        }
    }

    #[test]
    fn children_and_theirs_were_started_by_it_and_others_were_not() {
        let mut shell = Command::new("sh")
            .args(["-c", "sleep 60 & echo $!; wait"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let output = shell.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).unwrap();
        let grandchild: u32 = line.trim().parse().unwrap();
        let own = caller(std::process::id());
        assert!(own.has_started(shell.id()));
        assert!(own.has_started(grandchild));
        assert!(!own.has_started(std::process::id()));
        assert!(!own.has_started(1));
        assert!(!own.has_started(0));
        assert!(!caller(shell.id()).has_started(std::process::id()));
        assert!(!caller(grandchild).has_started(shell.id()));
        let grandchild = Pid::from_raw(grandchild.try_into().unwrap()).unwrap();
        rustix::process::kill_process(grandchild, rustix::process::Signal::KILL).unwrap();
        shell.wait().unwrap();
    }
}
