//! /run, and in it /run/host: what the host tells the container.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, FileType, Mode, OFlags, makedev, mkdirat, mknodat, openat};
use rustix::mount::MountAttrFlags;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, socket_with, sockopt,
};

use crate::error::{Doing, StepError};
use crate::mounts::ops::{PLAIN, new_mount, set_read_only};
use crate::mounts::target::{Kind, Targets};

const DIRECTORY: &str = "/run/host";
/// Backing of /proc/sys/kernel/random/boot_id.
pub const BOOT_ID: &str = "proc-sys-kernel-random-boot-id";
/// Backing of /proc/kmsg.
pub const KMSG: &str = "proc-kmsg";
/// The file that /etc/resolv.conf is made of.
pub const RESOLV_CONF: &str = "resolv.conf";
/// Where the payload sends its notifications.
pub const NOTIFY_SOCKET: &str = "/run/host/notify";

/// What /run/host says.
#[derive(Clone, Debug)]
pub struct HostFacts {
    /// The host's os-release file.
    pub os_release: Vec<u8>,
    /// The container's machine id, with hyphens.
    pub uuid: String,
    /// This boot of the container, with hyphens.
    pub boot_id: String,
}

/// /run/host while it is still writable, and what the supervisor keeps of it.
#[derive(Debug)]
pub struct RunHost {
    mount: OwnedFd,
    /// Receives the payload's notifications.
    pub notify: OwnedFd,
    /// Keeps /proc/kmsg open, so that who reads it waits instead of seeing its end.
    pub kmsg: OwnedFd,
}

/// The path of something in /run/host.
#[must_use]
pub fn path(name: &str) -> String {
    format!("{DIRECTORY}/{name}")
}

/// Mounts /tmp, /run and /run/host.
///
/// # Errors
/// See [`Targets::attach`].
pub fn mount(targets: &Targets<'_>, facts: &HostFacts) -> Result<RunHost, StepError> {
    let tmpfs = |mode, size| {
        new_mount(
            "tmpfs",
            &[("mode", Some(mode)), ("size", Some(size))],
            MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV,
        )
    };
    targets.attach(tmpfs("1777", "10%")?, "/tmp", Kind::Directory)?;
    targets.attach(tmpfs("0755", "20%")?, "/run", Kind::Directory)?;
    let host = new_mount(
        "tmpfs",
        &[("mode", Some("0755")), ("size", Some("4M"))],
        PLAIN,
    )?;
    fill(&host, facts).doing(|| format!("fill {DIRECTORY}"))?;
    targets.attach(&host, DIRECTORY, Kind::Directory)?;
    let sockets = || -> io::Result<(OwnedFd, OwnedFd)> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let kmsg = openat(&host, KMSG, flags, Mode::empty())?;
        Ok((notify_socket()?, kmsg))
    };
    let (notify, kmsg) = sockets().doing(|| format!("make the socket {NOTIFY_SOCKET}"))?;
    Ok(RunHost {
        mount: host,
        notify,
        kmsg,
    })
}

impl RunHost {
    /// Adds a text file.
    ///
    /// # Errors
    /// As open(2) and write(2).
    pub fn add_file(&self, name: &str, content: &[u8]) -> io::Result<()> {
        write_file(&self.mount, name, 0o444, content)
    }

    /// Makes /run/host read-only.
    ///
    /// # Errors
    /// As mount_setattr(2).
    pub fn seal(&self) -> Result<(), StepError> {
        set_read_only(&self.mount, false).doing(|| format!("make {DIRECTORY} read-only"))
    }
}

fn fill(host: &OwnedFd, facts: &HostFacts) -> io::Result<()> {
    write_file(host, "os-release", 0o444, &facts.os_release)?;
    write_file(host, "container-manager", 0o444, b"rspawn\n")?;
    let line = |text: &str| format!("{text}\n").into_bytes();
    write_file(host, "container-uuid", 0o444, &line(&facts.uuid))?;
    write_file(host, BOOT_ID, 0o444, &line(&facts.boot_id))?;
    mknodat(host, KMSG, FileType::Fifo, Mode::from_raw_mode(0o600), 0)?;
    mkdirat(host, "inaccessible", Mode::from_raw_mode(0o755))?;
    let none = Mode::empty();
    mkdirat(host, "inaccessible/dir", none)?;
    let nodes = [
        ("inaccessible/reg", FileType::RegularFile),
        ("inaccessible/fifo", FileType::Fifo),
        ("inaccessible/sock", FileType::Socket),
        ("inaccessible/chr", FileType::CharacterDevice),
        ("inaccessible/blk", FileType::BlockDevice),
    ];
    for (name, kind) in nodes {
        mknodat(host, name, kind, none, makedev(0, 0))?;
    }
    Ok(())
}

fn write_file(directory: &OwnedFd, name: &str, mode: u32, content: &[u8]) -> io::Result<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = openat(directory, name, flags, Mode::from_raw_mode(mode))?;
    io::Write::write_all(&mut std::fs::File::from(file), content)
}

fn notify_socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    sockopt::set_socket_passcred(&socket, true)?;
    bind(&socket, &SocketAddrUnix::new(NOTIFY_SOCKET)?)?;
    rustix::fs::chmodat(
        CWD,
        NOTIFY_SOCKET,
        Mode::from_raw_mode(0o200),
        rustix::fs::AtFlags::empty(),
    )?;
    Ok(socket)
}
