//! What one container more costs netd and rspawn themselves, among few and among many.

use netns_fixtures::Host;

use crate::crowd::{self, Crowd};
use crate::machine::wait_until_quiet;
use crate::measure::{Samples, shown};
use crate::peers::{self, Netd, SUITE};
use crate::report::Section;
use crate::{Extent, links};

/// The processor's time of one container more.
pub fn measure(extent: Extent) {
    let mut section = Section::new(
        "One container more: netd's and rspawn's own share",
        &["among", "containers", "netd", "rspawn", "kernel alone", "own share: netd and rspawn less the kernel", "against the first row"],
    )
    .commands(&[
        "rspawn -q -n -M web -a -D TREE /bin/true, again and again",
        "kernel alone: clone3 with the same namespaces, pivot_root, a veth by bare netlink, both ends up and with an address of each family, in the same host",
    ])
    .notes(&[
        "The processor's time, in user space and in the kernel, of start and end together: of netd by schedstat over \
         all of them, of rspawn (with its payload) by wait4 for each, of the kernel alone by getrusage for each. The \
         others are registered machines with links of their own. To reach: flat within 20 %. The kernel's deferred \
         work, such as the end of a network namespace, is in none.",
    ]);
    let runs = extent.pick(20, 100);
    let host = peers::ours();
    links::prepare(&host);
    let netd = Netd::start(&host);
    let mut crowd = Crowd::start(&host);
    let tree = host.tree(SUITE);
    let mut first = None;
    let mut others = 0;
    for count in extent.pick([1, 300], [1, 4000]) {
        while others < count {
            others = (others + 250).min(count);
            crowd.grow(&host, others);
        }
        wait_until_quiet();
        let rspawn = rspawn(&host, &tree, 5);
        drop(rspawn);
        netd.process().settle();
        let before = netd.process().processor();
        let ours = self::rspawn(&host, &tree, runs);
        netd.process().settle();
        let netd = (netd.process().processor() - before) / runs;
        wait_until_quiet();
        let kernel = bare(&host, runs);
        let own = (netd + ours.median()).saturating_sub(kernel.median());
        let first = *first.get_or_insert(own);
        section.row(&[
            &format!("{count} others"),
            &runs,
            &shown(netd),
            &ours.shown(),
            &kernel.shown(),
            &shown(own),
            &format!("{:.2}", own.as_secs_f64() / first.as_secs_f64()),
        ]);
    }
}

fn rspawn(host: &Host, tree: &std::path::Path, runs: u32) -> Samples {
    let program = host.compile("processor", PROCESSOR, "");
    let output = host
        .command(program)
        .arg(runs.to_string())
        .args(["rspawn", "-q", "-n", "-M", "web", "-a", "-D"])
        .arg(tree)
        .arg("/bin/true")
        .cgroup("web.service")
        .output()
        .expect_success();
    Samples::new(crowd::durations(&output.stdout))
}

fn bare(host: &Host, runs: u32) -> Samples {
    let output = host
        .command(crowd::install(host))
        .args(["--inside", "bare", &runs.to_string()])
        .cgroup("bare.service")
        .output()
        .expect_success();
    Samples::new(crowd::durations(&output.stdout))
}

/// `processor COUNT COMMAND...`: the processor's time of each run and of what it waited
/// for, in nanoseconds. A quarter of a second apart, so that the kernel is done with the
/// last one.
const PROCESSOR: &str = r#"
#define _DEFAULT_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    for (int left = atoi(argv[1]); left > 0; left--) {
        struct rusage usage;
        int status;
        pid_t child = vfork();
        if (child == 0) {
            execvp(argv[2], argv + 2);
            _exit(127);
        }
        if (child < 0 || wait4(child, &status, 0, &usage) < 0 || status != 0) return 1;
        printf("%lld\n", (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000000LL
            + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000LL);
        usleep(250000);
    }
    return 0;
}
"#;
