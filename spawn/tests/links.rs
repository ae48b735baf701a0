//! The container's link on the host.
// A broken fixture is a failed test.
#![allow(clippy::unwrap_used)]

mod common;

use common::{SOON, host, wait_for_line};
use netns_fixtures::{Host, HostCommand};
use registry::ifname::LinkKind;
use registry::{IfName, MachineName};

fn start<'a>(host: &'a Host, name: &str, program: &[&str]) -> HostCommand<'a> {
    let tree = host.busybox_tree();
    host.command("rspawn")
        .args(["-q", "-n", "-M", name, "-D"])
        .arg(&tree)
        .args(program)
        .cgroup("web.service")
}

/// Two names whose links have the same name: a long one, and what its link's name is
/// shortened to.
fn names_that_clash() -> (String, String) {
    let clash = |number: u32| {
        let long: MachineName = format!("a-long-machine-name-{number}").parse().unwrap();
        let (short, altname) = IfName::of_machine(LinkKind::Veth, &long);
        assert!(altname.is_some());
        let machine = short.as_str().strip_prefix("ve-").unwrap();
        let is_a_name = machine
            .parse::<MachineName>()
            .is_ok_and(|name| name.as_str() == machine);
        is_a_name.then(|| (long.as_str().to_owned(), machine.to_owned()))
    };
    (0..1000).find_map(clash).unwrap()
}

#[test]
fn a_running_containers_link_is_not_taken() {
    let host = host();
    let (long, short) = names_that_clash();
    for (first, second) in [(&long, &short), (&short, &long)] {
        let script = "echo up; sleep 100";
        let mut running = start(&host, first, &["-a", "/bin/sh", "-c", script]).spawn(first);
        wait_for_line(&running, "up");
        let link = format!("ip -o link show ve-{short} | cut -d: -f1");
        let before = host.run(&link);
        assert_ne!(before, "");
        let refused = start(&host, second, &["/bin/true"]).output();
        assert_eq!(refused.code(), Some(1), "{refused}");
        let told = format!("that of the machine {first}, which is running");
        assert!(refused.stderr.contains(&told), "{refused}");
        assert_eq!(host.run(&link), before);
        running.signal(libc::SIGTERM);
        running.wait(SOON);
        // It is nobody's any more.
        start(&host, second, &["/bin/true"])
            .output()
            .expect_success();
    }
}

#[test]
fn a_networkctl_that_hangs_delays_a_start_by_a_second_only() {
    let host = host();
    host.write_program("/usr/bin/networkctl", "#!/bin/sh\nexec sleep 1000\n");
    host.run("mkdir -p /run/systemd/netif; mount -o remount,bind,ro /sys");
    let output = start(&host, "web", &["/bin/true"]).output();
    assert_eq!(output.code(), Some(0), "{output}");
    let told = "systemd-networkd may change ve-web (`networkctl reload` takes too long)";
    assert!(output.stderr.contains(told), "{output}");
}
