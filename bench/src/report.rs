//! What is shown of it all: Markdown, written to standard output as it is measured, so that
//! what was measured stays when something goes wrong later.

use std::fmt::Display;

use crate::measure::{Samples, ratio};

/// One subject: a table, then what was run for it, and what has to be known of it, when it
/// is dropped.
#[derive(Debug)]
pub struct Section {
    /// Its heading.
    pub title: String,
    /// Headings of the columns.
    pub columns: Vec<String>,
    begun: bool,
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
            begun: false,
            commands: vec![],
            notes: vec![],
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
        if !self.begun {
            self.begun = true;
            println!("## {}\n\n| {} |", self.title, self.columns.join(" | "));
            println!("|{}", "---|".repeat(self.columns.len()));
        }
        println!("| {} |", cells.join(" | "));
        eprintln!("  {}", cells.join(" | "));
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

impl Drop for Section {
    fn drop(&mut self) {
        for command in &self.commands {
            println!("\n    {command}");
        }
        for note in &self.notes {
            println!("\n{note}");
        }
        println!();
    }
}
