//! The root of a host: the machine's own root under an overlay.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind_recursive, mount_change,
    mount_remount, unmount,
};
use rustix::process::{chdir, pivot_root};

use crate::tree::tree_cache;

/// The machine id of every host: they don't see each other, and what is derived
/// from it is the same in each run of a test.
const MACHINE_ID: &str = "4b7a1c0de5f94d2f8a6e3b2c1d0f9e8a\n";

/// Files of a host that must not depend on the machine's.
const FILES: [(&str, &str); 6] = [
    ("etc/machine-id", MACHINE_ID),
    ("etc/hostname", "host\n"),
    ("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    // A resolver in the outside (RFC 5737) that is not there: no look-up leaves
    // the host, and one that fails fails soon.
    (
        "etc/resolv.conf",
        "nameserver 198.51.100.53\noptions timeout:1 attempts:1\n",
    ),
    (
        "etc/nsswitch.conf",
        "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\n\
         protocols: files\nservices: files\n",
    ),
    // The names that ssh is given are new in every host.
    (
        "root/.ssh/config",
        "Host *\n  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  LogLevel ERROR\n  \
         ConnectTimeout 10\n  BatchMode yes\n",
    ),
];

/// Character devices: name, major, minor.
const DEVICES: [(&str, u32, u32); 8] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
    ("fuse", 10, 229),
    ("net/tun", 10, 200),
];

/// Gives the calling process, which has its own mount, process, network and cgroup
/// namespaces, the root of a new host.
pub fn build_root() -> io::Result<()> {
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )?;
    // Any directory will do to build in: only this process sees what is mounted on it.
    let base = Path::new("/tmp");
    let cache = pin(&tree_cache())?;
    tmpfs(base, "mode=0755")?;
    let root = base.join("root");
    for directory in ["root", "upper", "work"] {
        fs::create_dir(base.join(directory))?;
    }
    // The root of the overlay has the mode of its upper directory.
    fs::set_permissions(base.join("upper"), fs::Permissions::from_mode(0o755))?;
    mount(
        "overlay",
        &root,
        "overlay",
        MountFlags::empty(),
        Some(c"lowerdir=/,upperdir=/tmp/upper,workdir=/tmp/work,index=off,metacopy=off"),
    )?;
    fill(&root)?;
    if let Some(cache) = cache {
        bind_read_only(&cache, &root.join(tree_cache().strip_prefix("/").unwrap()))?;
    }
    enter(&root)
}

/// A path by which a directory stays reachable when something is mounted above it.
fn pin(directory: &Path) -> io::Result<Option<fs::File>> {
    match fs::File::open(directory) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn fill(root: &Path) -> io::Result<()> {
    for (directory, options) in [
        ("run", "mode=0755"),
        ("tmp", "mode=1777"),
        ("var/tmp", "mode=1777"),
        ("var/log", "mode=0755"),
        ("var/lib/rspawn", "mode=0755"),
        ("var/lib/systemd", "mode=0755"),
        ("root/.ssh", "mode=0700"),
    ] {
        tmpfs(&made(root, directory)?, options)?;
    }
    // For trees and their upper layers, which an overlay cannot hold. With devices
    // and setuid programs, as on a disk.
    let trees = made(root, "trees")?;
    mount(
        "tmpfs",
        trees,
        "tmpfs",
        MountFlags::empty(),
        Some(c"mode=0755"),
    )?;
    made(root, "run/lock")?;
    for (file, content) in FILES {
        let path = root.join(file);
        // A link of the machine's, as resolv.conf often is, is replaced.
        let _ = fs::remove_file(&path);
        fs::write(&path, content)?;
    }
    devices(&made(root, "dev")?)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", made(root, "proc")?, "proc", flags, None)?;
    // Both show the namespaces of the process that mounts them.
    mount("sysfs", made(root, "sys")?, "sysfs", flags, None)?;
    mount(
        "cgroup2",
        root.join("sys/fs/cgroup"),
        "cgroup2",
        flags,
        None,
    )?;
    Ok(())
}

fn devices(dev: &Path) -> io::Result<()> {
    mount(
        "tmpfs",
        dev,
        "tmpfs",
        MountFlags::NOSUID,
        Some(c"mode=0755"),
    )?;
    for directory in ["net", "pts", "shm", "mqueue"] {
        fs::create_dir(dev.join(directory))?;
    }
    for (name, major, minor) in DEVICES {
        let path = dev.join(name);
        mknodat(
            CWD,
            &path,
            FileType::CharacterDevice,
            Mode::from_raw_mode(0o666),
            makedev(major, minor),
        )?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
    }
    for (name, target) in [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        symlink(target, dev.join(name))?;
    }
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    mount(
        "devpts",
        dev.join("pts"),
        "devpts",
        flags,
        Some(c"newinstance,ptmxmode=0666,mode=0620,gid=5"),
    )?;
    mount("mqueue", dev.join("mqueue"), "mqueue", flags, None)?;
    tmpfs(&dev.join("shm"), "mode=1777")
}

fn made(root: &Path, directory: &str) -> io::Result<PathBuf> {
    let path = root.join(directory);
    fs::create_dir_all(&path)?;
    Ok(path)
}

fn tmpfs(on: &Path, options: &str) -> io::Result<()> {
    let options = std::ffi::CString::new(options)?;
    mount(
        "tmpfs",
        on,
        "tmpfs",
        MountFlags::NOSUID | MountFlags::NODEV,
        Some(options.as_c_str()),
    )?;
    Ok(())
}

fn bind_read_only(from: &fs::File, on: &Path) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    fs::create_dir_all(on)?;
    mount_bind_recursive(format!("/proc/self/fd/{}", from.as_raw_fd()), on)?;
    mount_remount(on, MountFlags::BIND | MountFlags::RDONLY, c"")?;
    Ok(())
}

fn enter(root: &Path) -> io::Result<()> {
    chdir(root)?;
    pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    chdir("/")?;
    // As on a machine that systemd has booted.
    mount_change(
        "/",
        MountPropagationFlags::SHARED | MountPropagationFlags::REC,
    )?;
    Ok(())
}
