//! Look-ups: three system calls each, no allocation, nothing that could wait.

use core::net::IpAddr;

use crate::name::MachineName;
use crate::record::{RECORD_MAX, Record, RecordError};
use crate::text::AddressText;
use crate::{ADDRESSES_DIR, MACHINES_DIR};

/// Why a look-up gave no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookupError {
    /// There is no such machine.
    NotFound,
    /// The record cannot be read; the value is the system's error number.
    Io(i32),
    /// What stands there is not a record.
    Malformed(RecordError),
}

/// The bytes of a record, held where the caller wants them.
pub struct RecordBuf {
    // One byte more than a record may have, to tell a huge one.
    bytes: [u8; RECORD_MAX + 1],
    len: usize,
}

impl RecordBuf {
    /// A buffer that holds nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            bytes: [0; RECORD_MAX + 1],
            len: 0,
        }
    }

    /// Reads the record of the machine `name`.
    ///
    /// # Errors
    /// See [`LookupError`].
    pub fn by_name(&mut self, name: &MachineName) -> Result<Record<'_>, LookupError> {
        let record = self.read(&Path::of(MACHINES_DIR, name.as_bytes()))?;
        if record.name() != *name {
            return Err(LookupError::Malformed(RecordError::Malformed));
        }
        Ok(record)
    }

    /// Reads the record of the machine that holds `ip`.
    ///
    /// # Errors
    /// See [`LookupError`].
    pub fn by_address(&mut self, ip: IpAddr) -> Result<Record<'_>, LookupError> {
        let record = self.read(&Path::of(ADDRESSES_DIR, AddressText::of(ip).as_bytes()))?;
        if record.addresses().any(|address| address.ip == ip) {
            Ok(record)
        } else {
            // A link that outlived its record's change says nothing.
            Err(LookupError::NotFound)
        }
    }

    fn read(&mut self, path: &Path) -> Result<Record<'_>, LookupError> {
        self.len = 0;
        let len = read_file(path, &mut self.bytes)?;
        self.len = len;
        let bytes = self.bytes.get(..len).unwrap_or_default();
        Record::parse(bytes).map_err(LookupError::Malformed)
    }

    /// What was read last, a record or not.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl Default for RecordBuf {
    fn default() -> Self {
        Self::new()
    }
}

/// A path that ends with a NUL byte.
struct Path {
    bytes: [u8; 128],
}

impl Path {
    fn of(directory: &str, file: &[u8]) -> Self {
        let mut bytes = [0; 128];
        let text = directory.as_bytes().iter().chain(b"/").chain(file);
        // The longest is a directory and a name of 64 bytes; the last byte stays NUL.
        for (to, from) in bytes.iter_mut().take(127).zip(text) {
            *to = *from;
        }
        Self { bytes }
    }
}

#[allow(unsafe_code)]
fn read_file(path: &Path, to: &mut [u8]) -> Result<usize, LookupError> {
    // O_NONBLOCK: whatever stands there instead of a file must not make us wait.
    let flags = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY;
    // SAFETY: the path ends with a NUL byte.
    let fd = unsafe { libc::open(path.bytes.as_ptr().cast(), flags) };
    if fd < 0 {
        return Err(match errno() {
            libc::ENOENT | libc::ENOTDIR => LookupError::NotFound,
            error => LookupError::Io(error),
        });
    }
    let result = loop {
        // SAFETY: the descriptor is open, the buffer is ours and as long as said.
        let read = unsafe { libc::read(fd, to.as_mut_ptr().cast(), to.len()) };
        match usize::try_from(read) {
            Ok(len) => break Ok(len),
            Err(_) if errno() == libc::EINTR => {}
            Err(_) => break Err(LookupError::Io(errno())),
        }
    };
    // SAFETY: the descriptor is ours and open.
    unsafe { libc::close(fd) };
    result
}

#[allow(unsafe_code)]
fn errno() -> i32 {
    // SAFETY: the location is valid for the calling thread at any time.
    unsafe { *libc::__errno_location() }
}
