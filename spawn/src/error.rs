//! How a failed step is told.

use std::error::Error;
use std::io;

/// A step that failed: what was being done, and why it went wrong.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing}")]
pub struct StepError {
    doing: String,
    #[source]
    source: io::Error,
}

impl StepError {
    /// The system's error.
    #[must_use]
    pub fn io(&self) -> &io::Error {
        &self.source
    }
}

/// Says what was being done when a system call failed.
pub trait Doing<T> {
    /// Puts "cannot `doing`" before the error.
    ///
    /// # Errors
    /// The error that was there.
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T, StepError>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T, StepError> {
        self.map_err(|source| StepError {
            doing: doing(),
            source: source.into(),
        })
    }
}

/// The error and its causes in one line.
#[must_use]
pub fn one_line(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line.replace('\n', " ")
}
