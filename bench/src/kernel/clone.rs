//! Processes that cost next to nothing.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

/// As in linux/sched.h; libc's own does not fit its type.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Clones the calling process into the cgroup whose directory is given, to do nothing
/// until it is killed. Gives its process id. Only for a process with a single thread.
///
/// # Errors
/// As clone3(2).
pub fn sleeper(cgroup: impl AsFd) -> io::Result<i32> {
    let flags = CLONE_INTO_CGROUP;
    clone(flags, cgroup.as_fd().as_raw_fd() as u64, || {
        loop {
            // SAFETY: pause has no arguments.
            unsafe { libc::pause() };
        }
    })
}

/// Clones the calling process with namespaces of its own, the kinds of them that a
/// container has and another root, and runs `between` here before it ends. Gives the
/// processor's time of both. Only for a process with a single thread.
///
/// # Errors
/// As clone3(2), pipe2(2) and wait4(2), and those of `between`.
pub fn bare_container(between: impl FnOnce(i32) -> io::Result<()>) -> io::Result<Duration> {
    let before = times(libc::RUSAGE_SELF)? + times(libc::RUSAGE_CHILDREN)?;
    let namespaces = libc::CLONE_NEWNET
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWCGROUP;
    let (reader, writer) = io::pipe()?;
    let (end_reader, end_writer) = (reader.as_raw_fd(), writer.as_raw_fd());
    let pid = clone(namespaces as u64, 0, || {
        // SAFETY: both descriptors are this process's copies, and
        // the pointer is valid for writing.
        unsafe {
            libc::close(end_writer);
            let mut byte = 0_u8;
            libc::read(end_reader, (&raw mut byte).cast(), 1);
        }
        if !has_other_root() {
            // SAFETY: it ends at once.
            unsafe { libc::_exit(1) };
        }
    })?;
    let outcome = between(pid);
    drop(writer);
    let mut status = 0;
    // SAFETY: the pointer is valid for writing.
    if unsafe { libc::waitpid(pid, &raw mut status, 0) } < 0 {
        return Err(io::Error::last_os_error());
    }
    drop(reader);
    outcome?;
    if status != 0 {
        return Err(io::Error::other("no other root"));
    }
    Ok(times(libc::RUSAGE_SELF)? + times(libc::RUSAGE_CHILDREN)? - before)
}

/// An empty file system becomes the root of the calling process's mount namespace. Whether
/// that was done.
fn has_other_root() -> bool {
    let none = std::ptr::null();
    let (here, place, kind) = (c".".as_ptr(), c"/tmp".as_ptr(), c"tmpfs".as_ptr());
    let private = libc::MS_REC | libc::MS_SLAVE;
    // SAFETY: all pointers are null where that is allowed, or to strings with an end.
    unsafe {
        libc::mount(none, c"/".as_ptr(), none, private, none.cast()) == 0
            && libc::mount(kind, place, kind, 0, none.cast()) == 0
            && libc::chdir(place) == 0
            && libc::syscall(libc::SYS_pivot_root, here, here) == 0
            && libc::umount2(here, libc::MNT_DETACH) == 0
    }
}

fn clone(flags: u64, cgroup: u64, child: impl FnOnce()) -> io::Result<i32> {
    // SAFETY: all-zero is a valid clone_args.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = flags;
    arguments.exit_signal = libc::SIGCHLD as u64;
    arguments.cgroup = cgroup;
    // SAFETY: the memory is copied as by fork(2), and the caller has a single thread.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw const arguments,
            size_of_val(&arguments),
        )
    };
    match pid {
        0 => {
            // SAFETY: prctl with these has no memory arguments.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            child();
            // SAFETY: it ends without running what the other process registered for its end.
            unsafe { libc::_exit(0) }
        }
        pid if pid > 0 => Ok(pid as i32),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The processor's time that was used, in user space and in the kernel.
fn times(whose: i32) -> io::Result<Duration> {
    // SAFETY: all-zero is a valid rusage, and the pointer is valid for writing.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        if libc::getrusage(whose, &raw mut usage) < 0 {
            return Err(io::Error::last_os_error());
        }
        usage
    };
    let duration = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
    };
    Ok(duration(usage.ru_utime) + duration(usage.ru_stime))
}
