//! netd ends and comes back; the containers' network stays as it is.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Stdio};

use netns_fixtures::{Host, NETD_CGROUP, Running, wait_until};
use rspawn_tests::{BOOT, Container, Footprint, SOON, Start, host, outside, record};

fn sleeping<'a>(host: &'a Host, name: &str) -> Container<'a> {
    let tree = host.busybox_tree();
    Start::new(host, name, &tree)
        .args(["-a", "/bin/sleep", "1000"])
        .start()
}

#[test]
fn the_network_stays_and_machines_are_adopted() {
    let host = host();
    let _outside = outside(&host);
    let mut netd = host.start_netd();
    let mut web = sleeping(&host, "web");
    let address = web.ipv4();
    let state = || {
        host.run(
            "ip -o address show ve-web; ip route; nft -s -t list ruleset; sysctl net.ipv4.ip_forward",
        )
    };
    let before = state();
    for signal in [libc::SIGTERM, libc::SIGKILL] {
        netd.signal(signal);
        netd.wait(SOON);
        assert!(web.supervisor().ended().is_none());
        host.run("ping -c1 -W5 web");
        web.run("ping -c1 -W5 198.51.100.2");
        netd = host.start_netd();
        assert!(
            wait_until(SOON, || record(&host, "web").is_some() && state() == before),
            "before:\n{before}\nafter:\n{}",
            state()
        );
        assert_eq!(web.ipv4(), address);
        web.run("ping -c1 -W5 198.51.100.2");
    }
    // The adopted one's end is seen, and a new one takes its name.
    web.end(libc::SIGTERM);
    assert!(wait_until(SOON, || record(&host, "web").is_none()));
    let again = sleeping(&host, "web");
    assert_eq!(again.ipv4(), address);
}

#[test]
fn a_machine_that_ended_meanwhile_is_forgotten() {
    let host = host();
    let netd = host.start_netd();
    host.run("mkdir -p /run/systemd/network");
    sleeping(&host, "web").end(libc::SIGTERM);
    sleeping(&host, "db").end(libc::SIGTERM);
    let links = || host.run("ip -o link show | wc -l") == "1";
    assert!(wait_until(SOON, links));
    let before = Footprint::of(&host, &[]);
    let mut web = sleeping(&host, "web");
    let mut db = sleeping(&host, "db");
    drop(netd);
    host.wait_for_no_netd();
    web.end(libc::SIGTERM);
    // One whose supervisor was killed as well: what is left of it ends when netd is back.
    db.supervisor().signal(libc::SIGKILL);
    db.wait();
    let _netd = host.start_netd();
    assert!(wait_until(SOON, || record(&host, "web").is_none()
        && record(&host, "db").is_none()));
    before.wait_for(&host, &[], SOON, "a start of netd");
}

/// A session of ssh whose every line is answered with the same.
struct Session(Child);

impl Session {
    fn open(host: &Host, name: &str) -> Self {
        let mut ssh = host.command("ssh").args([name, "cat"]).cgroup("session");
        ssh.as_std().stdin(Stdio::piped()).stdout(Stdio::piped());
        Self(ssh.start())
    }

    fn goes_on(&mut self, rounds: u32) {
        let answers = BufReader::new(self.0.stdout.as_mut().unwrap());
        let mut answers = answers.lines();
        for round in 0..rounds {
            writeln!(self.0.stdin.as_mut().unwrap(), "{round}").unwrap();
            assert_eq!(answers.next().unwrap().unwrap(), round.to_string());
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What tells of retransmission time-outs in the network of the command's process.
const TIMEOUTS: &str = "nstat -asz TcpExtTCPTimeouts | awk '/TCPTimeouts/ { print $2 }'";

/// How many supervisors have a connection to netd.
fn connections(host: &Host) -> usize {
    let sockets = host.run("ss -xH state connected | grep /run/rspawn/supervisor || true");
    sockets.lines().count()
}

#[test]
fn sessions_and_streams_go_on_while_netd_is_killed_and_started() {
    let host = host();
    let mut netd = host.start_netd();
    let tree = host.tree("bookworm");
    let web = Start::new(&host, "web", &tree).boot();
    assert!(wait_until(BOOT, || host.sh("ssh web true").success()));
    let gateway =
        host.run("ip -4 -br address show ve-web | awk '{ sub(\"/.*\", \"\", $3); print $3 }'");
    // Numbers that come out of the container as fast as they are taken.
    let mut taken = host
        .command("python3")
        .args(["-uc", COUNT, &gateway])
        .spawn("taken");
    taken.wait_for_output("listening", SOON);
    let script = format!("i=0; while :; do echo $((i += 1)); done >/dev/tcp/{gateway}/7777");
    let mut stream = web.command("bash").args(["-c", &script]).spawn("stream");
    let mut session = Session::open(&host, "web");
    session.goes_on(10);

    let timeouts = || {
        // Of the container's network, with the host's programs.
        let inside = host.run(&format!(
            "nsenter -n -t $(sed -n s/^LEADER=//p /run/rspawn/machines/web) sh -c \"{}\"",
            TIMEOUTS.replace('$', "\\$")
        ));
        [host.run(TIMEOUTS), inside].map(|count| count.parse::<u64>().expect("nstat counts"))
    };
    let kept = || {
        let record = host.path("/run/rspawn/machines/web").metadata().unwrap();
        let subnets = host.run("grep -v USED /var/lib/rspawn/subnets/web");
        (record.ino(), subnets, host.run("ip -o address show ve-web"))
    };
    let (before, timeouts_before) = (kept(), timeouts());
    let mut late = None;
    for round in 0..3 {
        netd.signal(libc::SIGKILL);
        netd.wait(SOON);
        session.goes_on(20);
        if round == 1 {
            late = Some(sleeping_unregistered(&host, "late"));
        }
        session.goes_on(20);
        netd = host.start_netd();
        session.goes_on(20);
        let machines = 1 + usize::from(late.is_some());
        assert!(
            wait_until(BOOT, || connections(&host) == machines),
            "{}",
            connections(&host)
        );
        assert_eq!(kept(), before);
    }
    assert!(wait_until(SOON, || record(&host, "late").is_some()));
    host.run("ping -c1 -W5 late");
    assert_eq!(timeouts(), timeouts_before, "retransmission time-outs");
    assert!(
        taken.ended().is_none() && stream.ended().is_none(),
        "{}",
        taken.stderr()
    );
    // It was no idle stream.
    let count = |taken: &Running<'_>| taken.stdout().lines().count();
    let now = count(&taken);
    assert!(
        wait_until(SOON, || count(&taken) > now),
        "the stream stands still"
    );
}

/// Takes numbers one after the other, and says so for each 1,000.
const COUNT: &str = r#"
import socket, sys
listener = socket.create_server((sys.argv[1], 7777))
print("listening")
stream, _ = listener.accept()
expected = 1
for line in stream.makefile():
    assert int(line) == expected, (line, expected)
    if expected % 1000 == 0:
        print(expected)
    expected += 1
sys.exit("the stream ended")
"#;

fn sleeping_unregistered<'a>(host: &'a Host, name: &str) -> Container<'a> {
    let tree = host.busybox_tree();
    Start::new(host, name, &tree)
        .args(["-a", "/bin/sleep", "1000"])
        .unregistered()
        .start()
}

#[test]
fn events_from_inside_resume() {
    let host = host();
    let mut netd = host.start_netd();
    host.run(
        "ip link add br0 type bridge; ip address add 10.77.0.1/24 dev br0; ip link set br0 up",
    );
    let tree = host.busybox_tree();
    let db = Start::without_network(&host, "db", &tree)
        .args(["--network-bridge=br0", "-a", "/bin/sleep", "1000"])
        .start();
    let has = |address: &str| {
        let record = record(&host, "db").unwrap_or_default();
        let mut values = record.get("ADDRESS").into_iter().flatten();
        values.any(|value| value.contains(address))
    };
    db.run("ip address add 10.77.0.7/24 dev host0");
    assert!(wait_until(SOON, || has("10.77.0.7")));
    for round in 0..2 {
        netd.signal(libc::SIGKILL);
        netd.wait(SOON);
        let (meanwhile, after) = (format!("10.77.0.2{round}"), format!("10.77.0.3{round}"));
        db.run(&format!("ip address add {meanwhile}/24 dev host0"));
        netd = host.start_netd();
        assert!(
            wait_until(BOOT, || has(&meanwhile)),
            "{:?}",
            record(&host, "db")
        );
        db.run(&format!(
            "ip address add {after}/24 dev host0; ip address del {meanwhile}/24 dev host0"
        ));
        assert!(wait_until(SOON, || has(&after)
            && !has(&meanwhile)
            && has("10.77.0.7")));
        assert!(
            host.run(&format!("getent -s rspawn hosts {after}"))
                .contains("db")
        );
        assert!(
            !host
                .sh(&format!("getent -s rspawn hosts {meanwhile}"))
                .success()
        );
    }
}

#[test]
fn without_netd_a_container_starts_and_has_network_and_name_once_it_is_there() {
    let host = host();
    let _outside = outside(&host);
    let mut netd = host.start_netd();
    netd.signal(libc::SIGTERM);
    netd.wait(SOON);
    let mut web = sleeping_unregistered(&host, "web");
    web.supervisor()
        .wait_for_output("netd is not running", SOON);
    assert!(!host.sh("getent -s rspawn hosts web").success());
    assert!(
        !web.run("ip -o address show dev host0 scope global")
            .contains("inet")
    );
    let _netd = host.start_netd();
    assert!(wait_until(SOON, || record(&host, "web").is_some()));
    host.run("ping -c1 -W5 web");
    web.run("ping -c1 -W5 198.51.100.2");
    let address = web.ipv4();
    web.end(libc::SIGTERM);
    // It is the one that it has always.
    assert_eq!(sleeping(&host, "web").ipv4(), address);
}

#[test]
fn a_second_pass_over_an_unchanged_world_writes_nothing() {
    let host = host();
    let netd = host.start_netd();
    let _web = sleeping(&host, "web");
    host.run("ping -c1 -W5 web");
    let sockets = host.run("ip -o link show ve-web");
    let mut changes = host
        .command("sh")
        .args(["-c", "ip monitor link address route & nft monitor & wait"])
        .cgroup("monitor")
        .spawn("changes");
    assert!(wait_until(SOON, || host
        .run("pgrep -c -x 'ip|nft' || true")
        == "2"));
    drop(netd);
    host.wait_for_no_netd();
    let _netd = host.start_netd();
    // Something that netd sees and does nothing about marks the end.
    host.run("ip link add marker type bridge; ip link set marker up");
    changes.wait_for_output("marker", SOON);
    assert!(wait_until(SOON, || host
        .sh("rspawnctl list")
        .stdout
        .contains("web")));
    let seen: Vec<String> = changes
        .stdout()
        .lines()
        .filter(|line| line.contains("ve-web") || line.contains("rspawn"))
        // It says that the tables are its own now; the one that ended owned them.
        .filter(|line| !["add table inet rspawn", "add table bridge rspawn"].contains(line))
        .map(str::to_owned)
        .collect();
    assert!(seen.is_empty(), "{seen:?}");
    assert_eq!(host.run("ip -o link show ve-web"), sockets);
    host.kill_cgroup("monitor");
    assert!(!host.processes_in(NETD_CGROUP).is_empty());
}

#[test]
fn what_runs_keeps_its_subnet_beside_what_came_later_and_overlaps_it() {
    let host = host();
    let mut netd = host.start_netd();
    let web = sleeping(&host, "web");
    let (address, before) = (web.ipv4(), host.run("ip -4 -o address show ve-web"));
    let wide = address.to_string();
    let wide = wide.rsplit_once('.').unwrap().0;
    host.run(&format!(
        "ip link add lan type bridge; ip link set lan up; ip address add {wide}.1/24 dev lan"
    ));
    assert!(wait_until(SOON, || netd.stderr().contains("now overlaps")));
    netd.signal(libc::SIGKILL);
    netd.wait(SOON);
    netd = host.start_netd();
    host.run(&format!("ping -c1 -W5 {address}"));
    assert_eq!(web.ipv4(), address);
    assert_eq!(host.run("ip -4 -o address show ve-web"), before);
    drop(netd);
}
