//! netd's start with all that an earlier netd left.

use std::time::Instant;

use crate::crowd::Crowd;
use crate::kernel::monitor::Monitor;
use crate::machine::wait_until_quiet;
use crate::measure::Samples;
use crate::peers::{self, Netd};
use crate::report::Section;
use crate::{Extent, links};

/// SIGKILL of netd with many machines, and its start.
pub fn measure(extent: Extent) {
    let mut section = Section::new(
        "netd's start with the links and records of an earlier netd",
        &["machines", "times",
            "SIGKILL until the process is gone", "exec to ready (sd_notify)", "exec until each link is served", "all supervisors answered again", "addresses removed meanwhile", "to reach"],
    )
    .commands(&["/usr/lib/rspawn/netd, after SIGKILL of the one before it"])
    .notes(&[
        "Each machine has a leader and a cgroup of its own and a link with addresses; one process registers all of \
         them and stands for their supervisors. Each link is served when its other end, which asks by DHCP as soon as netd is ready, was offered its address. The supervisors come back as soon as netd listens; their time runs from then. Addresses removed are \
         RTM_DELADDR of IPv4 and IPv6 from before the kill to the end: 0 is no break in any link.",
    ]);
    let counts: &[(u32, u32)] = extent.pick(&[(300, 1)], &[(100, 3), (1000, 3), (4000, 2)]);
    for &(count, times) in counts {
        let host = peers::ours();
        links::prepare(&host);
        let mut netd = Netd::start(&host);
        let mut crowd = Crowd::start(&host);
        // Not all at once: that is another measurement.
        for until in (0..count).step_by(250).skip(1).chain([count]) {
            crowd.grow(&host, until);
        }
        let (mut ended, mut ready, mut served, mut answered) = (vec![], vec![], vec![], vec![]);
        let mut removed = 0;
        for _ in 0..times {
            netd.process().settle();
            wait_until_quiet();
            let mut monitor = host.enter(|| Monitor::open().unwrap());
            ended.push(netd.kill());
            let started = Instant::now();
            netd = Netd::start(&host);
            ready.push(netd.ready);
            served.push(links::ask_for_addresses(&host, 0..count) - started);
            answered.push(crowd.reconnect().max());
            netd.process().settle();
            removed += monitor.removed();
        }
        let [ended, ready, served, answered] = [ended, ready, served, answered].map(Samples::new);
        section.row(&[
            &count,
            &times,
            &ended.shown(),
            &ready.shown(),
            &served.shown(),
            &answered.shown(),
            &removed,
            &"1 s, 0 removed",
        ]);
    }
}
