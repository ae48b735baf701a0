//! What can go wrong with the firewall table.

use std::io;

use netlink_packet_core::DecodeError;

/// Why the firewall table could not be read, written or watched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NftError {
    /// The netlink socket could not be made.
    #[error(
        "cannot open a netlink socket for nf_tables: is nf_tables in this kernel (modprobe nf_tables)?"
    )]
    Open(#[source] io::Error),
    /// The request could not be sent.
    #[error("cannot send to nf_tables: {doing}")]
    Send {
        /// What was being done.
        doing: &'static str,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The answer could not be received.
    #[error("cannot receive from nf_tables: {doing}")]
    Receive {
        /// What was being done.
        doing: &'static str,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The kernel sent no answer to a request, or not all of it.
    #[error("nf_tables gave no complete answer: {doing}; try again")]
    NoAnswer {
        /// What was being done.
        doing: &'static str,
    },
    /// The kernel refused a request; of a transaction nothing was done.
    #[error(
        "nf_tables refused: {doing} ({what}); this needs CAP_NET_ADMIN and the kernel's nf_tables with its nat, fib and ct expressions"
    )]
    Refused {
        /// What was being done.
        doing: &'static str,
        /// The part that was refused.
        what: String,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// Another living process owns the table.
    #[error(
        "the firewall table 'inet rspawn' belongs to another process (netlink port {port}, often its process id): is a second netd running? End that one first"
    )]
    Owned {
        /// Netlink port of the owner; the first socket of a process has its process id.
        port: u32,
    },
    /// The kernel's answer could not be understood.
    #[error("cannot understand the answer of nf_tables: {doing}")]
    Malformed {
        /// What was being done.
        doing: &'static str,
        /// What was wrong with it.
        #[source]
        source: DecodeError,
    },
    /// The rules changed during each attempt to read them.
    #[error(
        "the firewall rules of this host change faster than they can be read; look for a program that rewrites them in a loop (nft monitor)"
    )]
    Restless,
}

impl NftError {
    /// The kernel's error number, if the kernel refused.
    pub(super) fn refusal(&self) -> Option<i32> {
        match self {
            NftError::Refused { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }
}
