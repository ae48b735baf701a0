//! netd is killed at each of its steps, and started: the host is as if nothing had been.
//!
//! The steps are system calls that change something or are seen by others: see
//! `rspawn_tests::hit`. All of them are stepped through, while netd takes over a host
//! with machines, while one more registers, and while that ends.

use std::path::PathBuf;
use std::time::Duration;

use netns_fixtures::{Host, NETD, NETD_CGROUP, Output, Running, wait_until};
use rspawn_tests::{
    Container, Footprint, KillPoint, SOON, Start, Who, ask_as, hit, host, points_of, record,
    shard_of, traced,
};

/// What changes something that stays, or that others see.
const CALLS: &str = "mkdir,rename,unlink,symlink,bind,listen,chmod,flock,sendto,sendmsg,accept4,\
    clone3,write,fsync,capset,seccomp";
const SHARDS: usize = 4;

/// Machines of three kinds that run all the time, and a tree for one more.
struct Stage<'a> {
    host: &'a Host,
    tree: PathBuf,
    _machines: Vec<Container<'a>>,
}

/// What the world is when nobody is disturbed.
#[derive(Debug, PartialEq, Eq)]
struct World {
    /// With the machine `new`.
    with: String,
    /// Before and after.
    without: String,
    footprint: Footprint,
}

impl<'a> Stage<'a> {
    fn new(host: &'a Host) -> Self {
        host.run(
            "ip link add br0 type bridge; ip address add 10.77.0.1/24 dev br0; ip link set br0 up
             mkdir -p /run/systemd/network",
        );
        let start = |name: &str, network: &[&str]| {
            Start::without_network(host, name, &host.busybox_tree())
                .args(network)
                .args(["-a", "/bin/sleep", "1000"])
                .start()
        };
        let machines = vec![
            start("web", &["-n"]),
            start("long-name-of-a-machine", &["-n"]),
            start("db", &["--network-bridge=br0"]),
            start("alone", &["--private-network"]),
            start("member", &["--network-zone=lab"]),
        ];
        for machine in &machines {
            let name = machine.name();
            assert!(wait_until(SOON, || record(host, name).is_some()), "{name}");
        }
        machines[2].run("ip address add 10.77.0.7/24 dev host0");
        // Somebody behind the member, whose lease is nobody else's for an hour.
        let own = machines[4].run("cat /sys/class/net/host0/address");
        let _ = ask_as(&machines[4], "02:00:00:00:00:77");
        let address = machines[4].ipv4();
        machines[4].run(&format!(
            "ip link set host0 down; ip link set host0 address {own}; ip link set host0 up
             ip address replace {address}/24 dev host0"
        ));
        let stage = Self {
            host,
            tree: host.busybox_tree(),
            _machines: machines,
        };
        assert!(wait_until(SOON, || stage.world("").contains("10.77.0.7")));
        stage
    }

    /// All that netd makes of the host, but for numbers that are others in each run.
    fn world(&self, new: &str) -> String {
        self.host.run(&format!(
            "ip -br address show | grep -v '^lo' | sort
             ip -br link show | grep -v '^lo' | sort
             ip route; ip -6 route show table main | sed 's/ expires.*//'
             for link in ve-web {new}; do
                 grep -r . /proc/sys/net/ipv4/conf/$link /proc/sys/net/ipv6/conf/$link | sort
             done
             cat /proc/sys/net/ipv4/conf/all/forwarding /proc/sys/net/ipv6/conf/all/forwarding
             nft -s -t list table inet rspawn | grep -v flags
             nft -s -t list table bridge rspawn | grep -v flags
             for set in ports taken_macs own_ipv4 own_ipv6; do
                 nft list set bridge rspawn $set | grep -v flags | tr ',' '\\n' | tr -d '{{}}= \\t' | sort
             done
             nft list set inet rspawn ipv4_members | tr ',' '\\n' | tr -d '{{}}= \\t' | sort
             cut -d' ' -f1,2 /var/lib/rspawn/members/lab
             sed -n 's/^lease \\([^ ]* [^ ]*\\) .*/\\1/p' /var/lib/rspawn/leases/lab | sort -u
             cd /run/rspawn/machines
             cat $(ls | grep -v new)
             [ ! -e new ] || grep -E '^(NAME|ADDRESS|SERVICE|NETWORK|LINK)=' new
             cd ../addresses; for link in *; do echo $link $(readlink $link); done
             cd /var/lib/rspawn/subnets; grep . $(ls | grep -v new) $(ls | grep new) | grep -v USED
             getent -s rspawn ahosts web db member new || true"
        ))
    }

    fn start_new(&self) -> Running<'a> {
        Start::new(self.host, "new", &self.tree)
            .args(["-a", "/bin/sleep", "1000"])
            .command()
            .spawn("new")
    }

    /// One more machine comes and goes while `netd` runs, which may end at any time:
    /// then another is started. Gives the worlds as they settle, and the netd that runs.
    fn go_through(&self, netd: &mut Netd<'a>, expected: Option<&World>, after: &str) -> World {
        let settled = |netd: &mut Netd<'a>, new: &str, expected: Option<&String>| {
            let mut seen = String::new();
            let same = wait_until(SOON, || {
                netd.keep_up();
                let before = std::mem::replace(&mut seen, self.world(new));
                seen == *expected.unwrap_or(&before) && !self.has_dead_links()
            });
            let expected = expected.cloned().unwrap_or_default();
            assert!(same, "after {after}:\n{}", difference(&expected, &seen));
            seen
        };
        let mut new = self.start_new();
        let up = wait_until(SOON, || {
            netd.keep_up();
            record(self.host, "new").is_some_and(|record| record.contains_key("ADDRESS"))
        });
        assert!(
            up && new.ended().is_none(),
            "after {after}: {}",
            new.stderr()
        );
        let with = settled(netd, "ve-new", expected.map(|world| &world.with));
        let lease = "ip -6 route show default; ip route show default; udhcpc -i host0 -n -q -f -t 3 -T 1 -s /bin/true";
        // netd may end meanwhile, but not twice.
        let first = netd.killed;
        let served = self.inside(lease);
        if !served.success() {
            netd.keep_up();
            assert!(
                netd.killed && !first,
                "after {after}: {served}\n{}",
                new.stderr()
            );
            self.inside(lease).expect_success();
        }
        // The member's link was down, and has its IPv6 address again when it hears of it.
        self.host
            .run("ping -c1 -W5 new >/dev/null && ping -4 -c1 -W5 member >/dev/null");
        new.signal(libc::SIGTERM);
        new.wait(SOON);
        let gone = wait_until(SOON, || {
            netd.keep_up();
            let forgotten = record(self.host, "new").is_none();
            forgotten && !self.host.run("ip -o link").contains("new") && !self.has_dead_links()
        });
        assert!(gone, "after {after}: new stays");
        World {
            with,
            without: settled(netd, "", expected.map(|world| &world.without)),
            footprint: Footprint::of(self.host, &[&self.tree]),
        }
    }

    /// Whether there are links out of the way, which the kernel frees with the network
    /// of the machine that ended: how soon is the kernel's affair, and nobody else's.
    fn has_dead_links(&self) -> bool {
        let links = self.host.run("ip -o link");
        let mut names = links
            .lines()
            .filter_map(|line| line.split_whitespace().nth(1));
        names.any(|name| {
            let number = name
                .strip_prefix('x')
                .and_then(|rest| rest.split('@').next());
            number.is_some_and(|number| number.parse::<u32>().is_ok())
        })
    }

    /// Runs a script in the machine `new`.
    fn inside(&self, script: &str) -> Output {
        self.host.sh(&format!(
            "leader=$(sed -n s/^LEADER=//p /run/rspawn/machines/new)
             nsenter -t $leader -n -m -p chroot /proc/1/root /bin/sh -ec '{script}'"
        ))
    }
}

fn difference(one: &str, other: &str) -> String {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let (one, other) = (lines(one), lines(other));
    let less = one.iter().filter(|line| !other.contains(line));
    let more = other.iter().filter(|line| !one.contains(line));
    less.map(|line| format!("- {line}\n"))
        .chain(more.map(|line| format!("+ {line}\n")))
        .collect()
}

/// A netd that may be killed, and is started again then.
struct Netd<'a> {
    host: &'a Host,
    running: Running<'a>,
    killed: bool,
}

impl<'a> Netd<'a> {
    fn hit(host: &'a Host, point: &KillPoint) -> Self {
        let running = hit(host, Who::All, point, "KILL", &[NETD]).cgroup(NETD_CGROUP);
        Self {
            host,
            running: running.spawn("netd"),
            killed: false,
        }
    }

    /// Starts it anew if it has ended.
    fn keep_up(&mut self) {
        if !self.killed && self.running.ended().is_some() {
            self.killed = true;
            self.running = self.host.start_netd();
        }
        let ended = self.killed.then(|| self.running.ended()).flatten();
        assert!(ended.is_none(), "{}", self.running.stderr());
    }

    /// Kills it: with strace, if it runs under that.
    fn kill(self) {
        self.host.kill_cgroup(NETD_CGROUP);
    }
}

fn points(stage: &Stage<'_>) -> (Vec<KillPoint>, World) {
    let running = traced(stage.host, Who::All, CALLS, "/tmp/trace", &[NETD])
        .cgroup(NETD_CGROUP)
        .spawn("netd");
    assert!(wait_until(SOON, || stage.host.netd_serves()));
    let mut netd = Netd {
        host: stage.host,
        running,
        killed: true,
    };
    let world = stage.go_through(&mut netd, None, "nothing");
    netd.kill();
    (points_of(stage.host, Who::All, "/tmp/trace"), world)
}

fn killed_at_each_step(shard: usize) {
    let host = host();
    let netd = host.start_netd();
    let stage = Stage::new(&host);
    // What the first of that name makes: its subnets, and what the kernel keeps.
    let mut netd = Netd {
        host: &host,
        running: netd,
        killed: true,
    };
    stage.go_through(&mut netd, None, "the first");
    netd.kill();
    let (points, world) = points(&stage);
    let points = shard_of(&points, shard, SHARDS);
    let mut reached = 0;
    for point in &points {
        let mut netd = Netd::hit(&host, point);
        assert!(wait_until(SOON, || {
            netd.keep_up();
            host.netd_serves()
        }));
        let seen = stage.go_through(&mut netd, Some(&world), &format!("{point}"));
        let trees = [stage.tree.as_path()];
        let same = seen.footprint == world.footprint
            || wait_until(SOON, || {
                // It may be killed as late as now, in the middle of writing a file.
                netd.keep_up();
                Footprint::of(&host, &trees) == world.footprint
            });
        if !same {
            let now = Duration::ZERO;
            let after = format!("{point}");
            world.footprint.wait_for(&host, &trees, now, &after);
        }
        reached += usize::from(netd.killed);
        netd.kill();
    }
    println!("{reached} of {} points", points.len());
    // What comes by the clock, or all at once, is not as many calls in each run.
    assert!(
        reached * 2 >= points.len() && reached > 10,
        "{reached} of {} points",
        points.len()
    );
}

#[test]
fn killed_at_each_step_netd_comes_back_to_the_same_world_1() {
    killed_at_each_step(0);
}

#[test]
fn killed_at_each_step_netd_comes_back_to_the_same_world_2() {
    killed_at_each_step(1);
}

#[test]
fn killed_at_each_step_netd_comes_back_to_the_same_world_3() {
    killed_at_each_step(2);
}

#[test]
fn killed_at_each_step_netd_comes_back_to_the_same_world_4() {
    killed_at_each_step(3);
}
