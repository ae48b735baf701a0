//! rspawn, or what runs in the container, ends at any step: nothing stays on the host,
//! and the name can be used again at once.
//!
//! The steps are system calls that change something: see `rspawn_tests::hit`. With
//! `RSPAWN_TEST_ALL_KILL_POINTS=1` the tests that take samples step through all.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

use netns_fixtures::{Host, Output, Running, wait_until};
use rspawn_tests::{
    BOOT, Footprint, KillPoint, SOON, Start, Who, hit, host, points_of, record, sample, shard_of,
    traced,
};

/// What changes something outside of the process, or is waited for.
const CALLS: &str = "mkdir,mkdirat,flock,setxattr,write,pwrite64,ftruncate,bpf,open_tree,\
    mount_setattr,socketpair,clone3,setns,socket,connect,sendto,sendmsg,recvmsg,waitid,rmdir,\
    unlink,unlinkat,ppoll";
/// The same of the process that becomes the payload.
const CALLS_INSIDE: &str = "fsconfig,fsmount,move_mount,mknodat,symlinkat,mkdirat,prctl,\
    pivot_root,sethostname,unshare,setsid,setresuid,capset,execve,umount2,write,sendmsg,recvmsg";
const SHARDS: usize = 3;

/// A host with what a container has there before it starts.
struct Stage<'a> {
    host: &'a Host,
    tree: PathBuf,
    before: Footprint,
}

impl<'a> Stage<'a> {
    /// netd runs.
    fn new(host: &'a Host) -> Self {
        let tree = host.busybox_tree();
        // As on a host whose networkd goes without udev: it is told of links by files.
        host.run("mkdir -p /run/systemd/network /run/systemd/netif; mount -o remount,bind,ro /sys");
        let stage = Self {
            host,
            before: Footprint::of(host, &[]),
            tree,
        };
        // What the first container makes for all: directories, the slice.
        stage.rspawn(&["/bin/true"]).expect_success();
        let mut stage = stage;
        stage.before = stage.settled();
        stage
    }

    /// The footprint once the last container's link is freed.
    fn settled(&self) -> Footprint {
        let trees = [self.tree.as_path()];
        assert!(wait_until(SOON, || !self
            .host
            .run("ip -o link show")
            .contains("ve-")
            && self.host.run("ip -o link show | wc -l") == "1"));
        Footprint::of(self.host, &trees)
    }

    fn command(&self, payload: &[&str]) -> Vec<String> {
        let tree = self.tree.to_str().unwrap();
        let mut command = ["rspawn", "-q", "-n", "-a", "-M", "web", "-D", tree]
            .map(str::to_owned)
            .to_vec();
        command.extend(payload.iter().map(|&word| word.to_owned()));
        command
    }

    fn rspawn(&self, payload: &[&str]) -> Output {
        let command = self.command(payload);
        let (program, arguments) = command.split_first().unwrap();
        self.host
            .command(program)
            .args(arguments)
            .cgroup("web.service")
            .output()
    }

    fn points(&self, who: Who, calls: &str, payload: &[&str]) -> Vec<KillPoint> {
        let command = self.command(payload);
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        traced(self.host, who, calls, "/tmp/trace", &command)
            .cgroup("web.service")
            .output()
            .expect_success();
        self.clean("a trace");
        points_of(self.host, who, "/tmp/trace")
    }

    fn hit(&self, who: Who, point: &KillPoint, signal: &str, payload: &[&str]) -> Output {
        let command = self.command(payload);
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        hit(self.host, who, point, signal, &command)
            .cgroup("web.service")
            .output()
    }

    #[track_caller]
    fn clean(&self, after: &str) {
        let tree: &Path = &self.tree;
        self.before.wait_for(self.host, &[tree], SOON, after);
    }

    /// Nothing stays, without anybody else doing anything, and the name is free.
    #[track_caller]
    fn clean_and_free(&self, after: &str) {
        self.clean(after);
        let again = self.rspawn(&["/bin/true"]);
        assert!(again.success(), "after {after}: {again}");
        self.clean(&format!("{after}, and another start"));
    }
}

fn was_killed(output: &Output) -> bool {
    output.status.signal() == Some(libc::SIGKILL)
}

/// Runs `test` with its share of the points of a start of /bin/true, and tells how many
/// of them were reached.
fn at_each(points: &[KillPoint], shard: usize, mut test: impl FnMut(&KillPoint) -> bool) {
    let points = shard_of(points, shard, SHARDS);
    let reached = points.iter().filter(|point| test(point)).count();
    // The number of some calls is not the same in each run, least of all on a busy machine.
    assert!(
        reached * 10 >= points.len() * 7 && reached > 10,
        "{reached} of {} points",
        points.len()
    );
    println!("{reached} points");
}

fn with_stage(test: impl FnOnce(&Stage<'_>, Running<'_>)) {
    let host = host();
    let netd = host.start_netd();
    let stage = Stage::new(&host);
    let rules = stage.before.clone().with_rules(&host);
    test(&stage, netd);
    // What the firewall has learned from packets lapses after seconds.
    let same = || stage.before.clone().with_rules(&host) == rules;
    assert!(
        wait_until(SOON, same),
        "{rules:#?}\n{:#?}",
        stage.before.clone().with_rules(&host)
    );
}

fn killed_while_netd_runs(shard: usize) {
    with_stage(|stage, mut netd| {
        let points = stage.points(Who::First, CALLS, &["/bin/true"]);
        at_each(&points, shard, |point| {
            let killed = was_killed(&stage.hit(Who::First, point, "KILL", &["/bin/true"]));
            stage.clean_and_free(&format!("{point}"));
            killed
        });
        assert!(netd.ended().is_none(), "{}", netd.stderr());
    });
}

#[test]
fn killed_at_each_step_rspawn_leaves_nothing_1() {
    killed_while_netd_runs(0);
}

#[test]
fn killed_at_each_step_rspawn_leaves_nothing_2() {
    killed_while_netd_runs(1);
}

#[test]
fn killed_at_each_step_rspawn_leaves_nothing_3() {
    killed_while_netd_runs(2);
}

fn started_at_once(shard: usize) {
    with_stage(|stage, _netd| {
        let points = stage.points(Who::First, CALLS, &["/bin/true"]);
        at_each(&points, shard, |point| {
            let killed = was_killed(&stage.hit(Who::First, point, "KILL", &["/bin/true"]));
            let again = stage.rspawn(&["/bin/ip", "-o", "address", "show", "host0"]);
            assert!(again.success(), "after {point}: {again}");
            assert!(again.stdout.contains("/28"), "after {point}: {again}");
            stage.clean(&format!("{point}, and a start at once"));
            killed
        });
    });
}

#[test]
fn a_start_right_after_a_kill_at_each_step_works_1() {
    started_at_once(0);
}

#[test]
fn a_start_right_after_a_kill_at_each_step_works_2() {
    started_at_once(1);
}

#[test]
fn a_start_right_after_a_kill_at_each_step_works_3() {
    started_at_once(2);
}

fn killed_without_netd(shard: usize) {
    with_stage(|stage, netd| {
        let stop = |mut netd: Running<'_>| {
            netd.signal(libc::SIGKILL);
            netd.wait(SOON);
        };
        stop(netd);
        let points = stage.points(Who::First, CALLS, &["/bin/true"]);
        at_each(&points, shard, |point| {
            let killed = was_killed(&stage.hit(Who::First, point, "KILL", &["/bin/true"]));
            let netd = stage.host.start_netd();
            stage.clean(&format!("{point}, and a start of netd"));
            stop(netd);
            killed
        });
        stage.rspawn(&["/bin/true"]).expect_success();
        let _netd = stage.host.start_netd();
        stage.clean("all");
    });
}

#[test]
fn killed_at_each_step_without_netd_rspawn_leaves_nothing_once_netd_is_there_1() {
    killed_without_netd(0);
}

#[test]
fn killed_at_each_step_without_netd_rspawn_leaves_nothing_once_netd_is_there_2() {
    killed_without_netd(1);
}

#[test]
fn killed_at_each_step_without_netd_rspawn_leaves_nothing_once_netd_is_there_3() {
    killed_without_netd(2);
}

#[test]
fn sigterm_at_each_step_ends_rspawn_and_leaves_nothing() {
    with_stage(|stage, _netd| {
        let mut points = stage.points(Who::First, CALLS, &["/bin/true"]);
        // Up to where it waits for its end.
        let end = points.iter().position(|point| point.call == "waitid");
        points.truncate(end.unwrap());
        points.retain(|point| point.call != "ppoll");
        for point in &points {
            let output = stage.hit(Who::First, point, "TERM", &["/bin/sleep", "1000"]);
            assert!(!output.success(), "{point}: {output}");
            stage.clean(&format!("SIGTERM at {point}"));
        }
        assert!(points.len() > 30, "{}", points.len());
    });
}

#[test]
fn what_runs_inside_is_killed_at_any_step_and_nothing_stays() {
    with_stage(|stage, _netd| {
        let payload = ["/bin/sh", "-c", "exec /bin/true"];
        let points = sample(&stage.points(Who::All, CALLS_INSIDE, &payload));
        let mut reached = 0;
        for point in &points {
            // Whoever comes there first: in most cases it is the one inside.
            let output = stage.hit(Who::All, point, "KILL", &payload);
            reached += usize::from(!output.success());
            stage.clean(&format!("{point}: {output}"));
        }
        println!("{reached} of {} points", points.len());
        assert!(reached * 10 >= points.len() * 8 && reached > 20);
        stage.clean_and_free("all");
    });
}

#[test]
fn killed_in_its_second_round_after_a_reboot_rspawn_leaves_nothing() {
    with_stage(|stage, _netd| {
        let script =
            "[ -e /dev/shm/never ]; read -r up </again && exit 0; echo 1 >/again; reboot -f";
        let payload = ["/bin/sh", "-c", script];
        let again = stage.tree.join("again");
        let remove = || drop(std::fs::remove_file(stage.host.path(&again)));
        let command = stage.command(&payload);
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        traced(stage.host, Who::First, CALLS, "/tmp/trace", &command)
            .cgroup("web.service")
            .output()
            .expect_success();
        remove();
        stage.clean("a reboot");
        let points = points_of(stage.host, Who::First, "/tmp/trace");
        let second = points
            .iter()
            .position(|point| point.call == "clone3" && point.number == 2);
        let points = sample(&points[second.expect("it starts twice")..]);
        for point in &points {
            let killed = was_killed(&stage.hit(Who::First, point, "KILL", &payload));
            remove();
            stage.clean(&format!("{point}"));
            assert!(
                killed || point.call.starts_with("recv") || point.call == "ppoll",
                "{point}"
            );
        }
        assert!(points.len() > 5, "{}", points.len());
        let off = stage.rspawn(&["/bin/sh", "-c", "poweroff -f; sleep 1000"]);
        stage.clean_and_free(&format!("a poweroff: {off}"));
    });
}

#[test]
fn a_payload_that_lost_its_death_signal_ends_once_netd_is_there() {
    with_stage(|stage, netd| {
        drop(netd);
        stage.host.wait_for_no_netd();
        stage.host.run(&format!(
            "echo 'u:x:1000:1000:u:/:/bin/sh' >>{}/etc/passwd",
            stage.tree.display()
        ));
        let mut web = Start::new(stage.host, "web", &stage.tree)
            .args(["--user=u", "/bin/sleep", "4245"])
            .unregistered()
            .start();
        web.supervisor()
            .wait_for_output("netd is not running", SOON);
        let payload = || stage.host.run("pgrep -f '[s]leep 4245' || true");
        assert!(wait_until(SOON, || !payload().is_empty()));
        web.supervisor().signal(libc::SIGKILL);
        web.wait();
        // That it changed its user has cleared the signal (prctl(2), PR_SET_PDEATHSIG).
        assert!(!payload().is_empty(), "the test is of no use");
        let _netd = stage.host.start_netd();
        stage.clean("a start of netd");
        stage.clean_and_free("a start of netd");
    });
}

#[test]
fn netd_harms_nobody_that_is_starting_or_waits_for_it() {
    let host = host();
    let (one, two) = (host.busybox_tree(), host.busybox_tree());
    // Nothing but its name is known of one, and of the other all but its record.
    let mut waits = Start::new(&host, "waits", &one)
        .args(["-a", "/bin/sleep", "1000"])
        .unregistered()
        .start();
    let point = KillPoint {
        call: "clone3".into(),
        number: 1,
    };
    let two = two.to_str().unwrap().to_owned();
    let starts = [
        "rspawn",
        "-q",
        "-n",
        "-a",
        "-M",
        "starts",
        "-D",
        &two,
        "/bin/sleep",
        "1000",
    ];
    let mut starts = hit(&host, Who::First, &point, "STOP", &starts)
        .cgroup("starts.service")
        .spawn("starts");
    assert!(wait_until(SOON, || host.exists("/run/rspawn/names/starts")
        && host.exists(
            "/sys/fs/cgroup/machine.slice/machine-starts.scope"
        )));
    let _netd = host.start_netd();
    assert!(wait_until(SOON, || record(&host, "waits").is_some()));
    assert!(host.exists("/sys/fs/cgroup/machine.slice/machine-starts.scope"));
    host.run("pkill -CONT -x rspawn");
    assert!(wait_until(SOON, || record(&host, "starts").is_some()));
    assert!(waits.supervisor().ended().is_none() && starts.ended().is_none());
    host.run("ping -c1 -W5 waits; ping -c1 -W5 starts");
}

#[test]
fn a_link_that_somebody_holds_is_put_out_of_the_way() {
    for registered in [true, false] {
        let host = host();
        let tree = host.busybox_tree();
        let netd = registered.then(|| host.start_netd());
        for name in ["web", "a-name-that-is-longer-than-a-link-s"] {
            let mut start = Start::new(&host, name, &tree).args(["-a", "/bin/sleep", "1000"]);
            if !registered {
                start = start.unregistered();
            }
            let mut web = start.start();
            let _holder = web.hold_network();
            let links = || host.run("ip -o link show type veth");
            assert!(wait_until(SOON, || links().contains("ve-")));
            web.supervisor().signal(libc::SIGKILL);
            web.wait();
            let _late = (!registered).then(|| host.start_netd());
            let away = wait_until(SOON, || {
                let links = links();
                links.contains(": x") && !links.contains("ve-") && !links.contains("altname")
            });
            assert!(away, "registered: {registered}: {}", links());
            let again = Start::new(&host, name, &tree)
                .args(["-a", "/bin/true"])
                .output();
            assert!(again.success(), "{again}");
        }
        drop(netd);
    }
}

#[test]
fn killed_while_it_boots_rspawn_leaves_nothing() {
    let host = host();
    let mut netd = host.start_netd();
    let tree = host.tree("bookworm");
    host.run("mkdir -p /run/systemd/network");
    let arguments = ["-q", "-n", "-b", "--console=read-only", "-M", "web", "-D"];
    let arguments: Vec<&str> = arguments
        .into_iter()
        .chain([tree.to_str().unwrap()])
        .collect();
    let mut before = None;
    for number in [1, 2, 5, 11, 23] {
        let point = KillPoint {
            call: "ppoll".into(),
            number,
        };
        let command: Vec<&str> = std::iter::once("rspawn")
            .chain(arguments.iter().copied())
            .collect();
        let output = hit(&host, Who::First, &point, "KILL", &command)
            .cgroup("web.service")
            .output();
        assert!(was_killed(&output), "{output}");
        let links = || host.run("ip -o link show | wc -l") == "1";
        assert!(wait_until(BOOT, links), "after {point}");
        match &before {
            None => {
                assert!(wait_until(SOON, || !host.exists("/run/rspawn/names/web")));
                before = Some(Footprint::of(&host, &[]));
            }
            Some(before) => before.wait_for(&host, &[], SOON, &format!("{point}")),
        }
        let stays = host.run("ls -A /sys/fs/cgroup/machine.slice | grep scope || true");
        assert!(stays.is_empty(), "after {point}: {stays}");
    }
    let mut web = Start::new(&host, "web", &tree).boot();
    host.run("ping -c1 -W5 web");
    web.end(libc::SIGTERM);
    assert!(netd.ended().is_none());
}

/// Makes cgroups that root may not remove without its capability to pass over modes.
const GIVE_CGROUPS_AWAY: &str = "cd /sys/fs/cgroup && mkdir -p given/below closed/below &&
    chown 1000:1000 given given/below closed . && chmod 0700 closed && echo given >/run/given &&
    exec sleep 1000";

#[test]
fn cgroups_that_the_payload_gave_away_keep_neither_name_nor_mount_points() {
    with_stage(|stage, netd| {
        let mut rspawn = Start::new(stage.host, "web", &stage.tree)
            .args(["-n", "-a", "/bin/sh", "-ec", GIVE_CGROUPS_AWAY])
            .start();
        let cgroup = format!(
            "{}/machine.slice/machine-web.scope",
            stage.host.run("findmnt -n -o TARGET -t cgroup2 | head -n1")
        );
        let given = format!("{cgroup}/payload/given/below");
        assert!(wait_until(SOON, || stage.host.exists(&given)));
        assert!(wait_until(SOON, || stage
            .host
            .sh(&format!("stat -c %u {cgroup}/payload | grep -q 1000"))
            .success()));
        rspawn.supervisor().signal(libc::SIGKILL);
        rspawn.wait();
        let is_free =
            || record(stage.host, "web").is_none() && !stage.host.exists("/run/rspawn/names/web");
        assert!(wait_until(SOON, is_free), "{}", netd.stderr());
        let made = stage.host.run("ls -A /run/rspawn/mount-points");
        assert_eq!(made, "", "{}", netd.stderr());
        // Nothing lives in them any more, but they are there.
        assert!(stage.host.exists(&given));
        let populated = stage.host.run(&format!("cat {cgroup}/cgroup.events"));
        assert!(populated.contains("populated 0"), "{populated}");
        // The next one has a cgroup of its own.
        stage
            .rspawn(&["/bin/sh", "-ec", "! test -e /sys/fs/cgroup/given"])
            .expect_success();
        stage.clean("cgroups that were given away");
        let log = netd.stderr();
        assert_eq!(log.matches("cannot be removed").count(), 1, "{log}");
    });
}
