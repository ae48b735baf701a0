//! Resource limits: those that the kernel gives its own first process, not those of
//! whoever starts a container.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const KIB: u64 = 1024;
/// Soft limit of open files: programs that use select(2) count on it.
const FILES_SOFT: u64 = 1024;
const FILES_HARD: u64 = 524_288;

/// Sets every limit of this process. What it may not raise stays at its hard limit.
pub fn reset() {
    let inherited = [Resource::Nproc, Resource::Sigpending];
    let fixed = [
        (Resource::As, None, None),
        (Resource::Core, Some(0), None),
        (Resource::Cpu, None, None),
        (Resource::Data, None, None),
        (Resource::Fsize, None, None),
        (Resource::Locks, None, None),
        (Resource::Memlock, Some(8192 * KIB), Some(8192 * KIB)),
        (Resource::Msgqueue, Some(819_200), Some(819_200)),
        (Resource::Nice, Some(0), Some(0)),
        (Resource::Nofile, Some(FILES_SOFT), Some(FILES_HARD)),
        (Resource::Rss, None, None),
        (Resource::Rtprio, Some(0), Some(0)),
        (Resource::Rttime, None, None),
        (Resource::Stack, Some(8192 * KIB), None),
    ];
    for resource in inherited {
        let maximum = getrlimit(resource).maximum;
        set(resource, maximum, maximum);
    }
    for (resource, soft, hard) in fixed {
        set(resource, soft, hard);
    }
}

fn set(resource: Resource, soft: Option<u64>, hard: Option<u64>) {
    let wanted = Rlimit {
        current: soft,
        maximum: hard,
    };
    if setrlimit(resource, wanted).is_ok() {
        return;
    }
    let maximum = getrlimit(resource).maximum;
    let current = match (soft, maximum) {
        (Some(soft), Some(maximum)) => Some(soft.min(maximum)),
        (None, maximum) => maximum,
        (soft, None) => soft,
    };
    setrlimit(resource, Rlimit { current, maximum }).ok();
}
