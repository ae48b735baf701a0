//! Logging: to the journal where that is what standard error is connected to, else
//! as text.

mod pace;

use std::error::Error;
use std::fmt::Write;
use std::io::IsTerminal;

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::prelude::*;

pub use pace::{HeldBack, Pace};

/// Starts logging. `verbose` counts how often more was asked for.
pub fn start(verbose: u8) {
    let level = match verbose {
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    // What the libraries below say of themselves is for the most patient alone.
    let own = tracing_subscriber::filter::Targets::new()
        .with_target("netd", level)
        .with_default(if verbose > 2 {
            LevelFilter::TRACE
        } else {
            LevelFilter::WARN
        });
    let registry = tracing_subscriber::registry().with(own);
    if stderr_is_journal()
        && let Ok(journal) = tracing_journald::layer()
    {
        registry.with(journal).init();
        return;
    }
    let text = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    registry.with(text).init();
}

/// Whether standard error leads to the journal (systemd.exec(5), `$JOURNAL_STREAM`).
fn stderr_is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    rustix::fs::fstat(std::io::stderr())
        .is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// An error with all that it came from, on one line.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}

/// A text that came from others, as a part of one line: cut after 200 bytes, without
/// what would begin a new line or speak to a terminal.
pub fn foreign(text: &str) -> String {
    const LONGEST: usize = 200;
    let mut end = text.len().min(LONGEST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let kept = text.get(..end).unwrap_or_default();
    let more = if end < text.len() { "…" } else { "" };
    let plain = kept.chars().map(|c| if c.is_control() { '?' } else { c });
    plain.chain(more.chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::foreign;

    #[test]
    fn a_foreign_text_stays_on_its_line() {
        assert_eq!(foreign("a name"), "a name");
        assert_eq!(foreign("a\nERROR forged\x1b[2J"), "a?ERROR forged?[2J");
        let long = foreign(&"ü".repeat(5000));
        assert!(long.len() <= 204 && long.ends_with('…'), "{long}");
    }
}
