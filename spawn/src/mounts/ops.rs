//! The mount calls, on descriptors.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use crate::error::{Doing, StepError};
use crate::sys::mount_attr::{Change, change};

/// No set-user-id programs, no device nodes, no programs.
pub const PLAIN: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// Opens a new file system as a mount that is in no directory yet.
///
/// # Errors
/// As fsopen(2), fsconfig(2) and fsmount(2).
pub fn new_mount(
    kind: &str,
    options: &[(&str, Option<&str>)],
    attributes: MountAttrFlags,
) -> Result<OwnedFd, StepError> {
    let make = || -> io::Result<OwnedFd> {
        let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(&context, "source", kind)?;
        for (key, value) in options {
            match value {
                Some(value) => fsconfig_set_string(&context, *key, *value)?,
                None => fsconfig_set_flag(&context, *key)?,
            }
        }
        fsconfig_create(&context)?;
        Ok(fsmount(
            &context,
            FsMountFlags::FSMOUNT_CLOEXEC,
            attributes,
        )?)
    };
    make().doing(|| format!("make a file system of type {kind}"))
}

/// A copy of the mount at `path`, from there on down, that is in no directory yet;
/// with `recursive` also of the mounts below.
///
/// # Errors
/// As open_tree(2).
pub fn copy_of(path: &Path, recursive: bool) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    Ok(open_tree(CWD, path, flags)?)
}

/// As [`copy_of`], with the mounts below, of the directory that is open as `root`.
///
/// # Errors
/// As open_tree(2).
pub fn copy_of_directory(root: impl AsFd) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::AT_EMPTY_PATH;
    Ok(open_tree(root, "", flags)?)
}

/// Puts a mount into the directory, or onto the file, that is open as `target`.
///
/// # Errors
/// As move_mount(2).
pub fn attach(mount: impl AsFd, target: impl AsFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(mount, "", target, "", flags)?)
}

/// Makes a mount read-only.
///
/// # Errors
/// As mount_setattr(2).
pub fn set_read_only(mount: impl AsFd, recursive: bool) -> io::Result<()> {
    let set = u64::from(MountAttrFlags::MOUNT_ATTR_RDONLY.bits());
    change(
        mount,
        Change {
            set,
            recursive,
            ..Change::default()
        },
    )
}

/// Makes a mount writable, as far as its file system is.
///
/// # Errors
/// As mount_setattr(2).
pub fn set_writable(mount: impl AsFd) -> io::Result<()> {
    let clear = u64::from(MountAttrFlags::MOUNT_ATTR_RDONLY.bits());
    change(
        mount,
        Change {
            clear,
            ..Change::default()
        },
    )
}

/// Sets how mounts spread from and to a mount and those below: MS_PRIVATE, MS_SLAVE
/// or MS_SHARED.
///
/// # Errors
/// As mount_setattr(2).
pub fn set_propagation(mount: impl AsFd, propagation: libc::c_ulong) -> io::Result<()> {
    change(
        mount,
        Change {
            propagation,
            recursive: true,
            ..Change::default()
        },
    )
}
