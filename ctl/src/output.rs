//! How things are printed: tables for people, JSON for programs.

use std::io::Write;

use clap::ValueEnum;
use serde::Serialize;

/// The shapes of JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Json {
    /// Indented, for people to read.
    Pretty,
    /// On one line.
    Short,
    /// No JSON.
    Off,
}

/// Prints a value as JSON, with a line break behind it.
///
/// # Errors
/// The output is closed.
pub fn json(to: &mut impl Write, value: &impl Serialize, shape: Json) -> std::io::Result<()> {
    let text = if shape == Json::Short {
        serde_json::to_string(value)
    } else {
        serde_json::to_string_pretty(value)
    };
    writeln!(to, "{}", text.map_err(std::io::Error::other)?)
}

/// Prints rows below a heading, each column as wide as its widest cell. A cell of
/// several lines goes on in its column.
///
/// # Errors
/// The output is closed.
pub fn table<const N: usize>(
    to: &mut impl Write,
    heading: Option<[&str; N]>,
    rows: &[[String; N]],
) -> std::io::Result<()> {
    let heading = heading.map(|cells| cells.map(str::to_owned));
    let all: Vec<&[String; N]> = heading.iter().chain(rows).collect();
    let width_of = |column: usize| {
        let cells = all.iter().filter_map(|row| row.get(column));
        cells
            .flat_map(|cell| cell.lines())
            .map(|line| line.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..N).map(width_of).collect();
    for row in all {
        let height = row
            .iter()
            .map(|cell| cell.lines().count())
            .max()
            .unwrap_or(0)
            .max(1);
        for line in 0..height {
            let mut text = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                let part = cell.lines().nth(line).unwrap_or_default();
                text.push_str(&format!("{part:<width$} "));
            }
            writeln!(to, "{}", text.trim_end())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other() {
        let mut out = Vec::new();
        let rows = [
            ["web".into(), "192.0.2.2\nfd00::2".into()],
            ["database".into(), "-".into()],
        ];
        table(&mut out, Some(["MACHINE", "ADDRESSES"]), &rows).unwrap();
        let expected = "\
MACHINE  ADDRESSES
web      192.0.2.2
         fd00::2
database -
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
