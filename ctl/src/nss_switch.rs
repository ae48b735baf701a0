//! Switches the host's name resolution by rspawn on and off: the word `rspawn` in
//! the `hosts:` line of nsswitch.conf(5).
//!
//! It stands right before the first of `resolve` and `dns`, which answer NOTFOUND
//! for good, and behind what the user has put before them. Everything else of the
//! file is the user's and stays as it is, byte for byte.

mod line;
mod replace;

use std::path::{Path, PathBuf};

use line::Line;

/// Where the C library reads its configuration.
pub const NSSWITCH_CONF: &str = "/etc/nsswitch.conf";

/// The line for a file that has none: what the C library does without one, and us.
const OWN_LINE: &str = "hosts: files rspawn dns # added by rspawnctl nss enable\n";

/// Why the file is not as it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum NssSwitchError {
    /// The file is there but cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file cannot be replaced, most often for want of rights or on a read-only `/etc`.
    #[error(
        "cannot write {}: run this as root, or change the word `rspawn` in its hosts line by hand",
        path.display()
    )]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// Names of containers resolve.
    On,
    /// They don't.
    Off,
}

/// Puts `rspawn` into the hosts line of the file at `path`, and says whether that
/// changed anything. A file that is missing is made.
///
/// # Errors
/// See [`NssSwitchError`]. The file is then as it was.
pub fn enable(path: &Path) -> Result<bool, NssSwitchError> {
    change(path, Switch::On)
}

/// Takes `rspawn` out of the hosts line of the file at `path`, and says whether
/// that changed anything.
///
/// # Errors
/// See [`NssSwitchError`]. The file is then as it was.
pub fn disable(path: &Path) -> Result<bool, NssSwitchError> {
    change(path, Switch::Off)
}

/// Whether the C library asks rspawn, by the text of its configuration.
#[must_use]
pub fn is_enabled(text: &str) -> bool {
    // Of several lines the last one counts.
    text.lines()
        .filter_map(Line::of_hosts)
        .next_back()
        .is_some_and(|line| line.has_rspawn())
}

/// The text of a configuration with the switch where it is wanted. Where it is
/// already there, wherever the user has put the word, the text stays.
#[must_use]
pub fn edit(text: &str, switch: Switch) -> String {
    let mut edited = String::with_capacity(text.len() + OWN_LINE.len());
    let mut has_hosts = false;
    for raw in text.split_inclusive('\n') {
        if raw == OWN_LINE && switch == Switch::Off {
            continue;
        }
        match Line::of_hosts(raw) {
            Some(line) => {
                has_hosts = true;
                line.switched(switch).write_to(&mut edited);
            }
            None => edited.push_str(raw),
        }
    }
    if switch == Switch::On && !has_hosts {
        if !edited.is_empty() && !edited.ends_with('\n') {
            edited.push('\n');
        }
        edited.push_str(OWN_LINE);
    }
    edited
}

fn change(path: &Path, switch: Switch) -> Result<bool, NssSwitchError> {
    let read = |path: &Path| match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(NssSwitchError::Read {
            path: path.to_owned(),
            source,
        }),
    };
    let bytes = match (read(path)?, switch) {
        (Some(bytes), _) => bytes,
        (None, Switch::Off) => return Ok(false),
        // Where the vendor's file is below /usr, one in /etc takes its place as a whole.
        (None, Switch::On) => read(&below_usr(path))?.unwrap_or_default(),
    };
    // A comment may be in any encoding: a character for each byte, and back.
    let text: String = bytes.iter().copied().map(char::from).collect();
    let edited = edit(&text, switch);
    if edited == text {
        return Ok(false);
    }
    let bytes: Vec<u8> = edited
        .chars()
        .filter_map(|c| u8::try_from(c).ok())
        .collect();
    let result = if bytes.is_empty() {
        std::fs::remove_file(path)
    } else {
        replace::replace(path, &bytes)
    };
    result.map_err(|source| NssSwitchError::Write {
        path: path.to_owned(),
        source,
    })?;
    Ok(true)
}

fn below_usr(path: &Path) -> PathBuf {
    Path::new("/usr").join(path.strip_prefix("/").unwrap_or(path))
}

#[cfg(test)]
mod tests;
