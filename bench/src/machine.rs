//! What was measured, and on what.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::Extent;

/// How long the machine is to have had nothing to do.
const QUIET: Duration = Duration::from_millis(500);
/// How much of that time its processors may have worked all the same, one part in so many.
const STIR: u64 = 20;
/// After that it is measured as it is.
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until the machine has nothing to do: the kernel goes on freeing thousands of links
/// for long after their host is gone.
pub fn wait_until_quiet() {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let before = processors_time();
        std::thread::sleep(QUIET);
        let after = processors_time();
        let (all, idle) = (after.0 - before.0, after.1 - before.1);
        if all.saturating_sub(idle) * STIR <= all {
            return;
        }
    }
    eprintln!("  the machine is busy with something else: figures may be too high");
}

/// All the time of the machine's processors, and what of it they were idle, in ticks
/// (proc_stat(5)).
fn processors_time() -> (u64, u64) {
    let times: Vec<u64> = value_in("/proc/stat", "cpu ")
        .split_ascii_whitespace()
        .skip(1)
        .filter_map(|word| word.parse().ok())
        .collect();
    let idle = times.iter().skip(3).take(2).sum();
    // The last two are of guests, and counted before.
    (times.iter().take(8).sum(), idle)
}

/// The head of the results.
pub fn described(extent: Extent) -> String {
    let load = value_in("/proc/loadavg", "");
    let memory = value_in("/proc/meminfo", "MemTotal");
    let programs = [
        first_line("systemd-nspawn", &["--version"]),
        first_line("dbus-daemon", &["--version"]),
        format!("rspawn {}", env!("CARGO_PKG_VERSION")),
        format!(
            "commit {}",
            first_line("git", &["describe", "--always", "--dirty"])
        ),
    ];
    let command = extent.pick(
        "`rspawn-bench --quick`, less than `make bench` does",
        "`make bench`",
    );
    format!(
        "\
# Measured side by side

Written by {command}, as root on Debian 12: rspawn and systemd's own programs from Debian's packages, in hosts of
their own (namespaces) on the same machine, with the same Debian 12 tree, one after the other in one run. Figures are
min / median / max. `/run` and `/var/lib` of these hosts are in memory for both sides.

- machine: {}, {} processors, {memory} of memory, Linux {}
- programs: {}
- load before: {load}

",
        value_in("/proc/cpuinfo", "model name"),
        std::thread::available_parallelism().map_or(0, usize::from),
        value_in("/proc/sys/kernel/osrelease", ""),
        programs.join("; "),
    )
}

/// The value of the first line of a file that begins with `key`.
fn value_in(path: &str, key: &str) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(key));
    let line = line.unwrap_or_default();
    let value = line.split_once(':').map_or(line, |(_, value)| value);
    value.trim().to_owned()
}

fn first_line(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map_or(String::new(), |output| {
        String::from_utf8_lossy(&output.stdout).into_owned()
    });
    text.lines().next().unwrap_or("unknown").to_owned()
}
