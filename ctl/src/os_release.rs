//! os-release(5) of a container.

use std::io::Read;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};
use serde::Serialize;

/// The largest file that is read, in bytes.
const FILE_MAX: u64 = 64 * 1024;

/// What an operating system says of itself. Whatever is not known is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OsRelease {
    /// `ID`, such as `debian`.
    pub os: String,
    /// `VERSION_ID`, such as `12`.
    pub version: String,
    /// `PRETTY_NAME`.
    #[serde(skip)]
    pub pretty: String,
}

impl OsRelease {
    /// Reads what stands in the tree of a process, as far as the caller may look
    /// there.
    #[must_use]
    pub fn of_process(pid: u32) -> Self {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Ok(root) = open(format!("/proc/{pid}/root"), flags, Mode::empty()) else {
            return Self::default();
        };
        ["etc/os-release", "usr/lib/os-release"]
            .iter()
            .find_map(|path| read_below(&root, path))
            .map_or_else(Self::default, |text| Self::parse(&text))
    }

    /// Reads the file's text, which is not to be trusted.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let value = |key: &str| {
            let mut lines = text.lines();
            let found = lines.find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='));
            let plain = found.unwrap_or_default().trim().trim_matches(['"', '\'']);
            // Nothing of it may move a terminal's cursor.
            plain
                .chars()
                .filter(|c| !c.is_control())
                .take(128)
                .collect::<String>()
        };
        Self {
            os: value("ID"),
            version: value("VERSION_ID"),
            pretty: value("PRETTY_NAME"),
        }
    }
}

/// Reads a file of a container's tree: never outside of it, and never waiting for
/// what stands there instead of a file.
fn read_below(root: &OwnedFd, path: &str) -> Option<String> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = openat2(root, path, flags, Mode::empty(), resolve).ok()?;
    let file = std::fs::File::from(file);
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    file.take(FILE_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_taken_with_and_without_quotes() {
        let os = OsRelease::parse(
            "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nID_LIKE=x\nVERSION_ID='12'\n",
        );
        assert_eq!((os.os.as_str(), os.version.as_str()), ("debian", "12"));
        assert_eq!(os.pretty, "Debian GNU/Linux 12 (bookworm)");
        assert_eq!(OsRelease::parse(""), OsRelease::default());
    }

    #[test]
    fn a_hostile_file_does_not_reach_the_terminal() {
        assert_eq!(OsRelease::parse("ID=\u{1b}[2Jx\n").os, "[2Jx");
        assert_eq!(
            OsRelease::parse(&format!("ID={}\n", "x".repeat(9000)))
                .os
                .len(),
            128
        );
    }

    #[test]
    fn a_link_out_of_the_tree_stays_in_it() {
        let tree = tempfile::tempdir().unwrap();
        std::fs::create_dir(tree.path().join("etc")).unwrap();
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let root = open(tree.path(), flags, Mode::empty()).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", tree.path().join("etc/os-release")).unwrap();
        assert_eq!(read_below(&root, "etc/os-release"), None);
        std::fs::write(tree.path().join("etc/passwd"), "ID=own\n").unwrap();
        assert_eq!(
            read_below(&root, "etc/os-release").as_deref(),
            Some("ID=own\n")
        );
    }
}
