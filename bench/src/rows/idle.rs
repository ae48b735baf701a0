//! How often anything wakes up while nothing happens.

use std::time::Duration;

use netns_fixtures::{Host, Running, wait_until};

use crate::crowd::Crowd;
use crate::peers::{self, Netd, SUITE, Systemd};
use crate::process::{Process, Switches, running};
use crate::report::Section;
use crate::{Extent, links};

/// How many real containers run besides.
const CONTAINERS: usize = 5;

/// netd and rspawn with many containers, systemd's with a few, in the same minute.
pub fn measure(extent: Extent) {
    peers::fetch_mymachines();
    let machines = extent.pick(100, 1000);
    let their_links = extent.pick(10, 100);
    let time = Duration::from_secs(extent.pick(10, 60));
    let ours = Ours::start(machines);
    let theirs = Theirs::start(their_links);
    let watched = [ours.watched(), theirs.watched()].concat();
    for (_, processes) in &watched {
        processes.iter().for_each(|process| process.settle());
    }
    // Duplicate address detection and router solicitations of new links are over after
    // 4 s and some (RFC 4861, 10), and what follows from them.
    std::thread::sleep(Duration::from_secs(extent.pick(5, 20)));
    let before = counted(&watched);
    std::thread::sleep(time);
    let after = counted(&watched);
    let mut section = Section::new(
        "Wake-ups while nothing happens",
        &["process", "with", "wake-ups", "processor's time", "by thread", "to reach"],
    )
    .commands(&["voluntary_ctxt_switches of every thread in /proc/PID/task/*/status, and schedstat"])
    .notes(&[&format!(
        "In the same {} s for all. {machines} machines are registered with netd, each with a link; {CONTAINERS} of \
         rspawn's containers run besides (`rspawn -n -M NAME -D TREE -a /bin/sleep 10000`), and their supervisors are \
         counted together, as are systemd-nspawn's. The links of systemd-networkd are of the same kind, without a \
         container behind.",
        time.as_secs()
    )]);
    for (((name, _), before), after) in watched.iter().zip(&before).zip(&after) {
        let switches = after.switches.since(&before.switches);
        let (name, with) = name;
        let goal = match *name {
            "netd" | "rspawn" => "due timers only",
            _ => "",
        };
        let woken = switches.threads.iter().filter(|(_, count)| *count > 0);
        let threads: Vec<String> = woken
            .map(|(name, count)| format!("{name}: {count}"))
            .collect();
        section.row(&[
            name,
            with,
            &switches.total(),
            &crate::measure::shown(after.time - before.time),
            &threads.join(", "),
            &goal,
        ]);
    }
}

type Watched = ((&'static str, String), Vec<Process>);

struct Counted {
    switches: Switches,
    time: Duration,
}

fn counted(watched: &[Watched]) -> Vec<Counted> {
    let of = |(_, processes): &Watched| Counted {
        switches: Switches {
            threads: processes
                .iter()
                .flat_map(|one| one.switches().threads)
                .collect(),
        },
        time: processes.iter().map(|one| one.processor()).sum(),
    };
    watched.iter().map(of).collect()
}

/// A host, and what runs in it. Never dropped in part: it ends with this process.
struct Ours {
    host: &'static Host,
    netd: Netd<'static>,
    machines: u32,
    _crowd: Crowd,
    _containers: Vec<Running<'static>>,
}

impl Ours {
    fn start(machines: u32) -> Self {
        let host: &Host = Box::leak(Box::new(peers::ours()));
        links::prepare(host);
        let netd = Netd::start(host);
        let mut crowd = Crowd::start(host);
        for until in (0..machines).step_by(250).skip(1).chain([machines]) {
            crowd.grow(host, until);
        }
        Self {
            host,
            netd,
            machines,
            _crowd: crowd,
            _containers: containers(host, "rspawn", &[]),
        }
    }

    fn watched(&self) -> Vec<Watched> {
        let with = format!("{} machines and links", self.machines as usize + CONTAINERS);
        vec![
            (("netd", with), vec![self.netd.process()]),
            (
                ("rspawn", format!("{CONTAINERS} containers")),
                running(self.host, "rspawn"),
            ),
        ]
    }
}

struct Theirs {
    host: &'static Host,
    systemd: Systemd<'static>,
    links: u32,
    _containers: Vec<Running<'static>>,
}

impl Theirs {
    fn start(links: u32) -> Self {
        let host: &Host = Box::leak(Box::new(Host::new()));
        links::prepare(host);
        let systemd = Systemd::start(host);
        links::make_and_wait(host, 0..links, 0, links::Others::Up);
        let options = ["--register=no", "--keep-unit", "--link-journal=no"];
        Self {
            host,
            systemd,
            links,
            _containers: containers(host, "systemd-nspawn", &options),
        }
    }

    fn watched(&self) -> Vec<Watched> {
        let links = format!("{} links", self.links as usize + CONTAINERS);
        vec![
            (
                ("systemd-networkd", links),
                vec![Process(self.systemd.networkd_pid())],
            ),
            (
                ("systemd-machined", "no machine".into()),
                running(self.host, "systemd-machined"),
            ),
            (
                ("systemd-nspawn", format!("{CONTAINERS} containers")),
                running(self.host, "systemd-nspawn"),
            ),
        ]
    }
}

/// Starts some containers that do nothing.
pub fn containers<'a>(host: &'a Host, program: &str, options: &[&str]) -> Vec<Running<'a>> {
    let start = |number: usize| {
        let container = host
            .command(program)
            .args(["-q", "-n", "-a"])
            .args(options)
            .args(["-M", &format!("web{number}"), "-D"])
            .arg(host.tree(SUITE))
            .args(["/bin/sleep", "10000"])
            .cgroup(&format!("web{number}.service"))
            .spawn("web");
        let runs = wait_until(Duration::from_secs(15), || {
            running(host, "sleep").len() > number
        });
        assert!(runs, "{}", container.stderr());
        container
    };
    (0..CONTAINERS).map(start).collect()
}
