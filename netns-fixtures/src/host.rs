//! A host of its own.

use std::cell::{Cell, RefCell};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, geteuid, pidfd_open};
use rustix::thread::{ThreadNameSpaceType, UnshareFlags, move_into_thread_name_spaces};

use crate::command::{HostCommand, Output};
use crate::hold::INIT_CGROUP;
use crate::peer::Peer;
use crate::programs::program;
use crate::sys;
use crate::wait::wait_until;

/// A host: namespaces of its own over the machine's root. See the crate's page.
#[derive(Debug)]
pub struct Host {
    holder: RefCell<Child>,
    init: u32,
    init_fd: OwnedFd,
    cgroup: PathBuf,
    logs: RefCell<Vec<(String, PathBuf)>>,
    pub(crate) counter: Cell<u32>,
}

impl Host {
    /// Makes a host.
    ///
    /// # Panics
    /// When not root, or when the system refuses one of its parts.
    #[must_use]
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        assert!(
            geteuid().is_root(),
            "a host of its own needs namespaces and mounts: run this as root"
        );
        let mut holder = Command::new(program("netns-host"))
            .arg("--hold")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("netns-host starts");
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let (init, cgroup) = line
            .trim_end()
            .split_once(' ')
            .expect("no host could be made, see the message above");
        let init: u32 = init.parse().unwrap();
        let pid = Pid::from_raw(init.try_into().unwrap()).unwrap();
        Self {
            init,
            init_fd: pidfd_open(pid, PidfdFlags::empty()).expect("the host's init is there"),
            cgroup: PathBuf::from(cgroup),
            holder: RefCell::new(holder),
            logs: RefCell::default(),
            counter: Cell::new(0),
        }
    }

    /// A command that runs in the host.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> HostCommand<'_> {
        HostCommand::new(self, None, program.as_ref())
    }

    /// Runs a shell script in the host. It ends at the first command that fails.
    #[must_use]
    pub fn sh(&self, script: &str) -> Output {
        self.command("sh").arg("-euc").arg(script).output()
    }

    /// Runs a shell script in the host and gives what it wrote, without the last line end.
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

    /// Runs `inside` on a thread that is in the host's namespaces (but for the
    /// process namespace, which only what it starts is in).
    ///
    /// # Panics
    /// When the host is gone, or `inside` panics.
    pub fn enter<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> T {
        self.enter_namespaces(None, inside)
    }

    /// Runs `inside` on a thread that is in the host and in the network namespace
    /// whose file in the host is `network`.
    ///
    /// # Panics
    /// When that is gone, or `inside` panics.
    pub fn enter_network<T: Send>(
        &self,
        network: impl AsRef<Path>,
        inside: impl FnOnce() -> T + Send,
    ) -> T {
        self.enter_namespaces(Some(network.as_ref()), inside)
    }

    /// A command that runs in the host and in the network namespace whose file in
    /// the host is `network`.
    #[must_use]
    pub fn command_in_network(
        &self,
        network: impl Into<PathBuf>,
        program: impl AsRef<std::ffi::OsStr>,
    ) -> HostCommand<'_> {
        HostCommand::new(self, Some(network.into()), program.as_ref())
    }

    pub(crate) fn enter_namespaces<T: Send>(
        &self,
        network: Option<&Path>,
        inside: impl FnOnce() -> T + Send,
    ) -> T {
        let init = self.init_fd.as_fd();
        let thread = move || {
            // The root and the working directory are otherwise those of all threads.
            sys::unshare(UnshareFlags::FS).unwrap();
            let all = ThreadNameSpaceType::MOUNT
                | ThreadNameSpaceType::NETWORK
                | ThreadNameSpaceType::PROCESS_ID
                | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
                | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
                | ThreadNameSpaceType::CONTROL_GROUP;
            move_into_thread_name_spaces(init, all).expect("the host is alive");
            if let Some(network) = network {
                crate::peer::enter(network);
            }
            inside()
        };
        std::thread::scope(|scope| match scope.spawn(thread).join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    /// The path by which the machine reaches `path` of the host.
    #[must_use]
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        Path::new("/proc")
            .join(self.init.to_string())
            .join("root")
            .join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Reads a file of the host, nothing if it is not there.
    #[must_use]
    pub fn read(&self, path: impl AsRef<Path>) -> Option<String> {
        fs::read(self.path(path))
            .ok()
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Writes a file of the host, with the directories above it.
    ///
    /// # Panics
    /// When that fails.
    pub fn write(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        let path = path.as_ref().to_owned();
        let content = content.as_ref();
        self.enter(move || {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
        });
    }

    /// Writes an executable file of the host.
    ///
    /// # Panics
    /// When that fails.
    pub fn write_program(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        self.write(&path, content);
        let path = path.as_ref().to_owned();
        self.enter(move || {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        });
    }

    /// A further network namespace, not yet joined to anything.
    pub fn peer(&self, name: &str) -> Peer<'_> {
        Peer::new(self, name)
    }

    /// The machine's path of the host's cgroup `name`, made if it is missing.
    pub(crate) fn cgroup_dir(&self, name: Option<&str>) -> PathBuf {
        let path = self.cgroup.join(name.unwrap_or(INIT_CGROUP));
        fs::create_dir_all(&path).expect("a cgroup can be made");
        path
    }

    /// Kills what is in the host's cgroup `name` and below it, and waits until it is empty.
    ///
    /// # Panics
    /// When it does not become empty.
    pub fn kill_cgroup(&self, name: &str) {
        let path = self.cgroup.join(name);
        fs::write(path.join("cgroup.kill"), "1").expect("the cgroup is there");
        let events = path.join("cgroup.events");
        let empty = wait_until(Duration::from_secs(10), || {
            fs::read_to_string(&events).map_or(true, |events| events.contains("populated 0"))
        });
        assert!(empty, "processes in {} outlive cgroup.kill", path.display());
    }

    /// The processes that the host's cgroup `name` and those below it hold, as the machine counts them.
    #[must_use]
    pub fn processes_in(&self, name: &str) -> Vec<u32> {
        fn collect(path: &Path, pids: &mut Vec<u32>) {
            let procs = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
            pids.extend(procs.lines().filter_map(|line| line.parse::<u32>().ok()));
            for entry in fs::read_dir(path).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    collect(&entry.path(), pids);
                }
            }
        }
        let mut pids = Vec::new();
        collect(&self.cgroup.join(name), &mut pids);
        pids
    }

    /// Process id of the host's init, as the machine counts.
    #[must_use]
    pub fn init(&self) -> u32 {
        self.init
    }

    /// The machine's path of the host's root cgroup.
    #[must_use]
    pub fn cgroup(&self) -> &Path {
        &self.cgroup
    }

    /// Takes the next number, for names that must differ.
    pub(crate) fn next(&self) -> u32 {
        let number = self.counter.get() + 1;
        self.counter.set(number);
        number
    }

    /// Has the file `path` of the host printed when the test fails.
    pub fn show_on_failure(&self, title: &str, path: impl AsRef<Path>) {
        self.logs
            .borrow_mut()
            .push((title.to_owned(), path.as_ref().to_owned()));
    }

    fn print_logs(&self) {
        for (title, path) in self.logs.borrow().iter() {
            let text = self.read(path).unwrap_or_else(|| "(missing)".to_owned());
            eprintln!("---- {title} ----\n{}", tail(&text, 16_000));
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.print_logs();
        }
        let mut holder = self.holder.borrow_mut();
        // The end of the holder's input ends the host.
        drop(holder.stdin.take());
        let _ = holder.wait();
    }
}

fn tail(text: &str, bytes: usize) -> &str {
    let mut start = text.len().saturating_sub(bytes);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}
