//! Samples, and the table that shows them.

use std::fmt::Write;
use std::time::Duration;

/// Durations of the same thing, in ascending order.
#[derive(Clone, Debug)]
pub struct Samples(Vec<Duration>);

impl Samples {
    /// Takes durations in any order.
    pub fn new(mut durations: Vec<Duration>) -> Self {
        assert!(!durations.is_empty(), "something was measured");
        durations.sort_unstable();
        Self(durations)
    }

    /// Measures `what` as often as `count`; it gives the duration itself.
    pub fn of(count: usize, mut what: impl FnMut() -> Duration) -> Self {
        // The first one reads from disk what the others find in memory.
        let _ = what();
        Self::new((0..count).map(|_| what()).collect())
    }

    fn median(&self) -> Duration {
        self.0[self.0.len() / 2]
    }

    fn shown(&self) -> String {
        let show = |duration: Duration| {
            let micros = duration.as_secs_f64() * 1e6;
            if micros < 1000.0 {
                format!("{micros:.1} µs")
            } else {
                format!("{:.1} ms", micros / 1e3)
            }
        };
        format!(
            "{} / {} / {}",
            show(self.0[0]),
            show(self.median()),
            show(self.0[self.0.len() - 1])
        )
    }
}

/// A line of the table: the same thing by us and by a peer.
#[derive(Clone, Debug)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// Ours.
    pub ours: Samples,
    /// The peer's name, and its own.
    pub peer: (String, Samples),
    /// What is to be reached.
    pub goal: &'static str,
}

/// The rows as a table in Markdown.
pub fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| what (min / median / max) | rspawn | peer | ratio of medians | to reach |\n|---|---|---|---|---|\n",
    );
    for row in rows {
        let (name, peer) = &row.peer;
        let ratio = row.ours.median().as_secs_f64() / peer.median().as_secs_f64();
        let shown = if ratio < 1.0 {
            format!("1/{:.1}", 1.0 / ratio)
        } else {
            format!("{ratio:.1}")
        };
        let _ = writeln!(
            text,
            "| {} ({} times) | {} | {name}: {} | {shown} | {} |",
            row.what,
            row.ours.0.len(),
            row.ours.shown(),
            peer.shown(),
            row.goal
        );
    }
    text
}
