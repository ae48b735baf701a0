//! A program is killed at one of its steps, from outside: strace(1) counts its system
//! calls and sends it a signal as it enters one of them, which is then not made.

use std::collections::BTreeMap;
use std::path::Path;

use netns_fixtures::{Host, HostCommand};

/// Set to anything, it has tests step through all points instead of some of them.
const ALL: &str = "RSPAWN_TEST_ALL_KILL_POINTS";
/// Between the points that are taken where not all are.
const STRIDE: usize = 7;

/// Before which system call a process gets a signal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KillPoint {
    /// The system call's name.
    pub call: String,
    /// The how manieth of a process or thread, from 1.
    pub number: usize,
}

impl std::fmt::Display for KillPoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} number {}", self.call, self.number)
    }
}

/// Which of a program's processes and threads are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The first process's first thread alone.
    First,
    /// Every process and thread; each counts for itself, and whoever comes there first
    /// gets the signal.
    All,
}

fn strace<'a>(host: &'a Host, who: Who, rest: &[String]) -> HostCommand<'a> {
    let follow: &[&str] = match who {
        Who::First => &[],
        // Without --seccomp-bpf, which is faster, but makes no signal come.
        Who::All => &["-f"],
    };
    host.command("strace").arg("-qq").args(follow).args(rest)
}

/// The command `program` with its calls of `calls` (strace's names, with commas) written
/// to the host's file `trace`.
#[must_use]
pub fn traced<'a>(
    host: &'a Host,
    who: Who,
    calls: &str,
    trace: &str,
    program: &[&str],
) -> HostCommand<'a> {
    let options = [
        "-o",
        trace,
        "-e",
        &format!("trace={calls}"),
        "-e",
        "signal=none",
    ];
    strace(host, who, &options.map(str::to_owned)).args(program)
}

/// The command `program`, which gets `signal` (strace's name) at a point.
#[must_use]
pub fn hit<'a>(
    host: &'a Host,
    who: Who,
    point: &KillPoint,
    signal: &str,
    program: &[&str],
) -> HostCommand<'a> {
    let KillPoint { call, number } = point;
    let options = [
        "-o".to_owned(),
        "/dev/null".to_owned(),
        "-e".to_owned(),
        format!("trace={call}"),
        "-e".to_owned(),
        format!("inject={call}:signal={signal}:when={number}"),
    ];
    strace(host, who, &options).args(program)
}

/// The points of a trace of `who`, in the order in which they were first reached, only
/// once where several processes reach it.
#[must_use]
pub fn points_of(host: &Host, who: Who, trace: &str) -> Vec<KillPoint> {
    let text = host.read(Path::new(trace)).unwrap_or_default();
    let mut counts = BTreeMap::<(String, String), usize>::new();
    let mut points = Vec::new();
    for line in text.lines() {
        let (process, line) = match who {
            Who::First => ("", line),
            Who::All => line.split_once(' ').unwrap_or(("", line)),
        };
        let Some((call, _)) = line.trim_start().split_once('(') else {
            continue;
        };
        // Ends of calls that were written in two parts, and signals.
        if !call
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        {
            continue;
        }
        let number = counts
            .entry((process.to_owned(), call.to_owned()))
            .or_default();
        *number += 1;
        let point = KillPoint {
            call: call.to_owned(),
            number: *number,
        };
        if !points.contains(&point) {
            points.push(point);
        }
    }
    points
}

/// The share of one test of `shards`, the `shard`th from 0.
#[must_use]
pub fn shard_of(points: &[KillPoint], shard: usize, shards: usize) -> Vec<KillPoint> {
    points.iter().skip(shard).step_by(shards).cloned().collect()
}

/// Points evenly spread over all, or all, if the environment says so.
#[must_use]
pub fn sample(points: &[KillPoint]) -> Vec<KillPoint> {
    let step = if std::env::var_os(ALL).is_some() {
        1
    } else {
        STRIDE
    };
    points.iter().step_by(step).cloned().collect()
}
