//! Starting a program in a tree and coming back.

use std::path::Path;
use std::time::{Duration, Instant};

use netns_fixtures::{Host, HostCommand};

use crate::measure::{Row, Samples};
use crate::peers::{self, SUITE};

/// A program that does nothing, started again and again by the same name.
pub fn rows() -> Vec<Row> {
    eprintln!("a program that does nothing, in a container of its own");
    let host = peers::ours();
    let netd = host.start_netd();
    let tree = host.tree(SUITE);
    let ours = measure(|| rspawn(&host, &tree));
    drop(netd);
    let host = Host::new();
    host.run("mkdir -p /run/systemd");
    let tree = host.tree(SUITE);
    let theirs = measure(|| nspawn(&host, &tree));
    vec![Row {
        what: "`-n -D TREE -a /bin/true`, to its end".into(),
        ours,
        peer: ("systemd-nspawn".into(), theirs),
        goal: "at most 1/5",
    }]
}

fn measure<'a>(command: impl Fn() -> HostCommand<'a>) -> Samples {
    Samples::of(crate::RUNS, || {
        let command = command();
        let start = Instant::now();
        let status = command.start().wait().expect("a child can be waited for");
        let took = start.elapsed();
        assert!(
            status.success(),
            "it does nothing, and that it does well: {status}"
        );
        // The end of a link takes the kernel a moment, which the next start would wait for.
        std::thread::sleep(Duration::from_millis(60));
        took
    })
}

fn rspawn<'a>(host: &'a Host, tree: &Path) -> HostCommand<'a> {
    host.command("rspawn")
        .args(["-q", "-n", "-M", "web", "-a", "-D"])
        .arg(tree)
        .arg("/bin/true")
        .cgroup("web.service")
}

fn nspawn<'a>(host: &'a Host, tree: &Path) -> HostCommand<'a> {
    // Not registered: without a service manager it cannot be. What it saves is ours to lose.
    host.command("systemd-nspawn")
        .args([
            "-q",
            "-n",
            "-M",
            "web",
            "-a",
            "--register=no",
            "--keep-unit",
            "--link-journal=no",
            "-D",
        ])
        .arg(tree)
        .arg("/bin/true")
        .cgroup("web.service")
}
