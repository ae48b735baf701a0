//! /etc/resolv.conf, and what the container's own network manager is told.

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, openat};

use crate::error::{Doing, StepError};
use crate::mounts::ops::{attach, copy_of};
use crate::mounts::run_host::{self, RunHost};
use crate::mounts::target::{Kind, Targets};
use crate::tree::{open_in, read_in};

/// Where names are resolved by.
pub const RESOLV_CONF: &str = "/etc/resolv.conf";
const DROP_IN: &str = "/run/systemd/network/80-container-host0.network.d";
/// Newer systemd-networkd would otherwise take away what it finds on `host0`, and
/// put the same there again.
const KEEP: &str = "[Network]\nKeepConfiguration=dhcp\n";
const LINKS_MAX: u32 = 8;

/// What /etc/resolv.conf is made of, where the tree's is of no use.
#[derive(Debug)]
pub enum ResolvConf {
    /// This text.
    Text(String),
    /// The host's own file, a mount that is in no directory yet.
    OfHost(OwnedFd),
}

/// Tells systemd-networkd inside to keep the address that `host0` has.
///
/// # Errors
/// The file cannot be written.
pub fn tell_networkd(targets: &Targets<'_>) -> Result<(), StepError> {
    let write = || -> io::Result<()> {
        let directory = targets.get(Path::new(DROP_IN), Kind::Directory)?;
        write_in(&directory, "10-rspawn.conf", KEEP.as_bytes())
    };
    write().doing(|| format!("write {DROP_IN}/10-rspawn.conf"))
}

/// Provides /etc/resolv.conf, if the tree's is missing, empty, leads nowhere or
/// names only servers on a loopback.
///
/// # Errors
/// The file cannot be made.
pub fn provide_resolv_conf(
    targets: &Targets<'_>,
    run_host: &RunHost,
    from: &ResolvConf,
) -> Result<(), StepError> {
    if !is_needed(targets) {
        return Ok(());
    }
    let provide = || -> io::Result<()> {
        let Some(path) = real_path(targets, Path::new(RESOLV_CONF)) else {
            return Ok(());
        };
        match from {
            ResolvConf::Text(text) if path.starts_with("/run") => {
                // A file like any other, that the container's own programs replace.
                let directory = path.parent().unwrap_or(Path::new("/run"));
                let directory = targets.get(directory, Kind::Directory)?;
                let name = path.file_name().unwrap_or_default();
                write_in(&directory, Path::new(name), text.as_bytes())
            }
            ResolvConf::Text(text) => {
                run_host.add_file(run_host::RESOLV_CONF, text.as_bytes())?;
                let source = run_host::path(run_host::RESOLV_CONF);
                let copy = copy_of(Path::new(&source), false)?;
                attach(copy, targets.get(&path, Kind::File)?)
            }
            ResolvConf::OfHost(mount) => attach(mount, targets.get(&path, Kind::File)?),
        }
    };
    provide().doing(|| format!("provide {RESOLV_CONF}"))
}

/// The text of a resolv.conf(5) file.
#[must_use]
pub fn text_of(servers: &[IpAddr], domain: Option<&str>) -> String {
    let mut text = String::from("# Provided by rspawn.\n");
    for server in servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    if let Some(domain) = domain {
        text.push_str(&format!("search {domain}\n"));
    }
    text
}

fn is_needed(targets: &Targets<'_>) -> bool {
    match read_in(targets.root(), RESOLV_CONF) {
        Ok(bytes) => !names_a_server(&String::from_utf8_lossy(&bytes)),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Whether the file names a server that is of use in a network namespace of its own.
fn names_a_server(text: &str) -> bool {
    text.lines()
        .filter_map(|line| line.trim_start().strip_prefix("nameserver"))
        .filter_map(|rest| rest.split_whitespace().next())
        .any(|server| {
            let server = server.split('%').next().unwrap_or(server);
            server.parse::<IpAddr>().is_ok_and(|ip| !ip.is_loopback())
        })
}

/// Follows the symbolic links that a path's last part is, also to where nothing is.
fn real_path(targets: &Targets<'_>, path: &Path) -> Option<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let link = open_in(targets.root(), &path, OFlags::PATH | OFlags::NOFOLLOW)
            .and_then(|link| Ok(rustix::fs::readlinkat(link, "", vec![])?));
        match link {
            Ok(to) => {
                let to = PathBuf::from(to.into_string().ok()?);
                path = normal(&path.parent()?.join(to));
            }
            Err(_) => return Some(path),
        }
    }
    None
}

/// The path without `.` and `..`, which never lead above the root.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => normal.push(name),
            Component::ParentDir => {
                normal.pop();
            }
            _ => {}
        }
    }
    normal
}

fn write_in(directory: &OwnedFd, name: impl AsRef<Path>, content: &[u8]) -> io::Result<()> {
    let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::NOFOLLOW;
    let mode = Mode::from_raw_mode(0o644);
    let file = openat(directory, name.as_ref(), flags | OFlags::CLOEXEC, mode)?;
    io::Write::write_all(&mut std::fs::File::from(file), content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loopback_server_is_of_no_use() {
        for text in [
            "",
            "# nameserver 192.0.2.1\n",
            "nameserver 127.0.0.53\noptions edns0\n",
            "nameserver 127.0.0.1\nnameserver ::1\n",
            "nameserver\n",
            "nameservers\n",
        ] {
            assert!(!names_a_server(text), "{text:?}");
        }
        for text in [
            "nameserver 192.0.2.1",
            "nameserver 127.0.0.1\n nameserver fe80::1%2\n",
        ] {
            assert!(names_a_server(text), "{text:?}");
        }
    }

    #[test]
    fn a_text_has_servers_and_domain() {
        let servers = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        let text = text_of(&servers, Some("lan"));
        assert!(text.ends_with("nameserver 192.0.2.1\nnameserver 2001:db8::1\nsearch lan\n"));
    }

    #[test]
    fn links_stay_below_the_root() {
        assert_eq!(normal(Path::new("/etc/../../run/./x")), Path::new("/run/x"));
    }
}
