//! The host's name and time zone, where a file asks for a lease's.
//!
//! To name a host takes what netd gives up before it serves: a helper is started before
//! that, which knows nothing but names.

use std::fs;
use std::io::{self, BufRead, Write};
use std::path::{Component, Path};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::dhcp::client::Settings;
use crate::profiles::{ClientProfile, Directories, HostFacts, Profiles};

/// The longest name of a host (HOST_NAME_MAX of limits.h).
const NAME_MAX: usize = 64;
const ZONES: &str = "/usr/share/zoneinfo";
const LOCALTIME: &str = "/etc/localtime";

/// Where names for the helper go.
static HELPER: OnceLock<Mutex<ChildStdin>> = OnceLock::new();

/// Starts the helper if a file asks for the host's name, by `argument` of this program,
/// which is to call [`serve_names`]. It ends with netd. To be called before privileges
/// are given up.
///
/// # Errors
/// If it cannot be started.
pub fn start_helper(argument: &str) -> io::Result<Option<Child>> {
    // What is wrong with the files is said when they are read to be followed.
    let (profiles, _) = Profiles::load(&Directories::default(), HostFacts::read());
    if !profiles.any(|profile| profile.client.use_hostname) {
        return Ok(None);
    }
    let mut child = Command::new("/proc/self/exe")
        .arg(argument)
        .stdin(Stdio::piped())
        .spawn()?;
    if let Some(input) = child.stdin.take() {
        let _ = HELPER.set(Mutex::new(input));
    }
    Ok(Some(child))
}

/// What the helper does: names the host by each line that comes, until there are no more.
///
/// # Errors
/// If the lines cannot be read.
pub fn serve_names(lines: impl BufRead) -> io::Result<()> {
    for name in lines.lines() {
        let name = name?;
        if !is_name(&name) {
            continue;
        }
        if let Err(error) = rustix::system::sethostname(name.as_bytes()) {
            tracing::warn!("cannot name this host {name}: {error}");
        }
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(is_fine)
}

/// Takes over what a lease says of the host.
pub(super) fn apply(settings: &Settings, profile: &ClientProfile) {
    if let Some(name) = settings.hostname.as_ref().filter(|_| profile.use_hostname) {
        set_hostname(name);
    }
    if let Some(zone) = settings.timezone.as_ref().filter(|_| profile.use_timezone)
        && let Err(error) = set_timezone(zone)
    {
        tracing::warn!("cannot set the time zone {zone}: {error}");
    }
}

fn set_hostname(name: &str) {
    let system = rustix::system::uname();
    if system.nodename().to_bytes() == name.as_bytes() {
        return;
    }
    let Some(helper) = HELPER.get() else { return };
    let mut helper = helper.lock().unwrap_or_else(PoisonError::into_inner);
    if let Err(error) = writeln!(helper, "{name}") {
        tracing::warn!("cannot name this host {name}: {error}");
    }
}

fn set_timezone(zone: &str) -> io::Result<()> {
    let relative = Path::new(zone);
    let is_below = relative
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    if !is_below || !fs::metadata(Path::new(ZONES).join(relative))?.is_file() {
        return Err(io::Error::other("there is no such time zone"));
    }
    let target = Path::new("../usr/share/zoneinfo").join(relative);
    if fs::read_link(LOCALTIME).is_ok_and(|now| now == target) {
        return Ok(());
    }
    let draft = "/etc/.localtime.netd";
    let _ = fs::remove_file(draft);
    std::os::unix::fs::symlink(target, draft)?;
    fs::rename(draft, LOCALTIME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_helper_takes_names_and_nothing_else() {
        for name in ["web", "web-1.example.test"] {
            assert!(is_name(name), "{name}");
        }
        for other in ["", "we b", "web\0", "../web", &"w".repeat(65)] {
            assert!(!is_name(other), "{other}");
        }
    }

    #[test]
    fn a_time_zone_is_below_the_directory_of_zones() {
        for zone in ["../../../etc/passwd", "/etc/passwd", "", "No/Such", "."] {
            assert!(set_timezone(zone).is_err(), "{zone}");
        }
    }
}
