//! Replaces a file whole: whoever reads it sees the old text or the new one.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::Path;

/// Mode of a file that was not there.
const NEW_MODE: u32 = 0o644;

/// Gives the file at `path` new contents, with the mode and the owner that it has.
/// Where `path` is a symbolic link, the file that it points to is replaced.
///
/// # Errors
/// The system's; the file is then as it was.
pub fn replace(path: &Path, contents: &[u8]) -> io::Result<()> {
    let path = match fs::canonicalize(path) {
        // A link to nowhere is the administrator's to mend.
        Err(error) if error.kind() == ErrorKind::NotFound && !path.is_symlink() => path.to_owned(),
        other => other?,
    };
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut file = tempfile::Builder::new()
        .prefix(".nsswitch.conf.")
        .tempfile_in(directory)?;
    file.write_all(contents)?;
    match fs::metadata(&path) {
        Ok(old) => {
            fchown(file.as_file(), Some(old.uid()), Some(old.gid()))?;
            file.as_file().set_permissions(old.permissions())?;
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            file.as_file()
                .set_permissions(Permissions::from_mode(NEW_MODE))?;
        }
        Err(error) => return Err(error),
    }
    file.as_file().sync_all()?;
    file.persist(&path).map_err(|error| error.error)?;
    File::open(directory)?.sync_all()
}
