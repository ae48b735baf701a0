//! A network namespace next to a host: a LAN, the outside.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount,
};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use crate::command::{HostCommand, Output};
use crate::host::Host;
use crate::sys;

/// A network namespace that the host knows by name, as `ip netns` does.
#[derive(Debug)]
pub struct Peer<'a> {
    host: &'a Host,
    name: String,
}

impl<'a> Peer<'a> {
    pub(crate) fn new(host: &'a Host, name: &str) -> Self {
        host.run(&format!("ip netns add {name}; ip -n {name} link set lo up"));
        Self {
            host,
            name: name.to_owned(),
        }
    }

    /// The file of its namespace in the host.
    #[must_use]
    pub fn namespace(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Joins it to the host: a veth named `host_link` on the host's side and `eth0`
    /// in the peer, with the addresses (and prefix lengths) given.
    #[must_use]
    pub fn joined(self, host_link: &str, host_address: &str, peer_address: &str) -> Self {
        let name = &self.name;
        self.host.run(&format!(
            "ip link add {host_link} type veth peer name eth0 netns {name}
             ip address add {host_address} dev {host_link} nodad
             ip link set {host_link} up
             ip -n {name} address add {peer_address} dev eth0 nodad
             ip -n {name} link set eth0 up"
        ));
        self
    }

    /// A command that runs in the host's file system and this network.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> HostCommand<'a> {
        HostCommand::new(self.host, Some(self.namespace()), program.as_ref())
    }

    /// Runs a shell script in this network.
    #[must_use]
    pub fn sh(&self, script: &str) -> Output {
        self.command("sh").arg("-euc").arg(script).output()
    }

    /// Runs a shell script in this network and gives what it wrote, without the last line end.
    ///
    /// # Panics
    /// When the script fails.
    pub fn run(&self, script: &str) -> String {
        self.sh(script)
            .expect_success()
            .stdout
            .trim_end()
            .to_owned()
    }

    /// Runs `inside` on a thread that is in this network.
    ///
    /// # Panics
    /// When the host is gone, or `inside` panics.
    pub fn enter<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> T {
        self.host.enter_namespaces(Some(&self.namespace()), inside)
    }
}

/// Takes the calling thread, which is in the host, into `network`, with a
/// /sys that shows it.
pub(crate) fn enter(network: &Path) {
    let namespace = fs::File::open(network).expect("the network is there");
    move_into_link_name_space(
        std::os::fd::AsFd::as_fd(&namespace),
        Some(LinkNameSpaceType::Network),
    )
    .unwrap();
    sys::unshare(UnshareFlags::NEWNS).unwrap();
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .unwrap();
    unmount("/sys", UnmountFlags::DETACH).unwrap();
    mount(
        "sysfs",
        "/sys",
        "sysfs",
        MountFlags::NOSUID | MountFlags::NODEV,
        None,
    )
    .unwrap();
}
