//! Starting a program in a tree and coming back.

use std::path::Path;
use std::time::Duration;

use netns_fixtures::Host;

use crate::Extent;
use crate::measure::Samples;
use crate::peers::{self, SUITE};
use crate::report::Section;

/// A program that does nothing, started again and again by the same name: at once, so
/// that what the last one left behind is in the way, and with a pause.
pub fn measure(extent: Extent) {
    let ours = peers::ours();
    let netd = ours.start_netd();
    let our_tree = ours.tree(SUITE);
    let theirs = Host::new();
    theirs.run("mkdir -p /run/systemd");
    let their_tree = theirs.tree(SUITE);
    let mut section = Section::of_times("A program that does nothing, in a container of its own")
        .commands(&[
            &rspawn(Path::new("TREE")).join(" "),
            &nspawn(Path::new("TREE")).join(" "),
        ])
        .notes(&[
            "From exec to the end of the command. systemd-nspawn is not registered, for want of a service manager in \
             the host; that saves it time.",
        ]);
    let runs = extent.pick(10, 40);
    for (pause, what) in [(0, "at once"), (60, "60 ms apart")] {
        section.times(
            &format!("to its end, again and again by the same name, {what}"),
            &repeat(&ours, (runs, pause), &rspawn(&our_tree)),
            (
                "systemd-nspawn",
                &repeat(&theirs, (runs, pause), &nspawn(&their_tree)),
            ),
            "10 ms, 1/5",
        );
    }
    drop(netd);
}

/// Runs a command over and over, from a small program that is in the host already:
/// entering it takes longer than a start.
fn repeat(host: &Host, (runs, pause_ms): (u32, u32), command: &[String]) -> Samples {
    let program = host.compile("repeat", REPEAT, "");
    let output = host
        .command(program)
        .arg(runs.to_string())
        .arg(pause_ms.to_string())
        .args(command)
        .cgroup("web.service")
        .output()
        .expect_success();
    let times = output
        .stdout
        .lines()
        .map(|line| line.parse().expect("a number of nanoseconds"));
    // The first one reads from disk what the others find in memory.
    Samples::new(times.skip(1).map(Duration::from_nanos).collect())
}

fn rspawn(tree: &Path) -> Vec<String> {
    command(&["rspawn", "-q", "-n", "-M", "web", "-a", "-D"], tree)
}

fn nspawn(tree: &Path) -> Vec<String> {
    // Not registered: without a service manager it cannot be. What it saves is ours to lose.
    let options = ["--register=no", "--keep-unit", "--link-journal=no"];
    command(
        &[
            &["systemd-nspawn", "-q", "-n"],
            &options[..],
            &["-M", "web", "-a", "-D"],
        ]
        .concat(),
        tree,
    )
}

fn command(start: &[&str], tree: &Path) -> Vec<String> {
    let tree = tree.to_str().expect("a tree's path is text");
    start
        .iter()
        .copied()
        .chain([tree, "/bin/true"])
        .map(str::to_owned)
        .collect()
}

/// `repeat COUNT PAUSE_MS COMMAND...`: how long each run took, in nanoseconds.
const REPEAT: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(int argc, char **argv) {
    if (argc < 4) return 2;
    for (int left = atoi(argv[1]); left > 0; left--) {
        long long start = now();
        pid_t child = vfork();
        if (child == 0) {
            execvp(argv[3], argv + 3);
            _exit(127);
        }
        int status;
        if (child < 0 || waitpid(child, &status, 0) < 0 || status != 0) return 1;
        printf("%lld\n", now() - start);
        usleep(atoi(argv[2]) * 1000);
    }
    return 0;
}
"#;
