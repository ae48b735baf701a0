//! The process that holds a host: it makes the namespaces, waits for the end of
//! its standard input, and then leaves nothing behind.
//!
//! It is a program of its own (`netns-host --hold`), since a test has threads and
//! must not fork, and since somebody has to clean up after a test that was killed.

use std::io::{self, Write};
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{
    PidfdFlags, Signal, WaitOptions, pidfd_open, set_parent_process_death_signal, setsid, waitpid,
};
use rustix::thread::UnshareFlags;

use crate::cgroup::Cgroup;
use crate::mounts;
use crate::sys::{self, Fork};

/// The name of the cgroup in which a host's own processes are: as on a machine
/// with systemd, none is in the root.
pub const INIT_CGROUP: &str = "init.scope";

/// Holds a host until standard input ends. Writes one line to standard output when
/// the host is there: the process id of its init and the path of its cgroup.
///
/// # Errors
/// Says which step of making the host failed.
pub fn hold() -> io::Result<()> {
    // Away from the terminal and the process group of the test, which a test
    // runner kills as a whole. Fails where that is so already.
    let _ = setsid();
    let cgroup = Cgroup::create(&format!("rspawn-host-{}", std::process::id()))?;
    let (ready_read, ready_write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    sys::unshare(UnshareFlags::NEWPID)?;
    let init = match sys::fork()? {
        Fork::Child => {
            drop(ready_read);
            init(&cgroup, std::fs::File::from(ready_write));
        }
        Fork::Parent(pid) => pid,
    };
    drop(ready_write);
    let mut said = String::new();
    io::Read::read_to_string(&mut std::fs::File::from(ready_read), &mut said)?;
    if said != "ready" {
        return Err(io::Error::other(format!("making a host: {said}")));
    }
    println!("{} {}", init.as_raw_nonzero(), cgroup.path().display());
    io::stdout().flush()?;

    let init_fd = pidfd_open(init, PidfdFlags::empty())?;
    let stdin = io::stdin();
    let mut events = [
        PollFd::new(&stdin, PollFlags::IN),
        PollFd::from_borrowed_fd(init_fd.as_fd(), PollFlags::IN),
    ];
    while let Err(rustix::io::Errno::INTR) = poll(&mut events, None) {}
    cgroup.kill();
    // A process that was started in the host but in another cgroup dies with init.
    let _ = rustix::process::pidfd_send_signal(&init_fd, Signal::KILL);
    let _ = waitpid(Some(init), WaitOptions::empty());
    drop(cgroup);
    Ok(())
}

/// Process 1 of the host.
fn init(cgroup: &Cgroup, mut ready: std::fs::File) -> ! {
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    match build(cgroup) {
        Ok(()) => {
            let _ = ready.write_all(b"ready");
        }
        Err(error) => {
            let _ = ready.write_all(error.to_string().as_bytes());
            std::process::exit(1);
        }
    }
    drop(ready);
    // What is left of standard input and output belongs to the holder.
    if let Ok(null) = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")
    {
        let _ = rustix::stdio::dup2_stdin(&null);
        let _ = rustix::stdio::dup2_stdout(&null);
    }
    live()
}

fn build(cgroup: &Cgroup) -> io::Result<()> {
    let step =
        |what: &'static str| move |error: io::Error| io::Error::other(format!("{what}: {error}"));
    // First into the cgroup, which then becomes the root of the cgroup namespace.
    std::fs::write(cgroup.path().join("cgroup.procs"), "0").map_err(step("entering the cgroup"))?;
    sys::unshare(
        UnshareFlags::NEWNS
            | UnshareFlags::NEWNET
            | UnshareFlags::NEWUTS
            | UnshareFlags::NEWIPC
            | UnshareFlags::NEWCGROUP,
    )
    .map_err(step("new namespaces"))?;
    let scope = cgroup.path().join(INIT_CGROUP);
    std::fs::create_dir(&scope).map_err(step("a cgroup for init"))?;
    std::fs::write(scope.join("cgroup.procs"), "0").map_err(step("entering init's cgroup"))?;
    sys::loopback_up().map_err(step("setting lo up"))?;
    rustix::system::sethostname(b"host").map_err(|error| step("the host name")(error.into()))?;
    mounts::build_root().map_err(step("the root"))
}

/// Lives for ever. The kernel reaps the orphans of a process that ignores the end
/// of its children.
fn live() -> ! {
    sys::ignore_children();
    loop {
        std::thread::sleep(std::time::Duration::from_secs(3600));
    }
}
