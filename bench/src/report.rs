//! What is shown of it all: Markdown.

use std::fmt::{self, Display};

use crate::measure::{Samples, ratio};

/// One subject: a table, what was run for it, and what has to be known of it.
#[derive(Debug, Default)]
pub struct Section {
    /// Its heading.
    pub title: String,
    /// Headings of the columns.
    pub columns: Vec<String>,
    /// The table's rows.
    pub rows: Vec<Vec<String>>,
    /// The commands that were measured, or that did what was measured.
    pub commands: Vec<String>,
    /// What has to be known to judge it.
    pub notes: Vec<String>,
}

impl Section {
    /// Begins a section.
    pub fn new(title: &str, columns: &[&str]) -> Self {
        Self {
            title: title.into(),
            columns: columns.iter().map(|&column| column.into()).collect(),
            ..Self::default()
        }
    }

    /// A section whose rows compare times with a peer's.
    pub fn of_times(title: &str) -> Self {
        let columns = ["what", "rspawn", "peer", "ratio of medians", "to reach"];
        Self::new(title, &columns)
    }

    /// Adds a row, and tells of it.
    pub fn row(&mut self, cells: &[&dyn Display]) {
        let cells: Vec<String> = cells.iter().map(ToString::to_string).collect();
        eprintln!("  {}", cells.join(" | "));
        self.rows.push(cells);
    }

    /// Adds a row of a comparison of times.
    pub fn times(&mut self, what: &str, ours: &Samples, peer: (&str, &Samples), goal: &str) {
        let (name, theirs) = peer;
        self.row(&[
            &format!("{what} ({} times)", ours.count()),
            &ours.shown(),
            &format!("{name}: {}", theirs.shown()),
            &ratio(ours.median(), theirs.median()),
            &goal,
        ]);
    }

    /// Adds commands.
    pub fn commands(mut self, commands: &[&str]) -> Self {
        self.commands.extend(commands.iter().map(|&one| one.into()));
        self
    }

    /// Adds notes.
    pub fn notes(mut self, notes: &[&str]) -> Self {
        self.notes.extend(notes.iter().map(|&one| one.into()));
        self
    }
}

impl Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "## {}\n", self.title)?;
        writeln!(f, "| {} |", self.columns.join(" | "))?;
        writeln!(f, "|{}", "---|".repeat(self.columns.len()))?;
        for row in &self.rows {
            writeln!(f, "| {} |", row.join(" | "))?;
        }
        for command in &self.commands {
            writeln!(f, "\n    {command}")?;
        }
        for note in &self.notes {
            writeln!(f, "\n{note}")?;
        }
        Ok(())
    }
}
