//! What a process does to itself before it becomes the payload.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Descriptors from `first` on are closed.
pub fn close_from(first: u32) {
    // SAFETY: the caller gives up every descriptor from `first` on; this is only
    // done where no owner of one of them is used any more.
    unsafe {
        libc::syscall(libc::SYS_close_range, first, u32::MAX, 0);
    }
}

/// Every descriptor but the standard streams and `kept` is closed.
pub fn close_all_but(kept: &[BorrowedFd<'_>]) {
    let mut numbers: Vec<u32> = kept
        .iter()
        .map(|fd| fd.as_raw_fd().cast_unsigned())
        .filter(|number| *number > 2)
        .collect();
    numbers.sort_unstable();
    let mut first = 3;
    for number in numbers {
        if number > first {
            // SAFETY: as in `close_from`.
            unsafe {
                libc::syscall(libc::SYS_close_range, first, number - 1, 0);
            }
        }
        first = number + 1;
    }
    close_from(first);
}

/// Descriptors from `first` on are closed by the next exec.
pub fn cloexec_from(first: u32) {
    // SAFETY: sets a flag of descriptors and closes none.
    unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        );
    }
}

/// Gives the process a session keyring of its own, so that it does not see its
/// parent's keys. Kernels without keys have none to see.
pub fn new_session_keyring() {
    // SAFETY: no memory is handed over.
    unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            libc::KEYCTL_JOIN_SESSION_KEYRING,
            0,
            0,
            0,
            0,
        );
    }
}

/// Replaces the program. Comes back only with an error.
pub fn exec(path: &CStr, args: &[CString], env: &[CString]) -> io::Error {
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings
            .iter()
            .map(|string| string.as_ptr())
            .chain([std::ptr::null()])
            .collect()
    };
    let (args, env) = (pointers(args), pointers(env));
    // SAFETY: both lists end with a null pointer, and the strings outlive the call.
    unsafe {
        libc::execve(path.as_ptr(), args.as_ptr(), env.as_ptr());
    }
    io::Error::last_os_error()
}

/// Ends the process without running what is registered for its end, which belongs
/// to the process that it was forked from.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: never returns and touches no memory.
    unsafe { libc::_exit(code) }
}

/// Overwrites the arguments and the environment that the process was started with,
/// which anybody who sees the process may read, with `title`.
///
/// # Errors
/// /proc is not there or says what it should not.
pub fn hide_arguments(title: &[u8]) -> io::Result<()> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_ascii_whitespace().collect())
        .unwrap_or_default();
    // Fields 48 to 51 of proc_pid_stat(5); field 3 is the first after the name.
    let addresses: Vec<usize> = fields
        .get(45..49)
        .unwrap_or(&[])
        .iter()
        .filter_map(|field| field.parse().ok())
        .collect();
    let [arg_start, arg_end, env_start, env_end] = *addresses else {
        return Err(io::Error::other("/proc/self/stat is too short"));
    };
    if arg_start == 0 || arg_start > arg_end || env_start > env_end {
        return Err(io::Error::other("/proc/self/stat makes no sense"));
    }
    wipe(arg_start, arg_end, title);
    wipe(env_start, env_end, b"");
    Ok(())
}

fn wipe(start: usize, end: usize, title: &[u8]) {
    let title = title.iter().copied().chain(std::iter::repeat(0));
    for (address, byte) in (start..end).zip(title) {
        // SAFETY: the kernel says that the range holds this process's own argument
        // strings, on its stack, writable; nobody holds a reference into it, as
        // the standard library hands out copies.
        unsafe { std::ptr::with_exposed_provenance_mut::<u8>(address).write_volatile(byte) };
    }
}

/// Puts every signal back to its default action and unblocks all.
pub fn reset_signals() {
    for signal in 1..=64 {
        // SAFETY: SIG_DFL needs no handler; signals that cannot be set are left.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = libc::SIG_DFL;
            libc::sigaction(signal, &raw const action, std::ptr::null_mut());
        }
    }
    // SAFETY: an empty set is valid, and nothing is written back.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
    }
}

/// Sends a signal, also a real-time one, to the process that `pidfd` holds.
///
/// # Errors
/// As pidfd_send_signal(2).
pub fn send_signal(pidfd: impl std::os::fd::AsFd, signal: i32) -> io::Result<()> {
    // SAFETY: the kernel fills in the information where none is given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_fd().as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
