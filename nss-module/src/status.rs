//! What the C library is told about the outcome of a look-up.
//!
//! Each outcome is three numbers: the status, by which `[NOTFOUND=return]` and
//! its like in nsswitch.conf(5) decide, the error number, and the resolver's
//! error number of gethostbyname(3).

use libc::c_int;
use registry_core::LookupError;

/// `enum nss_status` of nss.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Status {
    /// The same call may work when it is made again.
    TryAgain = -2,
    /// The registry cannot be asked.
    Unavailable = -1,
    /// The registry was asked and has no answer.
    NotFound = 0,
    /// The answer is there.
    Success = 1,
}

/// Values of `h_errno` (netdb.h).
pub mod resolver {
    use libc::c_int;

    /// See the error number.
    pub const INTERNAL: c_int = -1;
    /// No error.
    pub const SUCCESS: c_int = 0;
    /// There is no such host.
    pub const HOST_NOT_FOUND: c_int = 1;
    /// An error that repeating does not mend.
    pub const NO_RECOVERY: c_int = 3;
    /// There is such a host, but it has no address of the kind asked for.
    pub const NO_DATA: c_int = 4;
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No machine has this name or address.
    NoMachine,
    /// The machine has no address of the family asked for.
    NoAddress,
    /// The caller's buffer cannot hold the answer.
    BufferTooSmall,
    /// Neither AF_INET nor AF_INET6.
    UnknownFamily,
    /// The record cannot be used; the value is the system's error number.
    Unreadable(c_int),
}

/// The three numbers that the caller gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The function's value.
    pub status: Status,
    /// For `*errnop`.
    pub errno: c_int,
    /// For `*h_errnop`.
    pub h_errno: c_int,
}

impl Failure {
    /// How the C library wants to hear of it.
    pub const fn verdict(self) -> Verdict {
        let (status, errno, h_errno) = match self {
            Self::NoMachine => (Status::NotFound, libc::ENOENT, resolver::HOST_NOT_FOUND),
            Self::NoAddress => (Status::NotFound, libc::ENOENT, resolver::NO_DATA),
            // Only these three together make glibc come again with a larger buffer.
            Self::BufferTooSmall => (Status::TryAgain, libc::ERANGE, resolver::INTERNAL),
            Self::UnknownFamily => (Status::Unavailable, libc::EAFNOSUPPORT, resolver::NO_DATA),
            Self::Unreadable(errno) => (Status::Unavailable, errno, resolver::NO_RECOVERY),
        };
        Verdict {
            status,
            errno,
            h_errno,
        }
    }
}

impl From<LookupError> for Failure {
    fn from(error: LookupError) -> Self {
        match error {
            LookupError::NotFound => Self::NoMachine,
            LookupError::Io(errno) => Self::Unreadable(errno),
            LookupError::Malformed(_) => Self::Unreadable(libc::EBADMSG),
        }
    }
}
