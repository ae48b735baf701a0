//! The tree becomes the root directory.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use rustix::mount::{MountAttrFlags, MountPropagationFlags, UnmountFlags, mount_change, unmount};
use rustix::process::{chdir, fchdir, pivot_root};

use crate::error::{Doing, StepError};
use crate::mounts::ops::{attach, new_mount};
use crate::tree::open_in;

/// Makes `tree`, a mount that is in no directory yet, the root of this mount
/// namespace; nothing of the host is left. With `on_overlay` the tree is only the
/// lower layer of a root that takes what is written into memory.
///
/// # Errors
/// As mount(2) and pivot_root(2).
pub fn enter(tree: &OwnedFd, on_overlay: bool) -> Result<(), StepError> {
    mount_change(
        "/",
        MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC,
    )
    .doing(|| "keep the container's mounts from the host".into())?;
    put_over_root(tree)?;
    let overlay;
    let root = if on_overlay {
        overlay = overlay_on(tree)?;
        put_over_root(&overlay)?;
        &overlay
    } else {
        tree
    };
    let pivot = || -> io::Result<()> {
        fchdir(root)?;
        pivot_root(".", ".")?;
        // What was the root lies over the new one now.
        unmount(".", UnmountFlags::DETACH)?;
        Ok(chdir("/")?)
    };
    pivot().doing(|| "make the tree the container's root".into())
}

/// Whether one of the paths is missing in the tree.
#[must_use]
pub fn lacks_one(tree: &OwnedFd, paths: &[&Path]) -> bool {
    paths.iter().any(|path| {
        matches!(
            open_in(tree.as_fd(), path, OFlags::PATH),
            Err(error) if error.kind() == io::ErrorKind::NotFound
        )
    })
}

fn put_over_root(mount: &OwnedFd) -> Result<(), StepError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, "/", flags, Mode::empty())
        .map_err(io::Error::from)
        .and_then(|root| attach(mount, root))
        .doing(|| "mount the tree".into())
}

fn overlay_on(tree: &OwnedFd) -> Result<OwnedFd, StepError> {
    let memory = new_mount("tmpfs", &[("mode", Some("0755"))], MountAttrFlags::empty())?;
    for name in ["upper", "work"] {
        mkdirat(&memory, name, Mode::from_raw_mode(0o755))
            .doing(|| "make the upper layer of the root".into())?;
    }
    put_over_root(&memory)?;
    let lower = format!("/proc/self/fd/{}", tree.as_raw_fd());
    let upper = format!("/proc/self/fd/{}/upper", memory.as_raw_fd());
    let work = format!("/proc/self/fd/{}/work", memory.as_raw_fd());
    new_mount(
        "overlay",
        &[
            ("lowerdir", Some(&lower)),
            ("upperdir", Some(&upper)),
            ("workdir", Some(&work)),
        ],
        MountAttrFlags::empty(),
    )
}
