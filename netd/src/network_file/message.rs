//! What is said of a file.

use std::fmt;
use std::path::PathBuf;

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something is passed over that another program may know.
    Warning,
    /// Something is wrong and has no effect.
    Error,
}

/// Something in a file that has not the effect its writer may expect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// How bad it is.
    pub severity: Severity,
    /// The file.
    pub path: PathBuf,
    /// The line, counted from 1; none if it is about the file as a whole.
    pub line: Option<usize>,
    /// What is the matter, and what would be right.
    pub text: String,
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        write!(f, " {}", self.text)
    }
}
