//! Capabilities (capabilities(7)): those that netd keeps, and what is looked at to be
//! sure that no thread has more.

use std::fs;
use std::io;

use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

/// What netd needs while it serves: links, routes, nftables and the network's sysctls
/// (NET_ADMIN), packet sockets (NET_RAW), ports below 1024 (NET_BIND_SERVICE). What
/// else it does it may do as user 0: its files are root's, and so are cgroups.
const KEPT: CapabilitySet = CapabilitySet::NET_ADMIN
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::NET_BIND_SERVICE);

/// Capabilities could not be given up.
#[derive(Debug, thiserror::Error)]
pub enum CapabilityError {
    /// The kernel refuses.
    #[error("cannot give up capabilities: {doing}")]
    Kernel {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A thread has more than it should.
    #[error("thread {thread} still has privileges that netd does not need ({what})")]
    Left {
        /// Its id.
        thread: String,
        /// The line of proc_pid_status(5).
        what: String,
    },
}

fn failed(doing: &'static str) -> impl Fn(Errno) -> CapabilityError {
    move |errno| CapabilityError::Kernel {
        doing,
        source: errno.into(),
    }
}

/// Limits the bounding set of this thread, if it may.
fn limit_bounding_set() {
    for number in 0..64 {
        let one = CapabilitySet::from_bits_retain(1 << number);
        if KEPT.contains(one) {
            continue;
        }
        // An error says that the kernel knows no more, or that this thread may not.
        if remove_capability_from_bounding_set(one).is_err() {
            return;
        }
    }
}

/// Warns if the bounding set is larger than what netd keeps. Where whoever started netd
/// took CAP_SETPCAP from it and left more in the set, that is how they wanted it.
pub(super) fn warn_of_bounding_set() {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    if value(&status, "CapBnd").is_none_or(|set| set & !KEPT.bits() != 0) {
        tracing::warn!(
            "the bounding set of capabilities is larger than it has to be: netd was started \
             without CAP_SETPCAP"
        );
    }
}

/// Limits this thread: bounding set, permitted and effective; nothing is inheritable or
/// ambient, and no program that it would start has more.
pub(super) fn limit_thread() -> Result<(), CapabilityError> {
    // First: it takes a capability that is given up then.
    limit_bounding_set();
    clear_ambient_capability_set().map_err(failed("the ambient set"))?;
    let have = capabilities(None).map_err(failed("what there are"))?;
    let kept = have.permitted.intersection(KEPT);
    let sets = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: CapabilitySet::empty(),
    };
    // Where the unit has seen to it, its filter may not let it be done again.
    if have != sets {
        set_capabilities(None, sets).map_err(failed("the permitted set"))?;
    }
    set_no_new_privs(true).map_err(failed("those of programs"))
}

/// Looks at each thread: capabilities are a thread's own, and one that a library
/// started before would have kept them.
pub(super) fn check_all_threads() -> Result<(), CapabilityError> {
    let look = |source| CapabilityError::Kernel {
        doing: "cannot look at the threads",
        source,
    };
    for thread in fs::read_dir("/proc/self/task").map_err(look)? {
        let thread = thread.map_err(look)?;
        let status = match fs::read_to_string(thread.path().join("status")) {
            // It has ended meanwhile.
            Err(error) if is_gone(&error) => continue,
            status => status.map_err(look)?,
        };
        if let Some(what) = left(&status) {
            return Err(CapabilityError::Left {
                thread: thread.file_name().to_string_lossy().into_owned(),
                what,
            });
        }
    }
    Ok(())
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH))
}

/// The first line of a thread's status that is not as it has to be.
fn left(status: &str) -> Option<String> {
    let allowed = [
        ("CapInh", 0),
        ("CapPrm", KEPT.bits()),
        ("CapEff", KEPT.bits()),
        ("CapAmb", 0),
    ];
    for (key, allowed) in allowed {
        match value(status, key) {
            Some(set) if set & !allowed == 0 => {}
            set => return Some(format!("{key} {set:x?}")),
        }
    }
    (value(status, "NoNewPrivs") != Some(1)).then(|| "NoNewPrivs 0".to_owned())
}

/// A number of proc_pid_status(5), where sets are hexadecimal.
fn value(status: &str, key: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: &str = "Name:\tnetd\nCapInh:\t0000000000000000\nCapPrm:\t0000000000003400\n\
        CapEff:\t0000000000003400\nCapBnd:\t000001ffffffffff\nCapAmb:\t0000000000000000\n\
        NoNewPrivs:\t1\nSeccomp:\t2\n";

    #[test]
    fn what_is_kept_is_what_a_unit_can_say() {
        assert_eq!(KEPT.bits(), 1 << 12 | 1 << 13 | 1 << 10);
        assert_eq!(left(FINE), None);
    }

    #[test]
    fn a_thread_with_more_is_found() {
        let more = |from: &str, to: &str| left(&FINE.replace(from, to));
        assert!(more("Prm:\t0000000000003400", "Prm:\t0000000000203400").is_some());
        assert!(more("Eff:\t0000000000003400", "Eff:\t0000000000003401").is_some());
        assert!(more("Inh:\t0000000000000000", "Inh:\t0000000000001000").is_some());
        assert!(more("Amb:\t0000000000000000", "Amb:\t0000000000001000").is_some());
        assert!(more("Privs:\t1", "Privs:\t0").is_some());
        assert!(left("").is_some());
        // Fewer are no failure: so a unit may have started netd.
        assert!(more("0000000000003400", "0000000000001000").is_none());
    }

    #[test]
    fn a_limited_thread_has_no_more_and_others_are_noticed() {
        let limited = std::thread::spawn(|| {
            limit_thread().unwrap();
            fs::read_to_string("/proc/thread-self/status").unwrap()
        });
        assert_eq!(left(&limited.join().unwrap()), None);
        // This thread has all that root has.
        if rustix::process::geteuid().is_root() {
            assert!(matches!(
                check_all_threads(),
                Err(CapabilityError::Left { .. })
            ));
        }
    }
}
