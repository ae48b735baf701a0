//! Many machines in a host, without a container behind each: see `inside`.

use std::io::{BufRead, BufReader, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

use netns_fixtures::Host;
use registry::LINK_GROUP;

use crate::links;
use crate::measure::Samples;

/// Where the bench itself is in a host.
const OWN: &str = "/usr/lib/rspawn/bench";

/// Puts this program into a host. Gives its path there.
pub fn install(host: &Host) -> PathBuf {
    if !host.exists(OWN) {
        let own = std::env::current_exe().unwrap();
        host.write_program(OWN, std::fs::read(own).unwrap());
    }
    OWN.into()
}

/// The process that stands for their supervisors.
#[derive(Debug)]
pub struct Crowd {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    started: u32,
}

impl Crowd {
    /// Starts it in a host that was [prepared](links::prepare).
    pub fn start(host: &Host) -> Self {
        let mut command = host
            .command(install(host))
            .args(["--inside", "crowd"])
            .cgroup("crowd.service");
        command
            .as_std()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.start();
        Self {
            input: child.stdin.take().unwrap(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
            started: 0,
        }
    }

    /// Makes links and leaders for as many machines as `until` in all, and registers
    /// the new ones at once.
    pub fn grow(&mut self, host: &Host, until: u32) {
        let numbers = self.started..until;
        self.start_leaders(numbers.clone());
        links::make(host, numbers.clone(), LINK_GROUP);
        self.register(numbers);
    }

    /// Starts the leaders of further machines.
    pub fn start_leaders(&mut self, numbers: Range<u32>) {
        self.started = numbers.end;
        self.ask("leaders", numbers);
    }

    /// Registers machines whose leaders run and whose links are there, at once. Gives
    /// how long each answer took.
    pub fn register(&mut self, numbers: Range<u32>) -> Samples {
        Samples::new(durations(&self.ask("register", numbers)))
    }

    /// Registers all of them again with a netd that is new, once that listens. Gives
    /// how long each answer took from then on.
    pub fn reconnect(&mut self) -> Samples {
        let all = 0..self.started;
        Samples::new(durations(&self.ask("reconnect", all)))
    }

    fn ask(&mut self, what: &str, numbers: Range<u32>) -> String {
        writeln!(self.input, "{what} {} {}", numbers.start, numbers.end).unwrap();
        let mut answer = String::new();
        self.output.read_line(&mut answer).unwrap();
        assert!(answer.ends_with('\n'), "the crowd has ended");
        answer
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Durations in nanoseconds, with space between.
pub fn durations(text: &str) -> Vec<Duration> {
    let words = text.split_whitespace();
    words
        .map(|word| Duration::from_nanos(word.parse().expect("a number of nanoseconds")))
        .collect()
}
