//! What the first process of the container does until it is the payload. It runs
//! alone in its namespaces, with a copy of the supervisor's memory.

use std::convert::Infallible;
use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::MountAttrFlags;
use rustix::process::{Signal, fchdir, setsid, umask};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use rustix::thread::{
    UnshareFlags, set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
    unshare_unsafe,
};

use crate::bind::Tmpfs;
use crate::channel::Channel;
use crate::config::{Config, NetworkMode, Start};
use crate::error::{Doing, StepError, one_line};
use crate::limits;
use crate::mounts::network_files::{ResolvConf, provide_resolv_conf, tell_networkd};
use crate::mounts::run_host::{HostFacts, RunHost};
use crate::mounts::target::{Kind, Targets};
use crate::mounts::{api, devices, ops, root, run_host};
use crate::payload::Payload;
use crate::program;
use crate::stub_init;
use crate::sys::process::{
    cloexec_from, close_all_but, exec, exit_now, new_session_keyring, reset_signals,
};
use crate::tree::open_in;
use registry::mount_points::MountPoints;

/// Exit code of a container that could not be started.
pub const FAILED: i32 = 1;

/// A file or directory of the host, as a mount that is in no directory yet.
#[derive(Debug)]
pub struct BindMount {
    /// The mount.
    pub mount: OwnedFd,
    /// Where it goes.
    pub target: String,
    /// What it is.
    pub kind: Kind,
}

/// What the container's first process needs, made by the supervisor.
#[derive(Debug)]
pub struct Plan<'a> {
    /// What was asked for.
    pub config: &'a Config,
    /// What runs in the end.
    pub payload: &'a Payload,
    /// What the container is told of the host.
    pub facts: &'a HostFacts,
    /// The tree, as a mount that is in no directory yet.
    pub tree: &'a OwnedFd,
    /// Where what is made in the tree is written down, if the tree can be written.
    pub mount_points: Option<&'a MountPoints>,
    /// What of the host is seen.
    pub binds: &'a [BindMount],
    /// The host's resolv.conf, where that is what the container gets.
    pub resolv_conf: Option<OwnedFd>,
    /// The payload's standard streams, where it has no console.
    pub streams: Option<[BorrowedFd<'a>; 3]>,
    /// To the supervisor.
    pub channel: Channel,
}

/// Becomes the payload; ends the process if that fails, after telling why.
pub fn run(plan: Plan<'_>) -> ! {
    let channel = plan.channel.as_fd().try_clone_to_owned().ok();
    let Err(error) = become_payload(plan, channel.as_ref().map(AsFd::as_fd));
    if let Some(channel) = channel {
        Channel::from(channel).failed(&one_line(&error)).ok();
    }
    exit_now(FAILED)
}

fn become_payload(plan: Plan<'_>, kept: Option<BorrowedFd<'_>>) -> Result<Infallible, StepError> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .doing(|| "ask for an end with the supervisor".into())?;
    if plan.channel.is_abandoned() {
        // It ended before that.
        exit_now(FAILED);
    }
    umask(Mode::empty());
    let console = build(&plan)?;
    umask(Mode::from_raw_mode(0o022));
    rustix::system::sethostname(plan.config.hostname.as_bytes())
        .doing(|| "set the container's host name".into())?;
    rustix::system::setdomainname(b"(none)").ok();
    new_session_keyring();
    limits::reset();
    let Plan {
        config,
        payload,
        streams,
        channel,
        resolv_conf,
        ..
    } = plan;
    drop((channel, resolv_conf));
    let console = console.as_ref().map(AsFd::as_fd);
    let streams = streams.filter(|_| console.is_none());
    // From here on paths of the tree's choice are followed: nothing of the host may
    // be open that /proc/self/fd would lead to.
    let kept: Vec<BorrowedFd<'_>> = kept
        .into_iter()
        .chain(console)
        .chain(streams.into_iter().flatten())
        .collect();
    close_all_but(&kept);
    check_programs(payload)?;
    if config.start == Start::ProgramUnderInit {
        stub_init::split().doing(|| "start the program under init".into())?;
    }
    setsid().ok();
    connect_streams(console, streams)?;
    become_user(config, payload)?;
    enter_directory(payload)?;
    reset_signals();
    cloexec_from(3);
    Err(exec_first(payload))
}

/// Builds what the container sees, and tells the supervisor when it is done. Gives
/// the payload's end of the console, if it has one.
fn build(plan: &Plan<'_>) -> Result<Option<OwnedFd>, StepError> {
    let config = plan.config;
    let on_overlay = config.read_only && lacks_mount_point(plan);
    root::enter(plan.tree, on_overlay)?;
    let making = |path: &Path| match plan.mount_points {
        Some(record) => record.add(path),
        None => Ok(()),
    };
    let targets = Targets::new(&making).doing(|| "open the container's root".into())?;
    let run_host = mount_all(plan, &targets)?;
    let console = match plan.streams {
        None => Some(devices::console()?),
        Some(_) => None,
    };
    wait_for_network(plan, &targets, &run_host)?;
    run_host.seal()?;
    if on_overlay {
        let root = reopen_root()?;
        ops::set_read_only(root, false).doing(|| "make the root read-only".into())?;
    }
    ops::set_propagation(reopen_root()?, libc::MS_SHARED)
        .doing(|| "let mounts spread inside the container".into())?;
    let mut descriptors = vec![run_host.notify.as_fd(), run_host.kmsg.as_fd()];
    descriptors.extend(console.iter().map(|console| console.master.as_fd()));
    plan.channel
        .ready(&descriptors)
        .doing(|| "tell the supervisor".into())?;
    Ok(console.map(|console| console.slave))
}

fn mount_all(plan: &Plan<'_>, targets: &Targets<'_>) -> Result<RunHost, StepError> {
    let private = plan.config.private_network();
    api::proc(targets)?;
    devices::mount(targets)?;
    let run_host = run_host::mount(targets, plan.facts)?;
    api::sys(targets, private)?;
    api::restrict_proc(targets, private)?;
    for mount in asked_for(plan) {
        match mount {
            Asked::Bind(bind) => targets.attach(&bind.mount, &bind.target, bind.kind)?,
            Asked::Tmpfs(tmpfs) => mount_tmpfs(targets, tmpfs)?,
        }
    }
    // SAFETY: no memory or descriptor table is unshared, and there is one thread.
    #[allow(unsafe_code)]
    unsafe { unshare_unsafe(UnshareFlags::NEWCGROUP) }
        .doing(|| "enter a cgroup namespace".into())?;
    api::cgroup(targets)?;
    Ok(run_host)
}

/// A mount that the user asked for.
enum Asked<'a> {
    Bind(&'a BindMount),
    Tmpfs(&'a Tmpfs),
}

impl Asked<'_> {
    fn target(&self) -> &Path {
        match self {
            Self::Bind(bind) => Path::new(&bind.target),
            Self::Tmpfs(tmpfs) => &tmpfs.target,
        }
    }
}

/// What the user asked for, in the order of its mounting: nothing covers what is
/// mounted below it.
fn asked_for<'a>(plan: &'a Plan<'_>) -> Vec<Asked<'a>> {
    let mut asked: Vec<Asked<'_>> = plan
        .binds
        .iter()
        .map(Asked::Bind)
        .chain(plan.config.tmpfs.iter().map(Asked::Tmpfs))
        .collect();
    asked.sort_by(|one, other| one.target().cmp(other.target()));
    asked
}

fn wait_for_network(
    plan: &Plan<'_>,
    targets: &Targets<'_>,
    run_host: &RunHost,
) -> Result<(), StepError> {
    let ready = plan
        .channel
        .wait_for_network()
        .and_then(|ready| ready.ok_or(io::ErrorKind::UnexpectedEof.into()))
        .doing(|| "wait for the network".into())?;
    // On a bridge it is others that give the address, and take it back.
    if matches!(
        plan.config.network,
        NetworkMode::Veth | NetworkMode::Zone(_)
    ) {
        tell_networkd(targets)?;
    }
    let from = match &plan.resolv_conf {
        Some(mount) => match mount.try_clone() {
            Ok(mount) => ResolvConf::OfHost(mount),
            Err(_) => return Ok(()),
        },
        None if !ready.resolv_conf.is_empty() => ResolvConf::Text(ready.resolv_conf),
        None => return Ok(()),
    };
    provide_resolv_conf(targets, run_host, &from)
}

fn lacks_mount_point(plan: &Plan<'_>) -> bool {
    const BELOW_OWN: [&str; 5] = ["/proc", "/sys", "/dev", "/run", "/tmp"];
    let asked = asked_for(plan);
    let asked = asked
        .iter()
        .map(Asked::target)
        .filter(|path| !BELOW_OWN.iter().any(|own| path.starts_with(own)));
    let mut paths: Vec<&Path> = BELOW_OWN.iter().map(Path::new).chain(asked).collect();
    if plan.config.resolv_conf {
        paths.push(Path::new(crate::mounts::network_files::RESOLV_CONF));
    }
    root::lacks_one(plan.tree, &paths)
}

fn mount_tmpfs(targets: &Targets<'_>, tmpfs: &Tmpfs) -> Result<(), StepError> {
    let mut attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    let mut options = vec![];
    for (key, value) in &tmpfs.options {
        match key.as_str() {
            "ro" => attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY,
            "noexec" => attributes |= MountAttrFlags::MOUNT_ATTR_NOEXEC,
            "suid" => attributes &= !MountAttrFlags::MOUNT_ATTR_NOSUID,
            "dev" => attributes &= !MountAttrFlags::MOUNT_ATTR_NODEV,
            "rw" | "exec" | "nosuid" | "nodev" => {}
            _ => options.push((key.as_str(), value.as_deref())),
        }
    }
    let mount = ops::new_mount("tmpfs", &options, attributes)?;
    targets.attach(mount, &tmpfs.target.to_string_lossy(), Kind::Directory)
}

fn reopen_root() -> Result<OwnedFd, StepError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, "/", flags, Mode::empty()).doing(|| "open the container's root".into())
}

fn connect_streams(
    console: Option<BorrowedFd<'_>>,
    streams: Option<[BorrowedFd<'_>; 3]>,
) -> Result<(), StepError> {
    let connect = || -> io::Result<()> {
        let [stdin, stdout, stderr] = match (console, streams) {
            (Some(console), _) => {
                rustix::process::ioctl_tiocsctty(console)?;
                [console; 3]
            }
            (None, Some(streams)) => streams,
            (None, None) => return Ok(()),
        };
        // What is connected last must not be what was overwritten first.
        let [stdin, stdout, stderr] = [dup(stdin)?, dup(stdout)?, dup(stderr)?];
        dup2_stdin(stdin)?;
        dup2_stdout(stdout)?;
        Ok(dup2_stderr(stderr)?)
    };
    connect().doing(|| "connect the standard streams".into())
}

fn dup(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(fd, 3)?)
}

fn become_user(config: &Config, payload: &Payload) -> Result<(), StepError> {
    let user = &payload.user;
    let change = || -> io::Result<()> {
        let id = |number| rustix::process::Gid::from_raw(number);
        let groups: Vec<_> = user.groups.iter().map(|gid| id(*gid)).collect();
        set_thread_groups(&groups)?;
        let gid = id(user.gid);
        set_thread_res_gid(gid, gid, gid)?;
        config.capabilities.limit()?;
        let uid = rustix::process::Uid::from_raw(user.uid);
        set_thread_res_uid(uid, uid, uid)?;
        if user.uid == 0 {
            config.capabilities.apply()?;
        }
        if config.no_new_privileges {
            set_no_new_privs(true)?;
        }
        Ok(())
    };
    change().doing(|| format!("become the user {}", user.name))
}

/// Before the user is changed: what that one may run but not read is looked at, too.
fn check_programs(payload: &Payload) -> Result<(), StepError> {
    let root = reopen_root()?;
    let (directory, _) = &payload.directory;
    for path in &payload.programs {
        program::check(root.as_fd(), directory, path)
            .doing(|| format!("run {} in the container", path.to_string_lossy()))?;
    }
    Ok(())
}

/// A directory of the container's own: a link of /proc is not followed.
fn enter_directory(payload: &Payload) -> Result<(), StepError> {
    let (directory, required) = &payload.directory;
    let path = Path::new(OsStr::from_bytes(directory.to_bytes()));
    let enter = || -> io::Result<()> {
        let root = openat(CWD, "/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let directory = open_in(root.as_fd(), path, OFlags::PATH | OFlags::DIRECTORY)?;
        Ok(fchdir(directory)?)
    };
    match enter() {
        Err(error) if *required => {
            Err(error).doing(|| format!("enter the directory {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Runs the first program that is there. Comes back only with an error.
fn exec_first(payload: &Payload) -> StepError {
    let mut last = io::Error::from_raw_os_error(libc::ENOENT);
    let mut tried = "a shell".to_owned();
    for program in &payload.programs {
        let mut arguments = payload.arguments.clone();
        match arguments.first_mut() {
            Some(name) if name.is_empty() => *name = login_name(program),
            _ => {}
        }
        let error = exec(program, &arguments, &payload.environment);
        tried = program.to_string_lossy().into_owned();
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR) => {}
            Some(libc::EACCES) => last = error,
            _ => return failed(&tried, error),
        }
    }
    if let ([_, _, ..], Some(name)) = (payload.programs.as_slice(), payload.arguments.first())
        && !name.is_empty()
    {
        tried = name.to_string_lossy().into_owned();
    }
    failed(&tried, last)
}

fn failed(program: &str, error: io::Error) -> StepError {
    let result: Result<Infallible, io::Error> = Err(error);
    let Err(error) = result.doing(|| format!("run {program} in the container"));
    error
}

/// A login shell's name for itself begins with a hyphen.
fn login_name(program: &CString) -> CString {
    let base = program.as_bytes().rsplit(|byte| *byte == b'/').next();
    CString::new([b"-", base.unwrap_or(b"sh")].concat()).unwrap_or_default()
}
