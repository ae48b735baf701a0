//! The container's first process: cloned with everything that it needs.

use std::io;
use std::os::fd::OwnedFd;

use rustix::process::Pid;

use super::{Blueprint, StartError};
use crate::bind::Bind;
use crate::cgroup::Cgroup;
use crate::channel::Channel;
use crate::child::{self, BindMount, Plan};
use crate::console::Streams;
use crate::device_policy::{self, Device};
use crate::error::{Doing, StepError};
use crate::mounts::network_files::RESOLV_CONF;
use crate::mounts::ops::{copy_of, copy_of_directory, set_propagation, set_read_only};
use crate::mounts::target::Kind;
use crate::sys::clone::{Cloned, clone_into};
use crate::tell;

/// Clones into a cgroup of the container's own. netd may still be clearing away what
/// a crashed supervisor of this name left, and take an empty cgroup for that: then
/// another is made.
pub(super) fn clone_into_cgroup(
    blueprint: &Blueprint<'_>,
) -> Result<(Cgroup, (Channel, Pid, OwnedFd)), StartError> {
    const ATTEMPTS: u32 = 3;
    let mut attempt = 1;
    loop {
        let cgroup = Cgroup::create(&blueprint.config.name)?;
        match clone_payload(blueprint, &cgroup) {
            Ok(made) => return Ok((cgroup, made)),
            Err(_) if attempt < ATTEMPTS && cgroup.is_gone() => attempt += 1,
            Err(error) => {
                cgroup.remove().ok();
                return Err(error.into());
            }
        }
    }
}

fn clone_payload(
    blueprint: &Blueprint<'_>,
    cgroup: &Cgroup,
) -> Result<(Channel, Pid, OwnedFd), StepError> {
    let config = blueprint.config;
    let tree = copy_of_directory(blueprint.tree)
        .and_then(|tree| {
            set_propagation(&tree, libc::MS_PRIVATE)?;
            if config.read_only {
                set_read_only(&tree, true)?;
            }
            Ok(tree)
        })
        .doing(|| format!("take the tree {}", blueprint.tree.path().display()))?;
    let binds = config
        .binds
        .iter()
        .map(bind_mount)
        .collect::<Result<Vec<_>, _>>()?;
    let resolv_conf = if config.resolv_conf && !config.private_network() {
        copy_of(std::path::Path::new(RESOLV_CONF), false)
            .and_then(|mount| set_read_only(&mount, false).map(|()| mount))
            .ok()
    } else {
        None
    };
    limit_devices(cgroup, &binds);
    let (own, theirs) = Channel::pair().doing(|| "make a socket pair".into())?;
    let mut flags =
        libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    if config.private_network() {
        flags |= libc::CLONE_NEWNET;
    }
    // SAFETY: rspawn has one thread.
    #[allow(unsafe_code)]
    let cloned = unsafe { clone_into(flags, Some(cgroup.payload())) }
        .doing(|| "make the container's namespaces".into())?;
    match cloned {
        Cloned::Parent { pid, pidfd } => Ok((own, pid, pidfd)),
        Cloned::Child => {
            drop(own);
            child::run(Plan {
                config,
                payload: blueprint.payload,
                facts: blueprint.facts,
                tree: &tree,
                mount_points: blueprint.mount_points,
                binds: &binds,
                resolv_conf,
                streams: blueprint.streams.map(Streams::container_ends),
                channel: theirs,
            })
        }
    }
}

/// Without the rule a container that is root could make the host's disks for itself;
/// where the kernel has no such rules, the user is told.
fn limit_devices(cgroup: &Cgroup, binds: &[BindMount]) {
    let shown: Vec<Device> = binds
        .iter()
        .filter_map(|bind| Device::of(&bind.mount).ok().flatten())
        .collect();
    if let Err(error) = device_policy::apply(cgroup.scope(), &shown) {
        tell!(
            "the container may use every device of the host ({error}): drop CAP_MKNOD if you don't trust it"
        );
    }
}

fn bind_mount(bind: &Bind) -> Result<BindMount, StepError> {
    let copy = || -> io::Result<BindMount> {
        let mount = copy_of(&bind.source, bind.recursive)?;
        set_propagation(&mount, libc::MS_SLAVE)?;
        if bind.read_only {
            set_read_only(&mount, true)?;
        }
        let mode = rustix::fs::fstat(&mount)?.st_mode;
        let kind = match rustix::fs::FileType::from_raw_mode(mode) {
            rustix::fs::FileType::Directory => Kind::Directory,
            _ => Kind::File,
        };
        Ok(BindMount {
            mount,
            target: bind.target.to_string_lossy().into_owned(),
            kind,
        })
    };
    copy().doing(|| format!("show {} in the container", bind.source.display()))
}
