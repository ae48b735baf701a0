//! Wrong records on the socket of supervisors: refused with a reason, and nobody else
//! notices.

use std::fs;

use netns_fixtures::{Host, Running, wait_until};
use rspawn_tests::{SOON, Start, with_netd};

/// The peer's vocabulary.
const PEER: &str = include_str!("../src/bad_peer.py");

/// A peer that runs a script.
fn peer<'a>(host: &'a Host, script: &str) -> Running<'a> {
    host.write("/tmp/bad_peer.py", PEER);
    let script =
        format!("import sys; sys.path.insert(0, '/tmp')\nfrom bad_peer import *\n{script}");
    host.command("python3").args(["-c", &script]).spawn("peer")
}

/// What a peer wrote that ran to its end.
fn told(host: &Host, script: &str) -> String {
    let mut peer = peer(host, script);
    let status = peer.wait(SOON * 4);
    assert!(status.success(), "{}\n{}", peer.stdout(), peer.stderr());
    peer.stdout()
}

/// Checks that each line `case: answer` has the text that belongs to its case.
#[track_caller]
fn assert_told(told: &str, expected: &[(&str, &str)]) {
    for (case, text) in expected {
        let line = told
            .lines()
            .find(|line| line.starts_with(&format!("{case}: ")));
        assert!(
            line.is_some_and(|line| line.contains(text)),
            "{case}: {text:?} expected\n{told}"
        );
    }
}

/// What netd holds once it serves on both of its sockets.
fn at_rest(host: &Host, netd: &Running<'_>) -> usize {
    assert!(wait_until(SOON, || host.exists("/run/rspawn/bus.sock")));
    descriptors(netd)
}

fn descriptors(netd: &Running<'_>) -> usize {
    fs::read_dir(format!("/proc/{}/fd", netd.pid()))
        .unwrap()
        .count()
}

/// Waits until netd has let go what it had for others.
#[track_caller]
fn fall_back(netd: &Running<'_>, before: usize) {
    let fallen = wait_until(SOON, || descriptors(netd) <= before);
    let left: Vec<_> = fs::read_dir(format!("/proc/{}/fd", netd.pid()))
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
        .collect();
    assert!(fallen, "{before} descriptors before, now {left:?}");
}

/// What netd holds in memory that is its own, in KiB.
fn memory(netd: &Running<'_>) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", netd.pid())).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    line.unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap()
}

/// A container starts and is registered as ever.
fn a_container_starts(host: &Host, name: &str) {
    let tree = host.busybox_tree();
    let mut container = Start::new(host, name, &tree)
        .args(["-a", "/bin/sleep", "1000"])
        .start();
    host.run(&format!("getent hosts {name}; ping -c1 -W5 {name}"));
    container.end(libc::SIGTERM);
}

const WRONG_RECORDS: &str = r#"
process = child()
good = [pidfd(process), inside()]
dead = child()
dead_fd = pidfd(dead)
dead.kill(); dead.wait()
say("version", ask(registration(v=2), good))
say("no version", ask({"type": "register"}, good))
say("not json", ask(b"register me", good))
say("binary", ask(bytes(range(256)), good))
say("half", ask(json.dumps(REGISTRATION).encode()[:60], good))
say("deep", ask(b'{"v":1,"type":"register","name":' + b"[" * 16000, good))
say("deep objects", ask(b'{"v":1,"x":' * 1300, good))
say("too long", ask(b" " * 16385, good))
say("far too long", ask(b" " * 100000, good))
say("first word", ask({"v": 1, "type": "configured"}))
say("first goodbye", ask({"v": 1, "type": "goodbye"}))
say("unknown word", ask({"v": 1, "type": "x\n2026 ERROR forged"}))
say("name", ask(registration(name="../bad"), good))
say("service", ask(registration(service="a b\n"), good))
say("id", ask(registration(id="short"), good))
say("root", ask(registration(root="tree"), good))
say("none", ask(REGISTRATION))
say("one", ask(REGISTRATION, good[:1]))
say("three", ask(REGISTRATION, good + good[:1]))
say("250", ask(REGISTRATION, good * 125))
say("file", ask(REGISTRATION, [os.open("/etc/hosts", os.O_RDONLY), good[1]]))
say("swapped", ask(REGISTRATION, good[::-1]))
say("dead", ask(REGISTRATION, [dead_fd, good[1]]))
say("no netlink", ask(REGISTRATION, [good[0], os.open("/etc/hosts", os.O_RDONLY)]))
say("protocol", ask(REGISTRATION, [good[0], inside(12)]))
say("udp", ask(REGISTRATION, [good[0], socket.socket(socket.AF_INET, socket.SOCK_DGRAM).fileno()]))
own = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
say("own network", ask(REGISTRATION, [good[0], own.fileno()]))
say("no inside", ask(registration(network={"kind": "host"}), good))
say("no link", ask(registration(network={"kind": "veth", "ifindex": 0}), good))
say("no network", ask(registration(network={"kind": "moon"}), good))
say("right", ask(REGISTRATION, good))
process.kill()
"#;

#[test]
fn what_is_wrong_is_refused_with_a_reason() {
    with_netd(|host, netd| {
        let before = at_rest(host, netd);
        let told = told(host, WRONG_RECORDS);
        let malformed = "refused bad-request the message is malformed";
        let pidfd =
            "refused bad-request the first descriptor is not the pidfd of a process that runs";
        let netlink =
            "refused bad-request a netlink socket of the container's network namespace is missing";
        let first = "refused bad-request the first message has to register";
        let long = "refused bad-request a message is too long, or has too many descriptors";
        assert_told(
            &told,
            &[
                (
                    "version",
                    "refused bad-request the other side speaks version 2",
                ),
                ("no version", malformed),
                ("not json", malformed),
                ("binary", malformed),
                ("half", malformed),
                ("deep", malformed),
                ("deep objects", malformed),
                ("too long", long),
                ("far too long", long),
                ("first word", first),
                ("first goodbye", first),
                ("unknown word", malformed),
                ("name", malformed),
                ("service", "refused bad-request the manager's name"),
                ("id", "refused bad-request the machine id"),
                ("root", "refused bad-request the tree"),
                ("none", "refused bad-request the leader's pidfd is missing"),
                ("one", netlink),
                ("three", "refused bad-request there are more descriptors"),
                ("250", long),
                ("file", pidfd),
                ("swapped", pidfd),
                ("dead", pidfd),
                ("no netlink", netlink),
                ("protocol", netlink),
                ("udp", netlink),
                (
                    "own network",
                    "refused bad-request the netlink socket is of the host's network",
                ),
                (
                    "no inside",
                    "refused bad-request there is nothing to see inside",
                ),
                (
                    "no link",
                    "refused bad-request no link has the interface index 0",
                ),
                ("no network", malformed),
                ("right", "registered"),
            ],
        );
        let log = netd.stderr();
        let refused = log.lines().filter(|line| line.contains("refused"));
        assert!((1..20).contains(&refused.count()), "{log}");
        assert!(
            !log.lines().any(|line| line.starts_with("2026 ERROR")),
            "{log}"
        );
        fall_back(netd, before);
        a_container_starts(host, "web");
    });
}

#[test]
fn nobody_registers_what_another_has_started() {
    with_netd(|host, netd| {
        let tree = host.busybox_tree();
        let web = Start::new(host, "web", &tree)
            .args(["-a", "/bin/sleep", "1000"])
            .start();
        // As the host counts, in whose process namespace peer and netd are.
        let leader = host.run("sed -n s/^LEADER=//p /run/rspawn/machines/web");
        let record = host.read("/run/rspawn/machines/web");
        let script = format!(
            r#"
good = inside()
leader = os.pidfd_open({leader})
cgroup = open("/proc/{leader}/cgroup").read().split("0::")[1].strip()
say("init", ask(REGISTRATION, [pidfd(1), good]))
say("netd", ask(REGISTRATION, [pidfd(int(subprocess.check_output(["pgrep", "-x", "netd"]))), good]))
say("itself", ask(REGISTRATION, [pidfd(os.getpid()), good]))
say("leader", ask(REGISTRATION, [leader, good]))
say("leader and name", ask(registration(name="web", cgroup=cgroup), [leader, good]))
process = child()
say("name", ask(registration(name="web"), [pidfd(process), good]))
say("cgroup", ask(registration(cgroup=cgroup), [pidfd(process), good]))
own = open("/proc/self/cgroup").read().split("0::")[1].strip()
say("own cgroup", ask(registration(cgroup=own), [pidfd(process), good]))
say("no cgroup", ask(registration(cgroup="/../x"), [pidfd(process), good]))
# The parent of a supervisor is an ancestor of the leader, and yet not its supervisor.
shell = subprocess.Popen(["sh", "-c", "sleep 1000 & echo $!; wait"], stdout=subprocess.PIPE, text=True)
grandchild = int(shell.stdout.readline())
reader, writer = os.pipe()
if os.fork() == 0:
    other = child()
    s = register(other, name="theirs")
    print("theirs:", hear(s), flush=True)
    os.write(writer, str(other.pid).encode())
    time.sleep(1000)
theirs = int(os.read(reader, 100))
say("their leader", ask(registration(name="theirs"), [pidfd(theirs), good]))
say("grandchild", ask(registration(name="ours"), [pidfd(grandchild), good]))
"#
        );
        let mut peer = peer(host, &script);
        peer.wait_for_output("grandchild: ", SOON);
        let stranger = "refused bad-request the leader was not started by";
        assert_told(
            &peer.stdout(),
            &[
                ("init", stranger),
                ("netd", stranger),
                ("itself", stranger),
                ("leader", stranger),
                ("leader and name", stranger),
                ("name", "refused name-in-use machine web runs already"),
                (
                    "cgroup",
                    "refused bad-request the leader is not in the cgroup",
                ),
                (
                    "own cgroup",
                    "refused bad-request the cgroup holds more than the container",
                ),
                (
                    "no cgroup",
                    "refused bad-request the cgroup is not an absolute path",
                ),
                ("theirs", "registered"),
                (
                    "their leader",
                    "refused name-in-use machine theirs runs already",
                ),
                ("grandchild", "registered"),
            ],
        );
        assert_eq!(host.read("/run/rspawn/machines/web"), record);
        host.run("ping -c1 -W5 web");
        assert!(netd.ended().is_none());
        drop(web);
    });
}

#[test]
fn a_caller_that_netd_cannot_see_is_refused() {
    with_netd(|host, _netd| {
        host.write("/tmp/bad_peer.py", PEER);
        let script = "import sys; sys.path.insert(0, '/tmp')\nfrom bad_peer import *\nprint(ask(REGISTRATION))";
        // In the host's file systems and network, and among the machine's processes.
        let output = std::process::Command::new("nsenter")
            .args([
                "-t",
                &host.init().to_string(),
                "-m",
                "-n",
                "--",
                "python3",
                "-c",
                script,
            ])
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(
            told.contains("refused not-allowed the caller is in another PID namespace"),
            "{output:?}"
        );
    });
}

const AFTER: &str = r#"
def after(case, *messages, descriptors=()):
    process = child()
    s = register(process)
    assert hear(s).startswith("registered")
    for message in messages:
        try:
            send(s, message, descriptors)
        except (BrokenPipeError, ConnectionResetError):
            pass
    answer = hear(s)
    say(case, answer + " " + (hear(s) if answer.startswith("refused") else ""))
    process.kill(); process.wait()
    while os.path.exists("/run/rspawn/machines/bad"): pass
goodbye = {"v": 1, "type": "goodbye"}
configured = {"v": 1, "type": "configured"}
after("again", REGISTRATION)
after("other version", {"v": 9, "type": "goodbye"})
after("rubbish", b"\0" * 100)
after("too long", b" " * 20000)
after("descriptors", configured, descriptors=[0])
after("configured twice", configured, configured)
after("flood", *[configured] * 5000)
after("rubbish flood", *[b"x" * 16000] * 200)
after("goodbye", goodbye)
after("after goodbye", goodbye, REGISTRATION)
"#;

#[test]
fn what_follows_a_registration_is_checked_as_well() {
    with_netd(|host, netd| {
        let told = told(host, AFTER);
        let flood = told.lines().filter(|line| line.contains("flood: "));
        // One that still sends when the connection ends may only see that.
        assert_eq!(
            flood
                .filter(|line| line.contains("refused")
                    || line.contains("reset")
                    || line.contains(": end"))
                .count(),
            2,
            "{told}"
        );
        assert_told(
            &told,
            &[
                (
                    "again",
                    "refused bad-request a connection registers one container",
                ),
                (
                    "other version",
                    "refused bad-request the other side speaks version 9",
                ),
                ("rubbish", "refused bad-request the message is malformed"),
                ("too long", "refused bad-request a message is too long"),
                (
                    "descriptors",
                    "refused bad-request descriptors go with a registration alone",
                ),
                (
                    "configured twice",
                    "refused bad-request nothing was asked to be configured",
                ),
                ("goodbye", "end"),
            ],
        );
        // Whether it comes before netd has closed the connection is the peer's luck.
        assert!(
            told.contains("after goodbye: refused bad-request nothing follows a goodbye")
                || told.contains("after goodbye: end")
                || told.contains("after goodbye: reset"),
            "{told}"
        );
        assert!(netd.stderr().lines().count() < 100, "{}", netd.stderr());
        a_container_starts(host, "web");
    });
}

#[test]
fn ten_thousand_silent_connections_shut_nobody_out() {
    with_netd(|host, netd| {
        let (fds, kib) = (at_rest(host, netd), memory(netd));
        let mut crowd = peer(
            host,
            r#"
kept = [connect(60) for _ in range(10000)]
say("connected", len(kept))
answers = {}
for s in kept[:9000]:
    answer = hear(s)
    answers[answer] = answers.get(answer, 0) + 1
say("turned away", answers)
time.sleep(1000)
"#,
        );
        crowd.wait_for_output("connected: 10000", SOON * 4);
        // 512 places, and a few that are just being told.
        fall_back(netd, fds + 530);
        assert!(
            memory(netd) <= kib + 8 * 1024,
            "{kib}, now {}",
            memory(netd)
        );
        a_container_starts(host, "web");
        crowd.wait_for_output(
            "turned away: {'refused failed netd has as many connections as it takes: try again later': 9000}",
            SOON,
        );
        assert!(netd.stderr().lines().count() < 60, "{}", netd.stderr());
        drop(crowd);
        fall_back(netd, fds);
    });
}

#[test]
fn connections_that_come_and_go_and_wrong_records_at_full_speed_shut_nobody_out() {
    with_netd(|host, netd| {
        let (fds, kib) = (at_rest(host, netd), memory(netd));
        let flood = |script: &str| peer(host, script);
        let floods = [
            flood("while True: connect(60).close()"),
            flood("while True: ask(registration(name='../x'))"),
            flood("fds = [0] * 250\nwhile True: ask(b'x' * 16000, fds)"),
        ];
        for n in 0..5 {
            a_container_starts(host, &format!("web{n}"));
        }
        assert!(
            memory(netd) <= kib + 8 * 1024,
            "{kib}, now {}",
            memory(netd)
        );
        let held_back = || netd.stderr().contains("more of this kind were not told");
        assert!(wait_until(SOON, held_back), "{}", netd.stderr());
        drop(floods);
        let log = netd.stderr();
        let refused = log.lines().filter(|line| line.contains("refused")).count();
        assert!((1..60).contains(&refused), "{log}");
        fall_back(netd, fds);
    });
}
