//! clone3(2).
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::process::Pid;

/// As in linux/sched.h; the C library's constant is too narrow.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Which side of the clone the caller is on.
#[derive(Debug)]
pub enum Cloned {
    /// The new process.
    Child,
    /// The calling process.
    Parent {
        /// The new process's id.
        pid: Pid,
        /// Its pidfd, close-on-exec.
        pidfd: OwnedFd,
    },
}

/// Forks into new namespaces (`flags`, CLONE_NEW*) and straight into `cgroup`, the
/// directory of a cgroup2 group, with a copy of the caller's memory.
///
/// # Errors
/// As clone3(2).
///
/// # Safety
/// The caller must have one thread only: a lock that another thread holds would be
/// held for ever in the child.
pub unsafe fn clone_into(flags: libc::c_int, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Cloned> {
    let mut pidfd: libc::c_int = -1;
    // SAFETY: all zeros is a valid `clone_args`.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags as u32 as u64 | libc::CLONE_PIDFD as u64;
    args.pidfd = std::ptr::from_mut(&mut pidfd) as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: `args` is valid for its size, `pidfd` outlives the call, and without
    // CLONE_VM and a stack the child goes on as after fork(2).
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            std::ptr::from_mut(&mut args),
            size_of::<libc::clone_args>(),
        )
    };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Cloned::Child),
        pid => {
            // SAFETY: the kernel has just opened it for us.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
            match pid {
                Some(pid) => Ok(Cloned::Parent { pid, pidfd }),
                None => Err(io::Error::other("clone3 gave no process id")),
            }
        }
    }
}

/// Forks.
///
/// # Errors
/// As fork(2).
///
/// # Safety
/// As [`clone_into`].
pub unsafe fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: the caller has one thread.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(Pid::from_raw(pid)),
    }
}
