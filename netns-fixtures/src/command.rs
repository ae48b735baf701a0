//! Commands that run in a host.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::host::Host;
use crate::sys;
use crate::terminal::Terminal;
use crate::wait::{eventually, wait_until};

/// The longest that a command may take which is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// A command that runs in a host, or in one of its peers' networks.
#[derive(Debug)]
pub struct HostCommand<'a> {
    host: &'a Host,
    network: Option<PathBuf>,
    cgroup: Option<String>,
    input: Option<Vec<u8>>,
    command: Command,
}

impl<'a> HostCommand<'a> {
    pub(crate) fn new(host: &'a Host, network: Option<PathBuf>, program: &OsStr) -> Self {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("HOME", "/root")
            .env("LANG", "C.UTF-8")
            .env("TERM", "dumb")
            .stdin(Stdio::null());
        Self {
            host,
            network,
            cgroup: None,
            input: None,
            command,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets a variable of the environment, which is otherwise nearly empty.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs it in the cgroup `name` of the host, below the host's root cgroup.
    #[must_use]
    pub fn cgroup(mut self, name: &str) -> Self {
        self.cgroup = Some(name.to_owned());
        self
    }

    /// Gives it `input` to read; at most what a pipe holds, 64 KiB.
    #[must_use]
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.command.stdin(Stdio::piped());
        self.input = Some(input.into());
        self
    }

    /// Gives it the descriptors of this process as they are.
    #[must_use]
    pub fn inherit(mut self) -> Self {
        self.command
            .stdin(Stdio::inherit())
            .stdout(Stdio::inherit())
            .stderr(Stdio::inherit());
        self
    }

    /// The command itself, for what has no method here. What it starts is only in
    /// the host if it is started by this value.
    pub fn as_std(&mut self) -> &mut Command {
        &mut self.command
    }

    /// Starts it in the host as it stands.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(mut self) -> Child {
        let program = self.command.get_program().to_owned();
        let procs = self
            .host
            .cgroup_dir(self.cgroup.as_deref())
            .join("cgroup.procs");
        let procs = fs::OpenOptions::new()
            .write(true)
            .open(procs)
            .expect("the cgroup is there");
        sys::enter_cgroup(&mut self.command, OwnedFd::from(procs));
        let command = &mut self.command;
        let mut child = self
            .host
            .enter_namespaces(self.network.as_deref(), || command.spawn())
            .unwrap_or_else(|error| panic!("starting {program:?} in a host: {error}"));
        if let Some(input) = self.input {
            // It may end without reading.
            let _ = child.stdin.take().unwrap().write_all(&input);
        }
        child
    }

    /// Runs it to its end and gives all that came of it.
    ///
    /// # Panics
    /// When it does not start, or does not end within two minutes.
    #[must_use]
    pub fn output(mut self) -> Output {
        let shown = format!("{:?}", self.command);
        let directory = scratch(self.host);
        let (out, err) = (directory.join("stdout"), directory.join("stderr"));
        // Into files: a pipe that a daemon inherits would never end.
        self.command.stdout(fs::File::create(&out).unwrap());
        self.command.stderr(fs::File::create(&err).unwrap());
        let mut child = self.start();
        let status = wait_for(&mut child, PATIENCE);
        let output = Output {
            shown,
            status: status.unwrap_or_else(|| ExitStatus::from_raw(libc::SIGKILL)),
            stdout: read_lossy(&out),
            stderr: read_lossy(&err),
        };
        if status.is_none() {
            let _ = child.kill();
            let _ = child.wait();
            panic!("does not end: {output}");
        }
        let _ = fs::remove_dir_all(directory);
        output
    }

    /// Starts it, with its output into files that are printed when the test fails.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn spawn(mut self, title: &str) -> Running<'a> {
        let (out, err) = self.log_files(title);
        self.command
            .stdout(fs::File::create(self.host.path(&out)).unwrap());
        self.command
            .stderr(fs::File::create(self.host.path(&err)).unwrap());
        let host = self.host;
        Running {
            host,
            child: self.start(),
            title: title.to_owned(),
            out,
            err,
        }
    }

    /// Starts it as the leader of a session on a terminal of its own, which is its
    /// standard input, output and error.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn spawn_on_terminal(mut self, title: &str) -> (Running<'a>, Terminal) {
        let (out, err) = self.log_files(title);
        let (terminal, end) = self.host.enter(Terminal::open);
        self.command.stdin(end.try_clone().unwrap());
        self.command.stdout(end.try_clone().unwrap());
        self.command.stderr(end);
        self.command.env("TERM", "vt220");
        sys::take_terminal(&mut self.command);
        let host = self.host;
        (
            Running {
                host,
                child: self.start(),
                title: title.to_owned(),
                out,
                err,
            },
            terminal,
        )
    }

    fn log_files(&self, title: &str) -> (PathBuf, PathBuf) {
        let number = self.host.next();
        let file = |kind: &str| PathBuf::from(format!("/tmp/{number}-{title}.{kind}"));
        let (out, err) = (file("out"), file("err"));
        for (path, what) in [(&out, "output"), (&err, "error")] {
            fs::File::create(self.host.path(path)).unwrap();
            self.host
                .show_on_failure(&format!("{title}: standard {what}"), path);
        }
        (out, err)
    }
}

fn scratch(host: &Host) -> PathBuf {
    let path = host.path(format!("/tmp/.output-{}", host.next()));
    fs::create_dir(&path).expect("the host is alive");
    path
}

fn read_lossy(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

fn wait_for(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    eventually(patience, || child.try_wait().unwrap())
}

/// What came of a command.
#[derive(Debug, Clone)]
pub struct Output {
    shown: String,
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Output {
    /// Its exit code; none if a signal has ended it.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Whether it ended with 0.
    #[must_use]
    pub fn success(&self) -> bool {
        self.status.success()
    }

    /// Itself, if it ended with 0.
    ///
    /// # Panics
    /// When it didn't, with all that came of it.
    #[track_caller]
    pub fn expect_success(self) -> Self {
        assert!(self.success(), "failed: {self}");
        self
    }

    /// Itself, if it ended with another code than 0, not by a signal.
    ///
    /// # Panics
    /// When it didn't, with all that came of it.
    #[track_caller]
    pub fn expect_failure(self) -> Self {
        assert!(
            self.code().is_some_and(|code| code != 0),
            "should have failed: {self}"
        );
        self
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}\n{}\n-- standard output --\n{}\n-- standard error --\n{}",
            self.shown, self.status, self.stdout, self.stderr
        )
    }
}

/// A command that runs in the background of a host; killed when the value is dropped.
#[derive(Debug)]
pub struct Running<'a> {
    host: &'a Host,
    child: Child,
    title: String,
    out: PathBuf,
    err: PathBuf,
}

impl Running<'_> {
    /// Its process id, as the machine counts.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.host.read(&self.out).unwrap_or_default()
    }

    /// What it has written to standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.host.read(&self.err).unwrap_or_default()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: i32) {
        sys::raise_to(self.pid(), signal);
    }

    /// Its exit status, if it has ended.
    ///
    /// # Panics
    /// When the system cannot tell.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it has not ended after `patience`.
    #[track_caller]
    pub fn wait(&mut self, patience: Duration) -> ExitStatus {
        wait_for(&mut self.child, patience).unwrap_or_else(|| {
            panic!(
                "{} does not end\n{}\n{}",
                self.title,
                self.stdout(),
                self.stderr()
            )
        })
    }

    /// Waits until it has written `text` to standard output or standard error.
    ///
    /// # Panics
    /// When it has ended or `patience` is over without it.
    #[track_caller]
    pub fn wait_for_output(&mut self, text: &str, patience: Duration) {
        let mut over = false;
        let seen = wait_until(patience, || {
            let found = self.stdout().contains(text) || self.stderr().contains(text);
            let end = over;
            // Once more after its end: the last words count.
            over = self.ended().is_some();
            found || end
        });
        let found = self.stdout().contains(text) || self.stderr().contains(text);
        assert!(
            seen && found,
            "{} never wrote {text:?}\n{}\n{}",
            self.title,
            self.stdout(),
            self.stderr()
        );
    }

    /// The child itself.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
