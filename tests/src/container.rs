//! A container, from its start to its end.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use netns_fixtures::{Host, HostCommand, Output, Running, eventually, wait_until};

use crate::{BOOT, SOON};

/// A container that is about to be started.
#[derive(Debug)]
pub struct Start<'a> {
    host: &'a Host,
    name: String,
    program: &'static str,
    arguments: Vec<String>,
    registered: bool,
}

impl<'a> Start<'a> {
    /// `rspawn -M NAME -D TREE` with a network of its own (`-n`).
    #[must_use]
    pub fn new(host: &'a Host, name: &str, tree: &Path) -> Self {
        Self::of("rspawn", host, name, tree).args(["-n"])
    }

    /// `rspawn -M NAME -D TREE` without a network option.
    #[must_use]
    pub fn without_network(host: &'a Host, name: &str, tree: &Path) -> Self {
        let mut start = Self::of("rspawn", host, name, tree);
        start.registered = false;
        start
    }

    /// The same tree under systemd-nspawn, the reference.
    #[must_use]
    pub fn under_nspawn(host: &'a Host, name: &str, tree: &Path) -> Self {
        host.run("mkdir -p /run/systemd");
        let mut start = Self::of("systemd-nspawn", host, name, tree);
        start.registered = false;
        start.args(["-n", "--register=no", "--keep-unit", "--link-journal=no"])
    }

    fn of(program: &'static str, host: &'a Host, name: &str, tree: &Path) -> Self {
        let tree = tree.to_str().expect("a tree's path is text");
        let arguments = ["-q", "-M", name, "-D", tree].map(str::to_owned).to_vec();
        Self {
            host,
            name: name.to_owned(),
            program,
            arguments,
            registered: true,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<str>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(
            arguments
                .into_iter()
                .map(|argument| argument.as_ref().to_owned()),
        );
        self
    }

    /// Does not wait for a record: netd is not there.
    #[must_use]
    pub fn unregistered(mut self) -> Self {
        self.registered = false;
        self
    }

    /// The command itself.
    #[must_use]
    pub fn command(self) -> HostCommand<'a> {
        self.host
            .command(self.program)
            .args(&self.arguments)
            .cgroup(&format!("{}.service", self.name))
    }

    /// Runs it to its end.
    #[must_use]
    pub fn output(self) -> Output {
        self.command().output()
    }

    /// Starts it, and waits until its payload runs and its record is there.
    ///
    /// # Panics
    /// When it ends before that.
    #[must_use]
    pub fn start(self) -> Container<'a> {
        let (host, name, registered) = (self.host, self.name.clone(), self.registered);
        let running = self.command().spawn(&name);
        let mut container = Container {
            host,
            name,
            running,
            leader: 0,
        };
        container.wait_for_leader(registered);
        container
    }

    /// Boots it (`-b`) and waits for multi-user.target.
    ///
    /// # Panics
    /// When it doesn't get there.
    #[must_use]
    pub fn boot(self) -> Container<'a> {
        let mut container = self.args(["-b", "--console=read-only"]).start();
        container.wait_for_boot();
        container
    }
}

/// A running container.
#[derive(Debug)]
pub struct Container<'a> {
    host: &'a Host,
    name: String,
    running: Running<'a>,
    leader: u32,
}

impl<'a> Container<'a> {
    /// The payload's first process, as the host counts.
    #[must_use]
    pub fn leader(&self) -> u32 {
        self.leader
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The program that runs it.
    pub fn supervisor(&mut self) -> &mut Running<'a> {
        &mut self.running
    }

    fn wait_for_leader(&mut self, registered: bool) {
        let started = eventually(SOON, || {
            if self.running.ended().is_some() {
                return Some(None);
            }
            let leader = payload_below(self.running.pid())?;
            (!registered || self.is_registered(leader)).then_some(Some(leader))
        });
        match started {
            Some(Some(leader)) => self.leader = leader,
            _ => panic!(
                "{} does not start, or is not registered; its record: {:?}\n{}\n{}",
                self.name,
                self.record(),
                self.running.stdout(),
                self.running.stderr()
            ),
        }
    }

    /// Whether it has a record with this leader.
    fn is_registered(&self, leader: u32) -> bool {
        self.record()
            .is_some_and(|record| record["LEADER"][0] == leader.to_string())
    }

    /// Waits for multi-user.target.
    ///
    /// # Panics
    /// When it is not reached.
    pub fn wait_for_boot(&mut self) {
        let up = wait_until(BOOT, || {
            self.running.ended().is_some()
                || self
                    .sh("systemctl is-active multi-user.target")
                    .stdout
                    .trim()
                    == "active"
        });
        let ended = self.running.ended();
        assert!(
            up && ended.is_none(),
            "{} does not boot ({ended:?})\n{}\n{}",
            self.name,
            self.running.stdout(),
            self.running.stderr()
        );
    }

    /// Waits until another first process runs than `before`: the container was restarted.
    ///
    /// # Panics
    /// When none appears.
    pub fn wait_for_restart(&mut self) {
        let before = self.leader;
        let restarted = eventually(BOOT, || {
            leader_below(self.running.pid()).filter(|leader| {
                *leader != before
                    && self
                        .record()
                        .is_some_and(|record| record["LEADER"][0] == leader.to_string())
            })
        });
        self.leader = restarted
            .unwrap_or_else(|| panic!("{} is not restarted\n{}", self.name, self.running.stderr()));
    }

    /// A command that runs inside, from the container's own tree.
    #[must_use]
    pub fn command(&self, program: &str) -> HostCommand<'a> {
        let leader = self.leader.to_string();
        self.host.command("nsenter").args([
            "-t", &leader, "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w", "--", program,
        ])
    }

    /// Runs a shell script inside.
    #[must_use]
    pub fn sh(&self, script: &str) -> Output {
        self.command("/bin/sh").args(["-euc", script]).output()
    }

    /// Runs a shell script inside and gives what it wrote, without the last line end.
    ///
    /// # Panics
    /// When the script fails.
    #[track_caller]
    pub fn run(&self, script: &str) -> String {
        self.sh(script)
            .expect_success()
            .stdout
            .trim_end()
            .to_owned()
    }

    /// The file of its network namespace in the host.
    #[must_use]
    pub fn network(&self) -> PathBuf {
        format!("/proc/{}/ns/net", self.leader).into()
    }

    /// Has a process that is not in the container's cgroup hold its network namespace,
    /// as long as what is given lives.
    ///
    /// # Panics
    /// If that cannot be.
    #[must_use]
    pub fn hold_network(&self) -> Running<'a> {
        let leader = self.leader().to_string();
        let holder = self
            .host
            .command("nsenter")
            .args(["-t", &leader, "-n", "sleep", "1000"])
            .cgroup("holder")
            .spawn("holder");
        let holds = || {
            // nsenter becomes it once it is in the namespace.
            let program = |pid| std::fs::read_to_string(format!("/proc/{pid}/comm"));
            let mut programs = self.host.processes_in("holder").into_iter().map(program);
            programs.any(|program| program.is_ok_and(|program| program == "sleep\n"))
        };
        assert!(wait_until(SOON, holds), "nobody holds the network");
        holder
    }

    /// Runs a shell script with the host's programs in the container's network.
    ///
    /// # Panics
    /// When the script fails.
    #[track_caller]
    pub fn run_in_network(&self, script: &str) -> String {
        let output = self
            .host
            .command_in_network(self.network(), "sh")
            .args(["-euc", script])
            .output();
        output.expect_success().stdout.trim_end().to_owned()
    }

    /// Runs `inside` on a thread that is in the container's network.
    pub fn enter_network<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> T {
        self.host.enter_network(self.network(), inside)
    }

    /// Its record, if there is one: the values of each key.
    #[must_use]
    pub fn record(&self) -> Option<BTreeMap<String, Vec<String>>> {
        record(self.host, &self.name)
    }

    /// The addresses of its record, without those that only hold on one link.
    #[must_use]
    pub fn addresses(&self) -> Vec<IpAddr> {
        let record = self.record().unwrap_or_default();
        let addresses = record.get("ADDRESS").cloned().unwrap_or_default();
        addresses
            .iter()
            .filter_map(|address| address.parse().ok())
            .collect()
    }

    /// Its first IPv4 address.
    ///
    /// # Panics
    /// When its record has none.
    #[must_use]
    #[track_caller]
    pub fn ipv4(&self) -> IpAddr {
        let addresses = self.addresses();
        *addresses
            .iter()
            .find(|address| address.is_ipv4())
            .unwrap_or_else(|| panic!("{} has no IPv4 address: {:?}", self.name, self.record()))
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it doesn't end.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        self.running.wait(BOOT)
    }

    /// Ends it by a signal to its supervisor and waits for its end.
    #[track_caller]
    pub fn end(&mut self, signal: i32) -> ExitStatus {
        self.running.signal(signal);
        self.wait()
    }
}

/// The record of the machine `name`, if there is one: the values of each key.
#[must_use]
pub fn record(host: &Host, name: &str) -> Option<BTreeMap<String, Vec<String>>> {
    let text = host.read(format!("/run/rspawn/machines/{name}"))?;
    let mut record = BTreeMap::<String, Vec<String>>::new();
    for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
        record
            .entry(key.to_owned())
            .or_default()
            .push(value.to_owned());
    }
    Some(record)
}

/// The first process of the container that the process `supervisor` (as the machine
/// counts) runs, as the host counts: among its descendants the one that is process 1
/// of a further process namespace.
fn leader_below(supervisor: u32) -> Option<u32> {
    find_leader(supervisor).map(|(_, in_host)| in_host)
}

/// The same once it has gone on to its payload: until then its mounts are being made.
/// It is another program than its parent's then, or has children that are.
fn payload_below(supervisor: u32) -> Option<u32> {
    let (leader, in_host) = find_leader(supervisor)?;
    let program = |pid: u32| {
        let exe = fs::metadata(format!("/proc/{pid}/exe")).ok()?;
        Some((exe.dev(), exe.ino()))
    };
    let status = fs::read_to_string(format!("/proc/{leader}/status")).ok()?;
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    let children = fs::read_to_string(format!("/proc/{leader}/task/{leader}/children")).ok()?;
    let is_another = program(leader)? != program(parent.trim().parse().ok()?)?;
    (is_another || !children.trim().is_empty()).then_some(in_host)
}

/// As the machine counts and as the host does.
fn find_leader(supervisor: u32) -> Option<(u32, u32)> {
    let mut waiting = vec![supervisor];
    while let Some(pid) = waiting.pop() {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let ids = status
            .lines()
            .find_map(|line| line.strip_prefix("NSpid:"))
            .unwrap_or("");
        if let [.., in_host, "1"] = ids.split_whitespace().collect::<Vec<_>>()[..]
            && ids.split_whitespace().count() >= 3
        {
            return Some((pid, in_host.parse().ok()?));
        }
        let tasks = fs::read_dir(format!("/proc/{pid}/task"))
            .into_iter()
            .flatten()
            .flatten();
        for task in tasks {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            waiting.extend(
                children
                    .split_whitespace()
                    .filter_map(|child| child.parse::<u32>().ok()),
            );
        }
    }
    None
}
