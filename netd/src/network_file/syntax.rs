//! The syntax of systemd.syntax(7): sections and assignments.

/// The longest line, its continuations joined, in bytes.
pub const LINE_MAX: usize = 16 * 1024;
/// The most problems that are told of one file.
const PROBLEMS_MAX: usize = 32;
const BOM: &[u8] = b"\xef\xbb\xbf";

/// What stands in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Sections and assignments in their order. No assignment stands before the first
    /// section.
    pub items: Vec<Item>,
    /// The lines that say nothing.
    pub problems: Vec<Problem>,
}

/// A line that says something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// `[NAME]`
    Section {
        /// Number of the line, counted from 1.
        line: usize,
        /// The name.
        name: String,
    },
    /// `KEY=VALUE`
    Assignment {
        /// Number of the line that it begins on.
        line: usize,
        /// The key, not empty.
        key: String,
        /// The value without white space around it, empty if there is none.
        value: String,
    },
}

/// A line that says nothing, though it is no comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Number of the line.
    pub line: usize,
    /// What is wrong with it.
    pub text: String,
}

/// Takes a file apart. Never panics, and what cannot be understood ends nothing: the
/// other lines count.
#[must_use]
pub fn parse(bytes: &[u8]) -> Content {
    let mut reader = Reader::default();
    for (line, text) in logical_lines(bytes.strip_prefix(BOM).unwrap_or(bytes)) {
        reader.take(line, &text);
    }
    reader.content
}

/// In which part of the file the next line stands.
#[derive(Debug, Default, PartialEq)]
enum Place {
    /// Before the first section.
    #[default]
    Outside,
    /// In a section.
    Section,
    /// Behind a heading that could not be read: whose lines these are is not known.
    Nowhere,
}

#[derive(Debug, Default)]
struct Reader {
    content: Content,
    place: Place,
}

impl Reader {
    fn take(&mut self, line: usize, bytes: &[u8]) {
        if bytes.len() > LINE_MAX {
            return self.problem(line, format!("the line is longer than {LINE_MAX} bytes"));
        }
        if bytes.contains(&0) {
            return self.problem(line, "the line holds a NUL byte");
        }
        let Ok(text) = std::str::from_utf8(bytes) else {
            return self.problem(line, "the line is not UTF-8");
        };
        let text = text.trim_matches(is_space);
        if text.is_empty() {
        } else if let Some(heading) = text.strip_prefix('[') {
            self.section(line, heading);
        } else {
            self.assignment(line, text);
        }
    }

    fn section(&mut self, line: usize, heading: &str) {
        match heading.strip_suffix(']') {
            Some(name) if !name.is_empty() && !name.contains(['[', ']']) => {
                self.place = Place::Section;
                let name = name.to_owned();
                self.content.items.push(Item::Section { line, name });
            }
            _ => {
                self.place = Place::Nowhere;
                self.problem(
                    line,
                    "this is no section: write [Name]; the lines up to the next section are passed over",
                );
            }
        }
    }

    fn assignment(&mut self, line: usize, text: &str) {
        let Some((key, value)) = text.split_once('=') else {
            return self.problem(line, "the line has no \"=\": write Key=Value");
        };
        let [key, value] = [key, value].map(|part| part.trim_matches(is_space).to_owned());
        if key.is_empty() {
            return self.problem(line, "nothing stands before the \"=\": write Key=Value");
        }
        match self.place {
            Place::Section => {
                let item = Item::Assignment { line, key, value };
                self.content.items.push(item);
            }
            Place::Outside => self.problem(
                line,
                format!("{key}= stands before the first section, such as [Network]"),
            ),
            Place::Nowhere => {}
        }
    }

    fn problem(&mut self, line: usize, text: impl Into<String>) {
        let problems = &mut self.content.problems;
        if problems.len() < PROBLEMS_MAX {
            let text = text.into();
            problems.push(Problem { line, text });
        }
    }
}

/// What counts as white space.
pub(super) fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

/// The lines with their numbers, those joined that a backslash at the end continues, and
/// comments left out, also those between joined lines.
fn logical_lines(bytes: &[u8]) -> Vec<(usize, Vec<u8>)> {
    let mut lines = Vec::new();
    let mut begun: Option<(usize, Vec<u8>)> = None;
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if is_comment(line) {
            continue;
        }
        let (number, mut text) = begun.take().unwrap_or((index + 1, Vec::new()));
        let continued = is_continued(line);
        let own = line.get(..line.len() - usize::from(continued));
        // What is too long already need not be kept as a whole.
        if text.len() <= LINE_MAX {
            text.extend_from_slice(own.unwrap_or_default());
        }
        if continued {
            text.push(b' ');
            begun = Some((number, text));
        } else {
            lines.push((number, text));
        }
    }
    lines.extend(begun);
    lines
}

fn is_comment(line: &[u8]) -> bool {
    matches!(line.trim_ascii_start().first(), Some(b'#' | b';'))
}

/// Whether a backslash ends the line that no other one before it escapes.
fn is_continued(line: &[u8]) -> bool {
    let backslashes = line.iter().rev().take_while(|byte| **byte == b'\\').count();
    backslashes % 2 == 1
}
