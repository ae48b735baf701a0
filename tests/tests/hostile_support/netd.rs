//! What netd has used and said.

use std::fs;
use std::time::{Duration, Instant};

use netns_fixtures::Running;

/// netd at one time.
#[derive(Debug, Clone, Copy)]
pub struct Netd {
    at: Instant,
    cpu: Duration,
    /// Resident memory of its own in KiB.
    pub memory: u64,
    lines: usize,
}

/// What netd used over some time.
#[derive(Debug, Default)]
pub struct Use {
    time: Duration,
    cpu: Duration,
    /// By how much its memory grew, in KiB.
    pub growth: i64,
    /// Lines of its log.
    pub lines: usize,
}

impl Use {
    /// Of one processor, in percent.
    pub fn share(&self) -> f64 {
        100.0 * self.cpu.as_secs_f64() / self.time.as_secs_f64()
    }
}

impl std::ops::AddAssign for Use {
    fn add_assign(&mut self, more: Self) {
        self.time += more.time;
        self.cpu += more.cpu;
        self.growth += more.growth;
        self.lines += more.lines;
    }
}

impl std::fmt::Display for Use {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            time,
            growth,
            lines,
            ..
        } = self;
        let share = self.share();
        write!(
            f,
            "{share:.1} % of a processor, {growth} KiB more, {lines} lines in {time:?}"
        )
    }
}

impl Netd {
    /// As it is now.
    pub fn now(netd: &Running<'_>) -> Self {
        let pid = netd.pid();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<&str> = stat
            .rsplit_once(')')
            .unwrap()
            .1
            .split_whitespace()
            .collect();
        // utime and stime, in hundredths (proc(5)).
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let anonymous = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"))
            .unwrap();
        Self {
            at: Instant::now(),
            cpu: Duration::from_millis(ticks * 10),
            memory: anonymous
                .split_whitespace()
                .next()
                .unwrap()
                .parse()
                .unwrap(),
            lines: netd.stderr().lines().count(),
        }
    }

    /// What it used since then.
    pub fn until(self, netd: &Running<'_>) -> Use {
        let now = Self::now(netd);
        Use {
            time: now.at - self.at,
            cpu: now.cpu - self.cpu,
            growth: now.memory as i64 - self.memory as i64,
            lines: now.lines - self.lines,
        }
    }
}
