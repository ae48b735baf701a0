//! Kernel parameters of networking, `/proc/sys/net`, read and written with care.
//!
//! A parameter is written only if it differs, so a second pass writes nothing. What is
//! changed beyond our own links is kept in an [`UndoRecord`] before it is changed.
//!
//! `/proc/sys/net` shows the network namespace of the thread that opens it. The meaning
//! of each parameter: `Documentation/networking/ip-sysctl.rst` of the kernel.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

mod forwarding;
mod guard;
#[cfg(test)]
mod tests;
mod undo;
mod watch;

pub use forwarding::{act_as_router, enable_forwarding};
pub use guard::{Corrected, Held, bound_waiting, correct_link, guard, ipv4_guard, let_forward};
pub use undo::{UndoRecord, Undone};
pub use watch::{Changed, Ended, Watch};

const NET: &str = "/proc/sys/net";

/// Why a kernel parameter could not be read, written or recorded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SysctlError {
    /// A link name that cannot be one.
    #[error("'{name}' cannot be the name of a network link")]
    LinkName {
        /// The name.
        name: String,
    },
    /// The parameter does not exist.
    #[error("there is no {path}: the link is gone, or this kernel lacks the parameter", path = .path.display())]
    Missing {
        /// File of the parameter.
        path: PathBuf,
    },
    /// The parameter could not be read.
    #[error("cannot read the kernel parameter {path}", path = .path.display())]
    Read {
        /// File of the parameter.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The parameter could not be written.
    #[error("cannot write '{value}' to the kernel parameter {path}: is /proc/sys writable for this process?", path = .path.display())]
    Write {
        /// File of the parameter.
        path: PathBuf,
        /// What was to be written.
        value: String,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The record of what was changed could not be read, written or removed.
    #[error("cannot keep the record of changed kernel parameters {path}", path = .path.display())]
    Record {
        /// The record's file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The record of what was changed holds something else.
    #[error(
        "line {line} of {path} is no record of a changed kernel parameter; correct or remove the line, it says: {text}",
        path = .path.display()
    )]
    BadRecord {
        /// The record's file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
        /// The line.
        text: String,
    },
}

/// What [`Sysctl::ensure`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Nothing: the parameter had the value.
    Already,
    /// The parameter was written.
    Changed {
        /// Its value before.
        former: String,
    },
}

/// The two protocols that have parameters for each link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// `net/ipv4/conf`.
    V4,
    /// `net/ipv6/conf`.
    V6,
}

impl Protocol {
    /// The directory with one directory for each link, beside `all` and `default`.
    fn conf(self) -> PathBuf {
        Path::new(NET).join(match self {
            Protocol::V4 => "ipv4/conf",
            Protocol::V6 => "ipv6/conf",
        })
    }

    /// The directory of what links do with their neighbours.
    fn neigh(self) -> PathBuf {
        Path::new(NET).join(match self {
            Protocol::V4 => "ipv4/neigh",
            Protocol::V6 => "ipv6/neigh",
        })
    }

    /// The kernel has this protocol, and it is not switched off as a whole.
    fn present(self) -> bool {
        self.conf().join("all").exists()
    }
}

/// One kernel parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sysctl {
    path: PathBuf,
}

impl Sysctl {
    /// Parameter `key` of a link for IPv4.
    ///
    /// # Errors
    /// [`SysctlError::LinkName`] if `link` cannot be a link's name; `all` and `default` are
    /// none.
    pub fn ipv4_conf(link: &str, key: &'static str) -> Result<Sysctl, SysctlError> {
        Sysctl::of_link(Protocol::V4, link, key)
    }

    /// Parameter `key` of a link for IPv6.
    ///
    /// # Errors
    /// As [`Sysctl::ipv4_conf`].
    pub fn ipv6_conf(link: &str, key: &'static str) -> Result<Sysctl, SysctlError> {
        Sysctl::of_link(Protocol::V6, link, key)
    }

    /// Parameter `key` of a link.
    ///
    /// # Errors
    /// As [`Sysctl::ipv4_conf`].
    pub fn of_link(
        protocol: Protocol,
        link: &str,
        key: &'static str,
    ) -> Result<Sysctl, SysctlError> {
        if !is_link_name(link) {
            return Err(SysctlError::LinkName {
                name: link.to_owned(),
            });
        }
        Ok(Sysctl {
            path: protocol.conf().join(link).join(key),
        })
    }

    /// Parameter `key` of `conf/all`: in force for all links, beside their own or above it,
    /// as the parameter has it.
    pub fn of_all(protocol: Protocol, key: &'static str) -> Sysctl {
        Sysctl {
            path: protocol.conf().join("all").join(key),
        }
    }

    /// Parameter `key` of `conf/default`, which new links begin with.
    pub fn of_new_links(protocol: Protocol, key: &'static str) -> Sysctl {
        Sysctl {
            path: protocol.conf().join("default").join(key),
        }
    }

    /// Parameter `key` of what a link does with its neighbours.
    ///
    /// # Errors
    /// As [`Sysctl::ipv4_conf`].
    pub fn of_neighbours(
        protocol: Protocol,
        link: &str,
        key: &'static str,
    ) -> Result<Sysctl, SysctlError> {
        let mut parameter = Sysctl::of_link(protocol, link, key)?;
        parameter.path = protocol.neigh().join(link).join(key);
        Ok(parameter)
    }

    /// The parameter's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The kernel has this parameter (and the link exists).
    pub fn exists(&self) -> bool {
        self.path.exists()
    }

    /// The value, without the end of its line.
    ///
    /// # Errors
    /// [`SysctlError::Missing`] or [`SysctlError::Read`].
    pub fn read(&self) -> Result<String, SysctlError> {
        crate::operations::count(|done| &done.sysctl_reads, 1);
        match fs::read_to_string(&self.path) {
            Ok(text) => Ok(text.trim_end().to_owned()),
            Err(source) => Err(match missing(&source) {
                true => SysctlError::Missing {
                    path: self.path.clone(),
                },
                false => SysctlError::Read {
                    path: self.path.clone(),
                    source,
                },
            }),
        }
    }

    /// Writes `value` if the parameter has another one.
    ///
    /// # Errors
    /// As [`Sysctl::read`], and [`SysctlError::Write`].
    pub fn ensure(&self, value: &str) -> Result<Change, SysctlError> {
        let former = self.read()?;
        if former == value {
            return Ok(Change::Already);
        }
        self.write(value)?;
        tracing::debug!(path = %self.path.display(), former, value, "kernel parameter changed");
        Ok(Change::Changed { former })
    }

    /// Like [`Sysctl::ensure`]; `None` if there is no such parameter.
    ///
    /// # Errors
    /// [`SysctlError::Read`] or [`SysctlError::Write`].
    pub fn ensure_if_present(&self, value: &str) -> Result<Option<Change>, SysctlError> {
        match self.ensure(value) {
            Ok(change) => Ok(Some(change)),
            Err(SysctlError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// In one `write()`, as the kernel takes each for a value.
    fn write(&self, value: &str) -> Result<(), SysctlError> {
        crate::operations::count(|done| &done.sysctl_writes, 1);
        let written = OpenOptions::new()
            .write(true)
            .open(&self.path)
            .and_then(|mut file| file.write_all(value.as_bytes()));
        written.map_err(|source| match missing(&source) {
            true => SysctlError::Missing {
                path: self.path.clone(),
            },
            false => SysctlError::Write {
                path: self.path.clone(),
                value: value.to_owned(),
                source,
            },
        })
    }
}

/// The file is not there, or its link went while it was open.
fn missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

/// The text can be the name of a link, by the kernel's rule (dev_valid_name), and does not
/// stand for all or for new links.
fn is_link_name(name: &str) -> bool {
    (1..libc::IFNAMSIZ).contains(&name.len())
        && !matches!(name, "." | ".." | "all" | "default")
        && !name
            .chars()
            .any(|c| c == '/' || c == ':' || c.is_whitespace() || c.is_control())
}

/// The names of all links that have parameters of this protocol, in the order of names.
fn links(protocol: Protocol) -> Result<Vec<String>, SysctlError> {
    let path = protocol.conf();
    let failed = |source| SysctlError::Read {
        path: path.clone(),
        source,
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(&path).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        names.extend(name.into_string().ok().filter(|name| is_link_name(name)));
    }
    names.sort_unstable();
    Ok(names)
}
