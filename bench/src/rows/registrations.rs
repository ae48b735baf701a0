//! Many registrations at once.

use std::time::{Duration, Instant};

use netns_fixtures::wait_until;
use registry::LINK_GROUP;
use registry::protocol::ANSWER_TIMEOUT_MS;

use crate::crowd::Crowd;
use crate::measure::Samples;
use crate::peers::{self, Netd};
use crate::report::Section;
use crate::{Extent, links};

/// Registrations that come at the same moment, with their links.
pub fn measure(extent: Extent) {
    let mut section = Section::new(
        "Registrations at once",
        &["machines", "times", "what", "each answered after", "all answered after", "of these later than rspawn waits (2 s)", "all names resolve after"],
    )
    .commands(&["supervisor.sock: connect and Register with the leader's pidfd and a netlink socket for each machine, one after the other without waiting; Configured after each answer"])
    .notes(&[
        "One process stands for the supervisors, and takes part of the time for itself. Where the links are there, \
         netd has configured them before; where they come at the same time, one batch of the kernel's makes them just \
         before. A name resolves when its record is there. systemd-machined takes no registration without systemd as \
         process 1. The column of each answer is the median of all machines, in each of the times.",
    ]);
    let (counts, times) = extent.pick((&[300][..], 1), (&[10, 100, 1000], 3));
    for &count in counts {
        for (together, what) in [(false, "the links are there"), (true, "with their links")] {
            let (mut first, mut all, mut resolved, mut late) = (vec![], vec![], vec![], 0);
            for _ in 0..times {
                let run = once(count, together);
                late += run.late;
                first.push(run.answers.median());
                all.push(run.answers.max());
                resolved.push(run.resolved);
            }
            let [first, all, resolved] = [first, all, resolved].map(Samples::new);
            section.row(&[
                &count,
                &times,
                &what,
                &first.shown(),
                &all.shown(),
                &late,
                &resolved.shown(),
            ]);
        }
    }
}

struct Run {
    answers: Samples,
    late: usize,
    resolved: Duration,
}

fn once(count: u32, together: bool) -> Run {
    let host = peers::ours();
    links::prepare(&host);
    let netd = Netd::start(&host);
    let mut crowd = Crowd::start(&host);
    crowd.start_leaders(0..count);
    if together {
        links::make(&host, 0..count, LINK_GROUP);
    } else {
        links::make_and_wait(&host, 0..count, LINK_GROUP, links::Others::Up);
        netd.process().settle();
    }
    let started = Instant::now();
    let answers = crowd.register(0..count);
    let records = host.path("/run/rspawn/machines");
    let all = wait_until(Duration::from_secs(60), || {
        std::fs::read_dir(&records).is_ok_and(|found| found.count() >= count as usize)
    });
    assert!(all, "a record for each machine");
    Run {
        late: answers.longer_than(Duration::from_millis(ANSWER_TIMEOUT_MS)),
        answers,
        resolved: started.elapsed(),
    }
}
