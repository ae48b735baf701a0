//! What rspawn says to whoever started it.
//!
//! Nobody may be there to read it: a terminal that was closed, a pipe without a
//! reader, a full disk. That is never a reason to leave a container to itself.

use std::fmt;
use std::io::{self, Write};

use crate::console::terminal_is_raw;

/// Writes a line to standard error, if that takes it.
pub fn line(text: fmt::Arguments<'_>) {
    // In raw mode nobody else takes the cursor back to the start of the line.
    let end = if terminal_is_raw() { "\r\n" } else { "\n" };
    let line = format!("rspawn: {text}{end}");
    let _ = io::stderr().write_all(line.as_bytes());
}

/// Tells something in one line on standard error, formatted as by `println!`.
#[macro_export]
macro_rules! tell {
    ($($text:tt)*) => { $crate::tell::line(format_args!($($text)*)) };
}
