//! What a host promises.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use netns_fixtures::{Host, program, wait_until};

const SOON: Duration = Duration::from_secs(10);

#[test]
fn a_host_keeps_its_writes_and_its_state_to_itself() {
    let host = Host::new();
    let other = Host::new();
    let marker = "/etc/a-host-keeps-its-writes";
    host.run(&format!(
        "echo here >{marker}; echo x >/run/{0}; hostname mine",
        "marker"
    ));
    assert_eq!(host.read(marker).as_deref(), Some("here\n"));
    assert_eq!(host.run("hostname"), "mine");
    assert!(!Path::new(marker).exists(), "on the machine");
    assert!(!Path::new("/run/marker").exists(), "on the machine");
    assert_eq!(other.read(marker), None);
    assert_eq!(other.run("hostname"), "host");
}

#[test]
fn sysfs_and_cgroups_are_the_hosts_own() {
    let host = Host::new();
    host.run("ip link add ours type bridge");
    assert_eq!(host.run("ls /sys/class/net"), "lo\nours");
    assert_eq!(host.run("grep ^0: /proc/self/cgroup"), "0::/init.scope");
    assert_eq!(
        host.run("cat /sys/fs/cgroup/init.scope/cgroup.procs | head -1"),
        "1"
    );
    // All of it is there to be delegated, as on a machine's root.
    host.run("cat /sys/fs/cgroup/cgroup.controllers >/dev/null; mkdir /sys/fs/cgroup/a.slice");
    let listed = host
        .command("sh")
        .args(["-c", "cat /proc/self/cgroup"])
        .cgroup("web.service")
        .output();
    assert!(listed.stdout.contains("0::/web.service"), "{listed}");
}

#[test]
fn a_peer_is_joined_by_a_veth_and_sees_its_own_links() {
    let host = Host::new();
    let lan = host
        .peer("lan")
        .joined("lan0", "192.0.2.1/24", "192.0.2.2/24");
    host.run("ping -c1 -W2 192.0.2.2");
    lan.run("ping -c1 -W2 192.0.2.1");
    assert_eq!(lan.run("ls /sys/class/net"), "eth0\nlo");
    let socket = lan
        .enter(|| std::net::TcpListener::bind("192.0.2.2:80"))
        .unwrap();
    host.enter(|| std::net::TcpStream::connect("192.0.2.2:80"))
        .unwrap();
    drop(socket);
}

#[test]
fn orphans_are_reaped_and_everything_ends_with_the_host() {
    let host = Host::new();
    host.run("(true & sleep 1000 >/dev/null 2>&1 </dev/null &)");
    assert!(
        wait_until(SOON, || host.sh("pgrep -P1 -x sleep").success()),
        "no orphan"
    );
    let states = || host.run("ps -eo stat,comm");
    assert!(wait_until(SOON, || !states().contains('Z')), "{}", states());
    let cgroup = host.cgroup().to_owned();
    let init = host.init();
    assert!(!host.processes_in("init.scope").is_empty());
    drop(host);
    assert!(!cgroup.exists());
    assert!(!Path::new(&format!("/proc/{init}")).exists());
}

#[test]
fn nothing_is_left_when_the_holding_program_is_killed() {
    // A program that holds a host, with a process in it that would go on.
    let mut holding = Command::new(program("netns-host"))
        .args([
            "--",
            "sh",
            "-c",
            "setsid sleep 4242 & grep ^0: /proc/1/cgroup; echo ready; wait",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines =
        std::io::BufRead::lines(std::io::BufReader::new(holding.stdout.take().unwrap()));
    assert!(lines.any(|line| line.unwrap() == "ready"));
    let cgroups = || {
        let own = netns_fixtures::cgroup::own().unwrap();
        fs::read_dir(own)
            .unwrap()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| holder_of(path).is_some_and(|holder| child_of(holder, holding.id())))
            .collect::<Vec<_>>()
    };
    let held = cgroups();
    assert_eq!(held.len(), 1, "{held:?}");
    holding.kill().unwrap();
    // Not waited for: the name of its parent stays known.
    assert!(wait_until(SOON, || !held[0].exists()), "{held:?} is left");
    holding.wait().unwrap();
}

/// The process that holds the host whose cgroup is `path`.
fn holder_of(path: &Path) -> Option<u32> {
    path.file_name()?
        .to_str()?
        .strip_prefix("rspawn-host-")?
        .parse()
        .ok()
}

fn child_of(child: u32, parent: u32) -> bool {
    fs::read_to_string(format!("/proc/{child}/status"))
        .is_ok_and(|status| status.contains(&format!("PPid:\t{parent}\n")))
}

#[test]
fn a_command_ends_with_its_own_code_and_output() {
    let host = Host::new();
    let output = host
        .command("sh")
        .args(["-c", "cat; echo bad >&2; exit 7"])
        .input("good")
        .output();
    assert_eq!(
        (
            output.code(),
            output.stdout.as_str(),
            output.stderr.as_str()
        ),
        (Some(7), "good", "bad\n")
    );
    let mut running = host
        .command("sh")
        .args(["-c", "echo begun; sleep 1000"])
        .spawn("sleeper");
    running.wait_for_output("begun", SOON);
    running.signal(15);
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&running.wait(SOON)),
        Some(15)
    );
}

#[test]
fn a_terminal_shows_what_its_program_writes() {
    let host = Host::new();
    let (mut shell, terminal) = host
        .command("sh")
        .args(["-c", "read line; echo got $line; stty size; tty"])
        .spawn_on_terminal("shell");
    terminal.resize(33, 111);
    terminal.type_in("words\n");
    terminal.wait_for("got words", SOON);
    terminal.wait_for("33 111", SOON);
    assert!(shell.wait(SOON).success());
}

#[test]
fn trees_can_be_written_to_and_the_cached_ones_cannot() {
    let host = Host::new();
    let tree = host.tree("bookworm");
    host.run(&format!(
        "echo x >{}/etc/x; test -s {0}/root/.ssh/authorized_keys",
        tree.display()
    ));
    let cached = netns_fixtures::tree_cache().join("bookworm");
    assert!(!cached.join("etc/x").exists());
    assert!(
        !host
            .sh(&format!("touch {}/etc/x", cached.display()))
            .success()
    );
    // A further overlay can be made of it, as for an ephemeral or a read-only container.
    let above = host.overlay(&tree, "above");
    host.run(&format!("grep -q x {}/etc/x", above.display()));
    assert_eq!(
        host.run(&format!(
            "chroot {} sh -c 'echo works'",
            host.busybox_tree().display()
        )),
        "works"
    );
    let program = host.static_binary_tree();
    assert!(
        host.run(&format!("chroot {} /init", program.display()))
            .contains("lo 127.0.0.1")
    );
}
