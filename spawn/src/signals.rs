//! Signals by name.

/// First real-time signal that programs may use, as glibc and musl's kernel side
/// number them for systemd: SIGRTMIN is 34.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

const NAMES: [(&str, i32); 31] = [
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("BUS", libc::SIGBUS),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("SEGV", libc::SIGSEGV),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("STKFLT", libc::SIGSTKFLT),
    ("CHLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("VTALRM", libc::SIGVTALRM),
    ("PROF", libc::SIGPROF),
    ("WINCH", libc::SIGWINCH),
    ("IO", libc::SIGIO),
    ("PWR", libc::SIGPWR),
    ("SYS", libc::SIGSYS),
];

/// What init takes as the request to shut down in order (systemd(1)).
pub const SIGRTMIN_PLUS_3: i32 = RTMIN + 3;

/// The number of a signal, given as a number or a name, with or without `SIG`, such
/// as `SIGTERM`, `term`, `RTMIN+3`, `RTMAX-2`.
#[must_use]
pub fn parse(text: &str) -> Option<i32> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let number = if let Some(offset) = name.strip_prefix("RTMIN") {
        RTMIN + offset_of(offset, '+')?
    } else if let Some(offset) = name.strip_prefix("RTMAX") {
        RTMAX - offset_of(offset, '-')?
    } else if let Some((_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
        *number
    } else {
        text.parse().ok()?
    };
    (1..=RTMAX).contains(&number).then_some(number)
}

fn offset_of(text: &str, sign: char) -> Option<i32> {
    if text.is_empty() {
        return Some(0);
    }
    text.strip_prefix(sign)?
        .parse()
        .ok()
        .filter(|offset| (0..=RTMAX - RTMIN).contains(offset))
}

/// The names of all signals, without `SIG`.
#[must_use]
pub fn names() -> Vec<String> {
    (1..=RTMAX)
        .map(name_of)
        .filter_map(|name| name.strip_prefix("SIG").map(str::to_owned))
        .collect()
}

/// The name of a signal.
#[must_use]
pub fn name_of(signal: i32) -> String {
    if let Some((name, _)) = NAMES.iter().find(|(_, number)| *number == signal) {
        format!("SIG{name}")
    } else if (RTMIN..=RTMAX).contains(&signal) {
        format!("SIGRTMIN+{}", signal - RTMIN)
    } else {
        format!("signal {signal}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_known_by_name_and_number() {
        for (text, number) in [
            ("SIGTERM", 15),
            ("term", 15),
            ("9", 9),
            ("SIGRTMIN+3", 37),
            ("RTMIN", 34),
            ("rtmax-1", 63),
        ] {
            assert_eq!(parse(text), Some(number), "{text}");
            assert_eq!(parse(&name_of(number)), Some(number));
        }
        for name in names() {
            assert!(parse(&name).is_some(), "{name}");
        }
        assert_eq!(names().len(), 31 + 31);
        for text in [
            "", "0", "65", "SIGFOO", "RTMIN+31", "RTMIN-1", "RTMAX+1", "-1",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
