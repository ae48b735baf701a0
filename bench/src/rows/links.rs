//! Links that appear at once, until they are configured and serve DHCP.

use std::time::{Duration, Instant};

use netns_fixtures::Host;
use registry::LINK_GROUP;

use crate::links::Others;
use crate::measure::{Samples, shown};
use crate::peers::{self, Systemd};
use crate::process::Process;
use crate::report::Section;
use crate::{Extent, links};

/// With more links the kernel takes a minute to give all a carrier.
const OFFERED_MAX: u32 = 1000;

/// netd and systemd-networkd on the same links.
pub fn measure(extent: Extent) {
    let mut section = Section::new(
        "Links at once, until they are configured",
        &["links", "times", "netd: all configured", "netd: a link", "netd: its processor's time a link",
            "kernel alone: made, up, with addresses", "then, other ends up: all offered an address",
            "other ends up from the start: netd", "systemd-networkd", "to reach"],
    )
    .commands(&["one batch of RTM_NEWLINK: veths ve-m0, ve-m1, …, the other ends in another network namespace; nothing registered"])
    .notes(&[
        "Time runs from the batch's sending until every link is up with an IPv4 address, as the kernel's events tell \
         (looked at every millisecond). The other ends are down until then, as rspawn leaves them until netd has \
         answered; then they go up, and ask by DHCP until each was offered its address. systemd-networkd configures a \
         link only with a carrier: beside it stands netd's time with the other ends up from the start, both until all \
         were offered an address. Each time in a host of its own, with a daemon that has just started. \
         What the kernel alone takes for the same links, up and with an address of each family in one batch, is \
         in netd's time. When a link with IPv6 gets its carrier, the kernel goes through all IPv6 routes of the host, \
         twice: with thousands of links that is most of all time, whoever configures them.",
    ]);
    let counts: &[(u32, u32)] = extent.pick(
        &[(10, 3), (100, 2), (1000, 1)],
        &[(10, 7), (100, 5), (300, 5), (1000, 3), (4000, 3)],
    );
    for &(count, times) in counts {
        let ours: Vec<ByNetd> = (0..times).map(|_| by_netd(count)).collect();
        let of = |part: fn(&ByNetd) -> Duration| Samples::new(ours.iter().map(part).collect());
        let (configured, processor) = (of(|ours| ours.configured), of(|ours| ours.processor));
        let offered: Option<Vec<Duration>> = ours.iter().map(|ours| ours.offered).collect();
        let kernel = Samples::new((0..times).map(|_| by_nobody(count)).collect());
        // It takes minutes for more.
        let theirs_times = match count {
            10 => times,
            100 => extent.pick(1, 3),
            300 => 1,
            _ => 0,
        };
        let up_times = if count > 1000 { 1 } else { times };
        let up = Samples::new((0..up_times).map(|_| with_carriers(count)).collect());
        let theirs = (theirs_times > 0)
            .then(|| Samples::new((0..theirs_times).map(|_| by_networkd(count)).collect()));
        section.row(&[
            &count,
            &times,
            &configured.shown(),
            &shown(configured.median() / count),
            &shown(processor.median() / count),
            &kernel.shown(),
            &offered.map_or_else(|| "–".into(), |offered| Samples::new(offered).shown()),
            &up.shown(),
            &theirs.map_or_else(|| "–".into(), |theirs| theirs.shown()),
            &"1 ms a link",
        ]);
    }
}

/// What netd took for links at once.
struct ByNetd {
    configured: Duration,
    processor: Duration,
    /// From the other ends' going up until each was offered an address, where that was
    /// waited for.
    offered: Option<Duration>,
}

/// As rspawn makes them: the other ends go up once netd has configured the link.
fn by_netd(count: u32) -> ByNetd {
    let host = peers::ours();
    links::prepare(&host);
    let netd = host.start_netd();
    let process = Process(netd.pid());
    process.settle();
    let before = process.processor();
    let made = links::make_and_wait(&host, 0..count, LINK_GROUP, Others::Down);
    process.settle();
    let processor = process.processor() - before;
    let offered = (count <= OFFERED_MAX).then(|| {
        let asked = Instant::now();
        links::set_others_up(&host, 0..count);
        links::ask_for_addresses(&host, 0..count) - asked
    });
    ByNetd {
        configured: *made.configured.last().unwrap() - made.started,
        processor,
        offered,
    }
}

/// With the other ends up from the start, as networkd needs them, until each was offered an
/// address.
fn with_carriers(count: u32) -> Duration {
    let host = peers::ours();
    links::prepare(&host);
    let netd = host.start_netd();
    Process(netd.pid()).settle();
    let made = links::make_and_wait(&host, 0..count, LINK_GROUP, Others::Up);
    links::ask_for_addresses(&host, 0..count) - made.started
}

fn by_networkd(count: u32) -> Duration {
    let host = Host::new();
    links::prepare(&host);
    let systemd = Systemd::networkd(&host);
    Process(systemd.networkd_pid()).settle();
    let made = links::make_and_wait(&host, 0..count, 0, Others::Up);
    links::ask_for_addresses(&host, 0..count) - made.started
}

/// What the kernel takes for the same links, up and with addresses, when nobody listens.
fn by_nobody(count: u32) -> Duration {
    let host = Host::new();
    links::prepare(&host);
    links::make_with_addresses(&host, 0..count)
}
