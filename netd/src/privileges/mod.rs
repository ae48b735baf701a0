//! What netd may do once it serves: no more than it needs.
//!
//! Bytes from containers reach netd. Should one of them ever take it over, it holds a
//! process that can change the host's network, and none that can load a module, mount,
//! trace, send signals to others or start a program.

mod capabilities;
mod system_calls;

use std::sync::mpsc;

use crate::worker;

pub use capabilities::CapabilityError;
pub use system_calls::FilterError;

/// Privileges could not be given up.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegesError {
    /// Capabilities.
    #[error(transparent)]
    Capabilities(#[from] CapabilityError),
    /// System calls.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// The thread for what may block gave no answer.
    #[error("the worker thread ended before it gave up its capabilities")]
    NoWorker,
}

/// Limits the calling thread, and those that it starts from now on, to the
/// capabilities that netd needs. For threads that a library starts.
///
/// # Errors
/// [`CapabilityError`].
pub fn limit_thread() -> Result<(), CapabilityError> {
    capabilities::limit_thread()
}

/// Gives up, for good and in every thread, what netd does not need: capabilities and
/// system calls. Waits until the worker has done what was given to it before.
///
/// Only the bounding set, which nothing of netd's draws on, may stay larger, with a
/// warning: where netd was started without CAP_SETPCAP, whoever did so has set it.
///
/// # Errors
/// [`PrivilegesError`]; netd is not to go on then.
pub fn drop_all(worker: &worker::Queue) -> Result<(), PrivilegesError> {
    let (done, limited) = mpsc::channel();
    worker.add(move || drop(done.send(capabilities::limit_thread())));
    limited.recv().map_err(|_| PrivilegesError::NoWorker)??;
    capabilities::limit_thread()?;
    capabilities::warn_of_bounding_set();
    system_calls::filter_all_threads()?;
    Ok(capabilities::check_all_threads()?)
}
