//! signalfd(2), and signals that are waited for.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Signals that are blocked and read from a descriptor instead.
#[derive(Debug)]
pub struct SignalFd(OwnedFd);

fn set_of(signals: &[i32]) -> libc::sigset_t {
    // SAFETY: the set is made valid by sigemptyset before anything else.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in signals {
            libc::sigaddset(&raw mut set, *signal);
        }
        set
    }
}

impl SignalFd {
    /// Blocks `signals` and opens a descriptor, close-on-exec and non-blocking,
    /// that says when one came.
    ///
    /// # Errors
    /// As signalfd(2).
    pub fn new(signals: &[i32]) -> io::Result<Self> {
        let set = set_of(signals);
        // SAFETY: `set` is valid; the result is a new descriptor or -1.
        unsafe {
            libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
            let fd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
            if fd == -1 {
                return Err(io::Error::last_os_error());
            }
            Ok(Self(OwnedFd::from_raw_fd(fd)))
        }
    }

    /// The next signal, if one came.
    #[must_use]
    pub fn next(&self) -> Option<i32> {
        let mut info = [0u8; size_of::<libc::signalfd_siginfo>()];
        let read = rustix::io::read(&self.0, &mut info).ok()?;
        let number = info.first_chunk::<4>()?;
        (read == info.len()).then(|| i32::from_ne_bytes(*number))
    }
}

impl std::os::fd::AsFd for SignalFd {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for SignalFd {
    fn as_raw_fd(&self) -> i32 {
        self.0.as_raw_fd()
    }
}

/// Waits for one of `signals`, which are blocked.
///
/// # Errors
/// As sigwaitinfo(2).
pub fn wait_for(signals: &[i32]) -> io::Result<i32> {
    let set = set_of(signals);
    // SAFETY: `set` is valid, and no information is written back.
    let signal = unsafe { libc::sigwaitinfo(&raw const set, std::ptr::null_mut()) };
    if signal == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(signal)
    }
}

/// Blocks `signals`.
pub fn block(signals: &[i32]) {
    let set = set_of(signals);
    // SAFETY: `set` is valid, and nothing is written back.
    unsafe {
        libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
    }
}
