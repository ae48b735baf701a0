//! What is made in a tree to mount something on.

mod common;

use std::path::Path;

use common::{SOON, host, rspawn, wait_for_line};
use netns_fixtures::{Host, HostCommand, wait_until};

const RECORDS: &str = "/run/rspawn/mount-points";

fn list(host: &Host, tree: &Path) -> String {
    host.run(&format!(
        "cd {} && find . -maxdepth 2 | sort",
        tree.display()
    ))
}

fn named<'a>(host: &'a Host, name: &str, tree: &Path) -> HostCommand<'a> {
    host.command("rspawn")
        .args(["-q", "-M", name, "-D"])
        .arg(tree)
        .cgroup("web.service")
}

#[test]
fn it_goes_also_after_a_crash_and_under_another_name() {
    let host = host();
    let tree = host.busybox_tree();
    let before = list(&host, &tree);
    for name in ["web", "other"] {
        let options = [
            "--tmpfs=/srv/data",
            "-a",
            "/bin/sh",
            "-c",
            "echo up; sleep 100",
        ];
        let mut web = rspawn(&host, &tree, &options).spawn("web");
        wait_for_line(&web, "up");
        assert_ne!(list(&host, &tree), before);
        web.signal(libc::SIGKILL);
        web.wait(SOON);
        let empty = || host.processes_in("web.service").is_empty();
        assert!(wait_until(SOON, empty));
        named(&host, name, &tree)
            .arg("/bin/true")
            .output()
            .expect_success();
        assert_eq!(list(&host, &tree), before, "{name}");
        assert_eq!(host.run(&format!("ls {RECORDS}")), "");
    }
}

#[test]
fn it_goes_also_if_the_crash_came_before_the_start_was_done() {
    let host = host();
    let tree = host.busybox_tree();
    let before = list(&host, &tree);
    // netd does not answer: the start waits for it.
    let netd = common::Netd::new(&host);
    let mut web = rspawn(&host, &tree, &["-n", "--tmpfs=/srv/data", "/bin/true"]).spawn("web");
    let supervisor = netd.accept();
    assert!(wait_until(SOON, || host.exists(tree.join("srv/data"))));
    web.signal(libc::SIGKILL);
    web.wait(SOON);
    drop((netd, supervisor));
    host.run("rm /run/rspawn/supervisor.sock");
    let output = || named(&host, "web", &tree).arg("/bin/true").output();
    // The tree is locked until the payload's process has ended, too.
    assert!(wait_until(SOON, || output().success()));
    assert_eq!(list(&host, &tree), before);
}
