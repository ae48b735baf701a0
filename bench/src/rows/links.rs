//! Links that appear at once, until they are configured and serve DHCP.

use std::time::Duration;

use netns_fixtures::Host;
use registry::LINK_GROUP;

use crate::measure::{Samples, shown};
use crate::peers::{self, Systemd};
use crate::process::Process;
use crate::report::Section;
use crate::{Extent, links};

/// netd and systemd-networkd on the same links.
pub fn measure(extent: Extent) {
    let mut section = Section::new(
        "Links at once, until they are configured",
        &["links", "times", "netd: all configured and offered an address", "netd: a link", "netd: its processor's time a link", "kernel alone: making them", "systemd-networkd: the same", "networkd: a link", "to reach"],
    )
    .commands(&["one batch of RTM_NEWLINK: veths ve-m0, ve-m1, …, the other ends (up) in another network namespace; nothing registered"])
    .notes(&[
        "Time runs from the batch's sending until every link is up with an IPv4 address, as the kernel's events tell \
         (looked at every millisecond), and then until the other end of each, which asks for it by DHCP, was offered \
         one. Each time in a host of its own, with a daemon that has just started. What the kernel alone takes for the same batch, without any daemon, is in the time.",
    ]);
    let counts: &[(u32, u32)] = extent.pick(
        &[(10, 3), (100, 2), (1000, 1)],
        &[(10, 7), (100, 5), (300, 5), (1000, 3), (4000, 2)],
    );
    for &(count, times) in counts {
        let ours: Vec<(Duration, Duration)> = (0..times).map(|_| by_netd(count)).collect();
        let (ours, processor): (Vec<_>, Vec<_>) = ours.into_iter().unzip();
        let (ours, processor) = (Samples::new(ours), Samples::new(processor));
        let kernel = Samples::new((0..times).map(|_| by_nobody(count)).collect());
        // It takes minutes for more.
        let theirs_times = match count {
            10 => times,
            100 => extent.pick(1, 3),
            300 => 1,
            _ => 0,
        };
        let theirs = (theirs_times > 0)
            .then(|| Samples::new((0..theirs_times).map(|_| by_networkd(count)).collect()));
        let or_nothing = |text: Option<String>| text.unwrap_or_else(|| "–".into());
        section.row(&[
            &count,
            &times,
            &ours.shown(),
            &shown(ours.median() / count),
            &shown(processor.median() / count),
            &kernel.shown(),
            &or_nothing(theirs.as_ref().map(Samples::shown)),
            &or_nothing(theirs.map(|theirs| shown(theirs.median() / count))),
            &"1 ms a link",
        ]);
    }
}

/// How long netd takes, and how much of the processor's time until it rests.
fn by_netd(count: u32) -> (Duration, Duration) {
    let host = peers::ours();
    links::prepare(&host);
    let netd = host.start_netd();
    let process = Process(netd.pid());
    process.settle();
    let before = process.processor();
    let made = links::make_and_wait(&host, 0..count, LINK_GROUP);
    let offered = links::ask_for_addresses(&host, 0..count);
    process.settle();
    let processor = process.processor() - before;
    (offered - made.started, processor)
}

fn by_networkd(count: u32) -> Duration {
    let host = Host::new();
    links::prepare(&host);
    let systemd = Systemd::networkd(&host);
    Process(systemd.networkd_pid()).settle();
    let made = links::make_and_wait(&host, 0..count, 0);
    links::ask_for_addresses(&host, 0..count) - made.started
}

/// What the kernel takes for the same batch when nobody listens.
fn by_nobody(count: u32) -> Duration {
    let host = Host::new();
    links::prepare(&host);
    links::make(&host, 0..count, LINK_GROUP)
}
