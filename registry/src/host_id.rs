//! The identity of the host, from which addresses are derived.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// 16 bytes that identify the host: those of machine-id(5), or on a host without
/// one those of a file of our own that is made once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostId([u8; 16]);

/// The host's identity could not be read or made.
#[derive(Debug, thiserror::Error)]
pub enum HostIdError {
    /// The file of our own can be neither read nor made.
    #[error("cannot make the host's identity in {path}: is the directory writable?")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file of our own holds something else.
    #[error(
        "{path} does not hold 32 hexadecimal digits: remove it to get a new identity (containers then get new addresses)"
    )]
    Malformed {
        /// The file.
        path: PathBuf,
    },
}

impl HostId {
    /// The identity of this host.
    ///
    /// # Errors
    /// See [`HostIdError`].
    pub fn load() -> Result<Self, HostIdError> {
        Self::load_from(
            Path::new("/etc/machine-id"),
            &Path::new(crate::STATE_DIR).join("host-id"),
        )
    }

    fn load_from(machine_id: &Path, own: &Path) -> Result<Self, HostIdError> {
        if let Some(id) = fs::read_to_string(machine_id)
            .ok()
            .and_then(|text| Self::parse(&text))
        {
            return Ok(id);
        }
        let io = |source| HostIdError::Io {
            path: own.to_owned(),
            source,
        };
        match fs::read_to_string(own) {
            Ok(text) => Self::parse(&text).ok_or_else(|| HostIdError::Malformed {
                path: own.to_owned(),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::make(own).map_err(io),
            Err(error) => Err(io(error)),
        }
    }

    /// Writes a new identity under another name and links it into place: whoever
    /// was first wins, and nobody reads half of it.
    fn make(own: &Path) -> io::Result<Self> {
        let text = fs::read_to_string("/proc/sys/kernel/random/uuid")?.replace('-', "");
        if let Some(dir) = own.parent() {
            fs::create_dir_all(dir)?;
        }
        let draft = own.with_extension(format!("{}", std::process::id()));
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o444)
            .open(&draft)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        let linked = fs::hard_link(&draft, own);
        fs::remove_file(&draft)?;
        match linked {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        Self::parse(&fs::read_to_string(own)?)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not an identity"))
    }

    /// An identity of the given bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The identity's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    fn parse(text: &str) -> Option<Self> {
        let text = text.trim_end();
        let plain = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let id = plain
            .then(|| u128::from_str_radix(text, 16).ok())
            .flatten()?;
        // All zeros stands for "not set up yet".
        (id != 0).then(|| Self(id.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_id_comes_first() {
        let dir = tempfile::tempdir().unwrap();
        let (machine_id, own) = (dir.path().join("machine-id"), dir.path().join("x/host-id"));
        fs::write(&machine_id, "000102030405060708090a0b0c0d0e0f\n").unwrap();
        let id = HostId::load_from(&machine_id, &own).unwrap();
        assert_eq!(id.as_bytes()[..3], [0, 1, 2]);
        assert!(!own.exists());
    }

    #[test]
    fn without_one_an_identity_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let (machine_id, own) = (dir.path().join("machine-id"), dir.path().join("x/host-id"));
        fs::write(&machine_id, "uninitialized\n").unwrap();
        let id = HostId::load_from(&machine_id, &own).unwrap();
        assert_eq!(HostId::load_from(&machine_id, &own).unwrap(), id);
        assert_eq!(fs::read_dir(dir.path().join("x")).unwrap().count(), 1);
        fs::write(&machine_id, "").unwrap();
        assert_eq!(HostId::load_from(&machine_id, &own).unwrap(), id);
    }

    #[test]
    fn a_spoilt_identity_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("host-id");
        fs::write(&own, "12345").unwrap();
        let error = HostId::load_from(&dir.path().join("none"), &own).unwrap_err();
        assert!(matches!(error, HostIdError::Malformed { .. }));
    }
}
