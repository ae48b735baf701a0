//! The container's cgroups.

mod common;

use common::{SOON, host, rspawn, wait_for_line};
use netns_fixtures::wait_until;

const SCOPE: &str = "/sys/fs/cgroup/machine.slice/machine-web.scope";

#[test]
fn what_holds_for_the_container_is_out_of_its_reach() {
    let host = host();
    let tree = host.busybox_tree();
    let script = "cat /proc/self/cgroup; echo up; sleep 100";
    let mut web = rspawn(&host, &tree, &["-a", "/bin/sh", "-c", script]).spawn("web");
    wait_for_line(&web, "up");
    assert!(
        web.stdout().lines().any(|line| line == "0::/"),
        "{}",
        web.stdout()
    );
    assert_eq!(host.run(&format!("cat {SCOPE}/cgroup.max.depth")), "64");
    assert_eq!(
        host.run(&format!("cat {SCOPE}/cgroup.max.descendants")),
        "4096"
    );
    assert_eq!(host.run(&format!("cat {SCOPE}/cgroup.procs")), "");
    assert_ne!(host.run(&format!("cat {SCOPE}/payload/cgroup.procs")), "");
    web.signal(libc::SIGTERM);
    web.wait(SOON);
    assert!(!host.exists(SCOPE));
}

#[test]
fn another_managers_container_is_left_alone() {
    let host = host();
    let tree = host.busybox_tree();
    let mut other = host
        .command("sleep")
        .arg("100")
        .cgroup("machine.slice/machine-web.scope/payload")
        .spawn("other");
    let payload = format!("{SCOPE}/payload");
    assert_ne!(host.run(&format!("cat {payload}/cgroup.procs")), "");
    let refused = rspawn(&host, &tree, &["/bin/true"]).output();
    assert_eq!(refused.code(), Some(1), "{refused}");
    assert!(refused.stderr.contains("another manager"), "{refused}");
    assert_eq!(refused.stderr.lines().count(), 1, "{refused}");
    assert!(other.ended().is_none());
    other.signal(libc::SIGKILL);
    other.wait(SOON);
    // Nobody is in it any more, and it is in nobody's way.
    rspawn(&host, &tree, &["/bin/true"])
        .output()
        .expect_success();
    assert!(!host.exists(SCOPE));
}

#[test]
fn what_a_crash_left_is_ended_by_the_next_start() {
    let host = host();
    let tree = host.busybox_tree();
    // A process that outlives its init's parent: it is no child of rspawn's.
    let script = "echo up; sleep 100";
    let mut web = rspawn(&host, &tree, &["-a", "/bin/sh", "-c", script]).spawn("web");
    wait_for_line(&web, "up");
    let mut left = host
        .command("sleep")
        .arg("100")
        .cgroup("machine.slice/machine-web.scope/payload")
        .spawn("left");
    web.signal(libc::SIGKILL);
    web.wait(SOON);
    rspawn(&host, &tree, &["/bin/true"])
        .output()
        .expect_success();
    assert!(wait_until(SOON, || left.ended().is_some()));
    assert!(!host.exists(SCOPE));
}
