//! Which files there are, and in which order they count.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::network_file::{Message, Severity};

/// The largest file that is read, in bytes.
const FILE_MAX: u64 = 256 * 1024;

/// Directories of configuration, the one first whose files replace those of the same name
/// in the others.
#[derive(Clone, Debug)]
pub struct Directories(pub Vec<PathBuf>);

impl Default for Directories {
    fn default() -> Self {
        Self(
            ["/etc/netd", "/run/netd", "/usr/lib/netd"]
                .map(PathBuf::from)
                .into(),
        )
    }
}

/// What counts under one name: a file and what is added to it, in this order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unit {
    pub name: String,
    pub parts: Vec<Part>,
}

/// A file that was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub path: PathBuf,
    pub bytes: Vec<u8>,
}

impl Directories {
    /// All files whose names end with `suffix`, by name, with their drop-ins
    /// (`NAME.d/*.conf`). `built_in` is what stands there where no directory has a file of
    /// its name. A file that is empty or a link to /dev/null takes its name out.
    pub(super) fn units(
        &self,
        suffix: &str,
        built_in: &[(&str, &str)],
        messages: &mut Vec<Message>,
    ) -> Vec<Unit> {
        let mut files = self.files("", suffix, messages);
        for (name, _) in built_in {
            // A path that no file has.
            files.entry((*name).to_owned()).or_default();
        }
        let mut units = Vec::new();
        for (name, path) in files {
            let text = built_in.iter().find(|(built_in, _)| *built_in == name);
            let main = match text {
                Some((_, text)) if path.as_os_str().is_empty() => Some(Part {
                    path: PathBuf::from(format!("(built in) {name}")),
                    bytes: text.as_bytes().to_vec(),
                }),
                _ => read(path, messages),
            };
            if let Some(main) = main {
                let mut parts = vec![main];
                parts.extend(self.drop_ins(&name, messages));
                units.push(Unit { name, parts });
            }
        }
        units
    }

    /// The one file `name` with its drop-ins, which count without it as well.
    pub(super) fn unit(&self, name: &str, messages: &mut Vec<Message>) -> Unit {
        let mut paths = self.0.iter().map(|directory| directory.join(name));
        let main = paths.find(|path| path.symlink_metadata().is_ok());
        let mut parts: Vec<Part> = main
            .and_then(|path| read(path, messages))
            .into_iter()
            .collect();
        parts.extend(self.drop_ins(name, messages));
        let name = name.to_owned();
        Unit { name, parts }
    }

    fn drop_ins(&self, name: &str, messages: &mut Vec<Message>) -> Vec<Part> {
        let files = self.files(&format!("{name}.d"), ".conf", messages);
        files
            .into_values()
            .filter_map(|path| read(path, messages))
            .collect()
    }

    /// The files below `sub` of each directory, by name.
    fn files(
        &self,
        sub: &str,
        suffix: &str,
        messages: &mut Vec<Message>,
    ) -> BTreeMap<String, PathBuf> {
        let mut files = BTreeMap::new();
        for directory in &self.0 {
            let directory = if sub.is_empty() {
                directory.clone()
            } else {
                directory.join(sub)
            };
            let names = match list(&directory) {
                Ok(names) => names,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    say(messages, &directory, format!("cannot be listed: {error}"));
                    continue;
                }
            };
            for name in names {
                if name.ends_with(suffix) && !name.starts_with('.') {
                    let path = directory.join(&name);
                    files.entry(name).or_insert(path);
                }
            }
        }
        files
    }
}

/// The names in a directory, without those that are not UTF-8.
fn list(directory: &Path) -> io::Result<Vec<String>> {
    let names = fs::read_dir(directory)?.filter_map(|entry| {
        let entry = entry.map(|entry| entry.file_name().into_string().ok());
        entry.transpose()
    });
    names.collect()
}

/// A file; `None` if it is to count for nothing, or cannot be read, which is told.
fn read(path: PathBuf, messages: &mut Vec<Message>) -> Option<Part> {
    match read_bytes(&path) {
        Ok(bytes) if bytes.is_empty() => None,
        Ok(bytes) => Some(Part { path, bytes }),
        Err(error) => {
            say(messages, &path, format!("cannot be read: {error}"));
            None
        }
    }
}

/// The bytes of a file, none if it is /dev/null.
fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    if fs::read_link(path).is_ok_and(|target| target == Path::new("/dev/null")) {
        return Ok(Vec::new());
    }
    let file: File = OpenOptions::new()
        .read(true)
        // Whatever stands there must not make netd wait.
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)?;
    let metadata = file.metadata()?;
    if metadata.file_type().is_char_device() {
        return Ok(Vec::new());
    }
    if !metadata.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(FILE_MAX + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len > FILE_MAX) {
        return Err(io::Error::other(format!(
            "it is larger than {} KiB",
            FILE_MAX / 1024
        )));
    }
    Ok(bytes)
}

fn say(messages: &mut Vec<Message>, path: &Path, text: String) {
    messages.push(Message {
        severity: Severity::Error,
        path: path.to_owned(),
        line: None,
        text,
    });
}
