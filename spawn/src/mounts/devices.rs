//! /dev: the devices that every program may count on, terminals of its own, and
//! nothing of the host's hardware.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, FileType, Mode, OFlags, makedev, mkdirat, mknodat, openat, symlinkat};
use rustix::mount::MountAttrFlags;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};

use crate::error::{Doing, StepError};
use crate::mounts::ops::{PLAIN, new_mount};
use crate::mounts::target::{Kind, Targets};

/// Character devices: name, major and minor number.
pub const NODES: [(&str, u32, u32); 7] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
    ("net/tun", 10, 200),
];
const LINKS: [(&str, &str); 6] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("/proc/kcore", "core"),
    ("pts/ptmx", "ptmx"),
];
/// The group `tty`, the same number on every distribution.
const TTY_GROUP: &str = "5";

/// Mounts /dev and what is below it.
///
/// # Errors
/// See [`Targets::attach`].
pub fn mount(targets: &Targets<'_>) -> Result<(), StepError> {
    let dev = new_mount(
        "tmpfs",
        &[
            ("mode", Some("0755")),
            ("size", Some("4M")),
            ("nr_inodes", Some("64k")),
        ],
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC,
    )?;
    let fill = || -> io::Result<()> {
        for name in ["net", "pts", "shm", "mqueue"] {
            mkdirat(&dev, name, Mode::from_raw_mode(0o755))?;
        }
        for (name, major, minor) in NODES {
            let mode = Mode::from_raw_mode(0o666);
            let number = makedev(major, minor);
            mknodat(&dev, name, FileType::CharacterDevice, mode, number)?;
        }
        for (to, name) in LINKS {
            symlinkat(to, &dev, name)?;
        }
        Ok(())
    };
    fill().doing(|| "make the device nodes".into())?;
    targets.attach(dev, "/dev", Kind::Directory)?;
    let pts = new_mount(
        "devpts",
        &[
            ("mode", Some("0620")),
            ("ptmxmode", Some("0666")),
            ("gid", Some(TTY_GROUP)),
        ],
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC,
    )?;
    targets.attach(pts, "/dev/pts", Kind::Directory)?;
    let shm = new_mount(
        "tmpfs",
        &[("mode", Some("1777")), ("size", Some("10%"))],
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV,
    )?;
    targets.attach(shm, "/dev/shm", Kind::Directory)?;
    // A kernel may have been built without message queues.
    if let Ok(queues) = new_mount("mqueue", &[], PLAIN) {
        targets.attach(queues, "/dev/mqueue", Kind::Directory)?;
    }
    Ok(())
}

/// The two ends of the container's console.
#[derive(Debug)]
pub struct Console {
    /// For the supervisor.
    pub master: OwnedFd,
    /// For the payload.
    pub slave: OwnedFd,
}

/// Makes the console: the first of the container's own pseudo terminals.
///
/// # Errors
/// As open(2) of ptmx.
pub fn console() -> Result<Console, StepError> {
    let make = || -> io::Result<Console> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let master = openat(CWD, "/dev/pts/ptmx", flags, Mode::empty())?;
        unlockpt(&master)?;
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let slave = ioctl_tiocgptpeer(&master, flags)?;
        symlinkat("pts/0", CWD, "/dev/console")?;
        Ok(Console { master, slave })
    };
    make().doing(|| "make the container's console".into())
}
