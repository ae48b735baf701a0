//! /proc, /sys and the cgroup hierarchy.

use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, mkdirat, unlinkat};
use rustix::mount::{MountAttrFlags, UnmountFlags, unmount};

use crate::error::{Doing, StepError};
use crate::mounts::ops::{PLAIN, copy_of, new_mount, set_read_only, set_writable};
use crate::mounts::run_host;
use crate::mounts::target::{Kind, Targets};

/// What a container with a network of its own sees of sysfs.
const SYS_SHOWN: [&str; 6] = ["block", "bus", "class", "dev", "devices", "kernel"];
/// Directories in the container's /sys that others are mounted on.
const SYS_MADE: [&str; 3] = ["fs", "fs/bpf", "fs/cgroup"];
const PROC_READ_ONLY: [&str; 7] = [
    "/proc/acpi",
    "/proc/apm",
    "/proc/asound",
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/scsi",
];
const PROC_HIDDEN: [&str; 5] = [
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/keys",
    "/proc/sysrq-trigger",
    "/proc/timer_list",
];

/// Mounts /proc, whole.
///
/// # Errors
/// See [`Targets::attach`].
pub fn proc(targets: &Targets<'_>) -> Result<(), StepError> {
    targets.attach(new_mount("proc", &[], PLAIN)?, "/proc", Kind::Directory)
}

/// Makes /proc/sys and the like read-only and hides what is the host's business.
/// The sysctls of the network stay writable where the network is the container's.
///
/// # Errors
/// See [`Targets::attach`].
pub fn restrict_proc(targets: &Targets<'_>, private_network: bool) -> Result<(), StepError> {
    read_only_again(targets, "/proc/sys")?;
    if private_network {
        let path = "/proc/sys/net";
        let doing = || format!("mount {path}");
        let copy = copy_of(Path::new(path), false).doing(doing)?;
        set_writable(&copy).doing(doing)?;
        targets.attach(copy, path, Kind::Directory)?;
    }
    for path in PROC_READ_ONLY {
        if Path::new(path).exists() {
            read_only_again(targets, path)?;
        }
    }
    for path in PROC_HIDDEN {
        if Path::new(path).exists() {
            over(targets, &run_host::path("inaccessible/reg"), path)?;
        }
    }
    over(
        targets,
        &run_host::path(run_host::BOOT_ID),
        "/proc/sys/kernel/random/boot_id",
    )?;
    if Path::new("/proc/kmsg").exists() {
        over(targets, &run_host::path(run_host::KMSG), "/proc/kmsg")?;
    }
    Ok(())
}

/// Mounts /sys, read-only: all of it in the host's network, otherwise the parts of
/// it that a container has use for.
///
/// # Errors
/// See [`Targets::attach`].
pub fn sys(targets: &Targets<'_>, private_network: bool) -> Result<(), StepError> {
    // The file system itself is read-only too, where it is not the host's own.
    let options: &[(&str, Option<&str>)] = if private_network {
        &[("ro", None)]
    } else {
        &[]
    };
    let sysfs = new_mount("sysfs", options, PLAIN | MountAttrFlags::MOUNT_ATTR_RDONLY)?;
    if !private_network {
        return targets.attach(sysfs, "/sys", Kind::Directory);
    }
    let doing = || "make /sys".into();
    let shown = new_mount("tmpfs", &[("mode", Some("0555"))], PLAIN)?;
    for name in SYS_SHOWN.iter().chain(&SYS_MADE).chain(&["all"]) {
        mkdirat(&shown, *name, Mode::from_raw_mode(0o755)).doing(doing)?;
    }
    targets.attach(&shown, "/sys", Kind::Directory)?;
    targets.attach(sysfs, "/sys/all", Kind::Directory)?;
    for name in SYS_SHOWN {
        let from = format!("/sys/all/{name}");
        if Path::new(&from).is_dir() {
            let copy = copy_of(Path::new(&from), false).doing(doing)?;
            targets.attach(copy, &format!("/sys/{name}"), Kind::Directory)?;
        }
    }
    unmount("/sys/all", UnmountFlags::DETACH).doing(doing)?;
    unlinkat(CWD, "/sys/all", AtFlags::REMOVEDIR).doing(doing)?;
    set_read_only(shown, false).doing(doing)
}

/// Mounts the cgroup hierarchy of this process's cgroup namespace.
///
/// # Errors
/// See [`Targets::attach`].
pub fn cgroup(targets: &Targets<'_>) -> Result<(), StepError> {
    let mount = new_mount("cgroup2", &[], PLAIN)?;
    targets.attach(mount, "/sys/fs/cgroup", Kind::Directory)
}

fn read_only_again(targets: &Targets<'_>, path: &str) -> Result<(), StepError> {
    let doing = || format!("make {path} read-only");
    let copy = copy_of(Path::new(path), false).doing(doing)?;
    set_read_only(&copy, false).doing(doing)?;
    targets.attach(copy, path, Kind::Directory)
}

fn over(targets: &Targets<'_>, source: &str, path: &str) -> Result<(), StepError> {
    let doing = || format!("hide {path}");
    let copy = copy_of(Path::new(source), false).doing(doing)?;
    set_read_only(&copy, false).doing(doing)?;
    targets.attach(copy, path, Kind::File)
}
