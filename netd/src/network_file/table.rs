//! What keys do: a table with one row a key.

use std::collections::BTreeSet;
use std::path::Path;

use super::message::{Message, Severity};
use super::syntax::{Item, parse};
use super::value::{Wrong, shown};

/// The most messages about one file.
const MESSAGES_MAX: usize = 64;
/// Sections and keys that begin so are somebody else's (systemd.syntax(7)).
const FOREIGN: &str = "X-";

/// A key, and what its value does to a `T`.
pub struct Key<T> {
    /// The section that it stands in.
    pub section: &'static str,
    /// Its name; nothing for a row that is told each time its section begins, of a section
    /// that may be there several times.
    pub name: &'static str,
    /// Takes over a value; an empty one makes undone what earlier ones have done.
    pub set: fn(&mut T, &str) -> Result<(), Wrong>,
}

/// Takes over what a file says into `target`, by the rows of `table`. What is not known
/// or wrong is told and has no effect; the rest has. Gives the sections of which a key had
/// none.
pub fn apply<T>(
    table: &[Key<T>],
    target: &mut T,
    path: &Path,
    bytes: &[u8],
    messages: &mut Vec<Message>,
) -> BTreeSet<String> {
    let mut failed = BTreeSet::new();
    let content = parse(bytes);
    let mut told = Told {
        path,
        once: BTreeSet::new(),
        messages: Vec::new(),
    };
    for problem in content.problems {
        told.say(Severity::Error, problem.line, problem.text);
    }
    let mut section = String::new();
    for item in content.items {
        match item {
            Item::Section { line, name } => {
                told.section(table, line, &name);
                section = name;
                let begins = |row: &&Key<T>| row.section == section && row.name.is_empty();
                if let Some(row) = table.iter().find(begins)
                    && let Err(wrong) = (row.set)(target, "")
                {
                    told.say(Severity::Error, line, wrong.to_string());
                }
            }
            Item::Assignment { line, key, value } => {
                let is_foreign = key.starts_with(FOREIGN);
                let row = table
                    .iter()
                    .find(|row| row.section == section && row.name == key && !key.is_empty());
                match row.map(|row| (row.set)(target, &value)) {
                    Some(Ok(())) => continue,
                    None if is_foreign => continue,
                    Some(Err(wrong)) => {
                        let text = format!("{key}= has no effect: {wrong}");
                        told.say(Severity::Error, line, text);
                    }
                    None => told.key(table, line, &section, &key),
                }
                failed.insert(section.clone());
            }
        }
    }
    told.messages.sort_by_key(|message| message.line);
    told.messages.truncate(MESSAGES_MAX);
    messages.append(&mut told.messages);
    failed
}

/// What is said of one file.
struct Told<'a> {
    path: &'a Path,
    /// What needs no further word.
    once: BTreeSet<(String, String)>,
    messages: Vec<Message>,
}

impl Told<'_> {
    fn section<T>(&mut self, table: &[Key<T>], line: usize, name: &str) {
        let known = table.iter().any(|row| row.section == name);
        if known || name.starts_with(FOREIGN) || !self.is_new(name, "") {
            return;
        }
        let mut text = format!(
            "section [{}] is not known to netd: passed over",
            shown(name)
        );
        let mut alike = table.iter().map(|row| row.section);
        if let Some(meant) = alike.find(|section| section.eq_ignore_ascii_case(name)) {
            text.push_str(&format!("; is [{meant}] meant?"));
        }
        self.say(Severity::Warning, line, text);
    }

    fn key<T>(&mut self, table: &[Key<T>], line: usize, section: &str, key: &str) {
        // Of the keys of an unknown section nothing more is said.
        let known = table.iter().any(|row| row.section == section);
        if !known || !self.is_new(section, key) {
            return;
        }
        let mut text = format!(
            "{}= is not known to netd in section [{section}]: passed over",
            shown(key)
        );
        let mut alike = table.iter();
        if let Some(meant) = alike.find(|row| row.name.eq_ignore_ascii_case(key)) {
            text.push_str(&format!(
                "; is {}= in [{}] meant?",
                meant.name, meant.section
            ));
        }
        self.say(Severity::Warning, line, text);
    }

    fn is_new(&mut self, section: &str, key: &str) -> bool {
        // More would not be said.
        self.once.len() < MESSAGES_MAX && self.once.insert((section.to_owned(), key.to_owned()))
    }

    fn say(&mut self, severity: Severity, line: usize, text: String) {
        if self.messages.len() < 2 * MESSAGES_MAX {
            self.messages.push(Message {
                severity,
                path: self.path.to_owned(),
                line: Some(line),
                text,
            });
        }
    }
}
