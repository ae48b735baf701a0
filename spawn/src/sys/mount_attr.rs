//! mount_setattr(2).
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// A change of a mount's attributes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Change {
    /// MOUNT_ATTR_* bits to set.
    pub set: u64,
    /// MOUNT_ATTR_* bits to clear.
    pub clear: u64,
    /// MS_PRIVATE, MS_SLAVE or MS_SHARED; 0 leaves the propagation as it is.
    pub propagation: u64,
    /// Whether mounts below change as well.
    pub recursive: bool,
}

/// Changes the mount at whose root `mount` is open.
///
/// # Errors
/// As mount_setattr(2).
pub fn change(mount: impl AsFd, change: Change) -> io::Result<()> {
    let attr = libc::mount_attr {
        attr_set: change.set,
        attr_clr: change.clear,
        propagation: change.propagation,
        userns_fd: 0,
    };
    let mut flags = libc::AT_EMPTY_PATH;
    if change.recursive {
        flags |= libc::AT_RECURSIVE;
    }
    // SAFETY: the path is a C string, `attr` is valid for the size that is given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(&attr),
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
