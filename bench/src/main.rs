//! `make bench`: rspawn and systemd's own programs, side by side in the same run on
//! the same machine, with the same tree. Prints a table; asserts nothing of it.

// A measurement that cannot be made ends the program.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod first_ping;
mod lookup;
mod measure;
mod peers;
mod run_once;

use measure::Row;

/// How often a container is started.
const RUNS: usize = 40;
/// How often a container is started and waited for until it is reached.
const REACHED: usize = 15;
/// How often a name is looked up.
const LOOKUPS: usize = 5000;

fn main() {
    let rows: Vec<Row> = [
        run_once::rows as fn() -> Vec<Row>,
        first_ping::rows,
        lookup::rows,
    ]
    .into_iter()
    .flat_map(|measure| measure())
    .collect();
    println!("{}", machine());
    println!("{}", measure::table(&rows));
}

/// What it was measured on.
fn machine() -> String {
    let first_line = |path: &str, key: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let line = text
            .lines()
            .find(|line| line.starts_with(key))
            .unwrap_or_default();
        line.split_once(':')
            .map_or(line, |(_, value)| value)
            .trim()
            .to_owned()
    };
    let systemd = std::process::Command::new("systemd-nspawn")
        .arg("--version")
        .output();
    let systemd = systemd.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    format!(
        "{}, {} processors, Linux {}, {}, rspawn {}; load before: {}\n",
        first_line("/proc/cpuinfo", "model name"),
        std::thread::available_parallelism().map_or(0, usize::from),
        first_line("/proc/sys/kernel/osrelease", ""),
        systemd
            .unwrap_or_default()
            .lines()
            .next()
            .unwrap_or_default(),
        env!("CARGO_PKG_VERSION"),
        first_line("/proc/loadavg", ""),
    )
}
