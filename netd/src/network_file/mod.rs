//! Files in the format of systemd.network(5): what stands in them, line by line, and
//! what their values mean.
//!
//! [`parse`] knows the syntax (systemd.syntax(7)) and no key; [`words`] and [`value`] read
//! values; [`apply`] hands them to a table of keys; [`Message`] is what is said of a file to whoever wrote it.

mod message;
mod syntax;
mod table;
#[cfg(test)]
mod tests;
pub mod value;
mod words;

pub use message::{Message, Severity};
pub use syntax::{Content, Item, LINE_MAX, Problem, parse};
pub use table::{Key, apply};
pub use value::Wrong;
pub use words::words;
