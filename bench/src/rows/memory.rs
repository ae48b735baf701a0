//! Memory of netd and rspawn, beside systemd's.

use netns_fixtures::{Host, wait_until};
use registry::LINK_GROUP;
use std::time::Duration;

use crate::peers::{self, Netd, SUITE, Systemd};
use crate::process::{Memory, Process, running};
use crate::report::Section;
use crate::{Extent, links};

/// How many containers run for what one takes.
const CONTAINERS: u32 = 5;

/// The daemons by links, the supervisors by containers.
pub fn measure(extent: Extent) {
    daemons(extent);
    supervisors();
}

fn daemons(extent: Extent) {
    let mut section = Section::new(
        "Memory of the daemon, by links",
        &["links", "netd: RSS", "netd: PSS", "netd: private", "networkd: RSS", "networkd: PSS", "to reach (netd, RSS)"],
    )
    .commands(&["/proc/PID/smaps_rollup, after the links of one batch more have been configured and the daemon rests"])
    .notes(&["systemd-networkd alone, without the system bus and systemd-machined that it is used with; netd is both daemons in one."]);
    let counts = extent.pick(&[0, 100, 1000][..], &[0, 1, 100, 300, 1000, 4000]);
    let host = peers::ours();
    let netd = Netd::start(&host);
    let ours = by_links(&host, netd.process(), counts, LINK_GROUP);
    drop(netd);
    let host = Host::new();
    let systemd = Systemd::networkd(&host);
    let their_counts = extent.pick(&[0, 10][..], &[0, 1, 100, 300]);
    let theirs = by_links(&host, Process(systemd.networkd_pid()), their_counts, 0);
    let mut first = None;
    for (count, memory) in &ours {
        let beside = theirs.iter().find(|(other, _)| other == count);
        let theirs = beside.map(|(_, memory)| [memory.rss, memory.pss].map(kib));
        let [rss, pss] = theirs.unwrap_or(["–", "–"].map(str::to_owned));
        let goal = match count {
            100 => "8 MB",
            300 => "10 MB",
            _ => "",
        };
        section.row(&[
            count,
            &kib(memory.rss),
            &kib(memory.pss),
            &kib(memory.private),
            &rss,
            &pss,
            &goal,
        ]);
        if *count >= 100 {
            first.get_or_insert((*count, memory.rss));
        }
    }
    if let (Some((from, least)), Some((to, most))) = (first, ours.last())
        && *to > from
    {
        let each = (most.rss.saturating_sub(least)) as f64 / f64::from(to - from);
        section.notes(&[&format!(
            "From {from} to {to} links netd's RSS grows by {each:.1} KiB a link (to reach: 6 KB).",
        )]);
    }
}

/// What a daemon has in memory as links come to those that it serves already.
fn by_links(host: &Host, daemon: Process, counts: &[u32], group: u32) -> Vec<(u32, Memory)> {
    links::prepare(host);
    // networkd configures a link only with a carrier.
    let others = match group {
        LINK_GROUP => links::Others::Down,
        _ => links::Others::Up,
    };
    let mut made = 0;
    let measured = counts.iter().map(|&count| {
        if count > made {
            links::make_and_wait(host, made..count, group, others);
            made = count;
        }
        daemon.settle();
        (count, daemon.memory())
    });
    measured.collect()
}

fn supervisors() {
    let mut section = Section::new(
        "Memory of the supervisor, a container",
        &["what", "processes a container", "private", "PSS", "to reach (private)"],
    )
    .commands(&[
        "rspawn -q -n -M NAME -D TREE [-a] /bin/sleep 1000",
        "systemd-nspawn -q -n -M NAME --register=no --keep-unit --link-journal=no -D TREE [-a] /bin/sleep 1000",
    ])
    .notes(&["The sum of all processes of the program for one container (with `-a`, the process 1 inside is one of them), by /proc/PID/smaps_rollup, Private_Clean and Private_Dirty; the mean of 5 containers."]);
    for (option, what) in [
        (None, "a program"),
        (Some("-a"), "a program, and process 1 by us (`-a`)"),
    ] {
        let host = peers::ours();
        let netd = Netd::start(&host);
        let base = ["-q", "-n"];
        let ours = of_containers(&host, "rspawn", &base, option);
        drop(netd);
        let host = Host::new();
        host.run("mkdir -p /run/systemd");
        let base = [
            "-q",
            "-n",
            "--register=no",
            "--keep-unit",
            "--link-journal=no",
        ];
        let theirs = of_containers(&host, "systemd-nspawn", &base, option);
        for (name, (count, memory)) in [("rspawn", ours), ("systemd-nspawn", theirs)] {
            let goal = if name == "rspawn" { "3 MB" } else { "" };
            section.row(&[
                &format!("{name}: {what}"),
                &count,
                &kib(memory.private),
                &kib(memory.pss),
                &goal,
            ]);
        }
    }
}

/// How many processes of `program` each of some containers has, and what they have in memory.
fn of_containers(
    host: &Host,
    program: &str,
    options: &[&str],
    more: Option<&str>,
) -> (u64, Memory) {
    let started: Vec<_> = (0..CONTAINERS)
        .map(|number| {
            let container = host
                .command(program)
                .args(options)
                .args(["-M", &format!("web{number}"), "-D"])
                .arg(host.tree(SUITE))
                .args(more)
                .args(["/bin/sleep", "1000"])
                .cgroup(&format!("web{number}.service"))
                .spawn("web");
            let runs = wait_until(Duration::from_secs(15), || {
                running(host, "sleep").len() > number as usize
            });
            assert!(runs, "{}", container.stderr());
            container
        })
        .collect();
    let processes = running(host, program);
    processes.iter().for_each(|process| process.settle());
    let all = processes.iter().map(|process| process.memory());
    let all = all.fold(Memory::default(), |sum, one| sum + one);
    drop(started);
    let each = u64::from(CONTAINERS);
    let memory = Memory {
        rss: all.rss / each,
        pss: all.pss / each,
        private: all.private / each,
    };
    (processes.len() as u64 / each, memory)
}

fn kib(kib: u64) -> String {
    format!("{:.2} MB", kib as f64 * 1024.0 / 1e6)
}
