//! Who asked the kernel for a change.

use std::fs;

/// The netlink port of the socket that a change was asked for through (`nlmsg_pid`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Author(u32);

impl Author {
    pub(super) fn new(port: u32) -> Self {
        Self(port)
    }

    /// The author for people, if the kernel tells who it is. By custom a program's first
    /// netlink socket has its process id for its port.
    #[must_use]
    pub fn describe(self) -> Option<String> {
        if self.0 == 0 {
            return None;
        }
        let port = self.0;
        Some(match fs::read_to_string(format!("/proc/{port}/comm")) {
            Ok(name) => format!("process {port}, {}", name.trim_end().escape_debug()),
            Err(_) => format!("a process that has ended, netlink port {port}"),
        })
    }
}
