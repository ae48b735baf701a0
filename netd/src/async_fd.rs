//! Descriptors that tokio watches.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use netlink_sys::Socket;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Owns one descriptor, and the same for as long as it lives.
pub trait Descriptor: AsRawFd {}

impl Descriptor for OwnedFd {}
impl Descriptor for std::sync::Arc<OwnedFd> {}
impl Descriptor for Socket {}

/// Has tokio watch a descriptor. Must be called within a runtime.
///
/// # Errors
/// The kernel cannot watch it (epoll_ctl(2)).
#[allow(unsafe_code)]
pub fn watch<T: Descriptor>(descriptor: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    // SAFETY: a `Descriptor` owns its descriptor: it is open, stays the same, and
    // nothing else closes it.
    unsafe { AsyncFd::register_with_interest(descriptor, interest) }.map_err(io::Error::from)
}
