//! A program is only started if the container's own files lead to it.
//!
//! The process that becomes the payload still runs the host's rspawn. A tree whose
//! init is a link to /proc/self/exe, or names that as its interpreter, would have
//! rspawn itself run inside, where the container's root could open it for writing.

use std::ffi::{CStr, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::pread;

use crate::tree::open_in;

/// How often a script's interpreter may be a script again; the kernel allows fewer.
const DEPTH_MAX: u32 = 8;
/// How much of a script's first line the kernel looks at, in bytes (BINPRM_BUF_SIZE).
const FIRST_LINE_MAX: usize = 256;
/// The most program headers that are looked at, in bytes; the kernel's bound.
const HEADERS_MAX: usize = 64 * 1024;
const PATH_MAX: usize = 4096;
const PT_INTERP: u64 = 3;

/// Where an executable in ELF has what is needed here (elf(5)).
struct Layout {
    /// Bytes of an offset or size.
    word: usize,
    /// Offset of the program headers, in the file's header.
    headers: usize,
    /// Size and number of the program headers, in the file's header.
    entry: usize,
    /// Offset of the segment and its size, in a program header.
    segment: (usize, usize),
}

const ELF32: Layout = Layout {
    word: 4,
    headers: 28,
    entry: 42,
    segment: (4, 16),
};
const ELF64: Layout = Layout {
    word: 8,
    headers: 32,
    entry: 54,
    segment: (8, 32),
};

/// Checks that no magic link of /proc is on the way to a program or to what
/// interprets it. `directory` is where a relative path begins. A program that is
/// not there, or none, is left to execve(2) to tell.
///
/// The tree is locked, so that nobody who runs from it changes it before the start.
///
/// # Errors
/// A magic link is on the way.
pub fn check(root: BorrowedFd<'_>, directory: &CStr, program: &CStr) -> io::Result<()> {
    let path = |text: &CStr| Path::new(OsStr::from_bytes(text.to_bytes())).to_owned();
    let directory = path(directory);
    let mut next = Some(path(program));
    for _ in 0..DEPTH_MAX {
        let Some(program) = next else { return Ok(()) };
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = match open_in(root, directory.join(&program), OFlags::PATH) {
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
                return Err(refusal(&program));
            }
            Err(_) => return Ok(()),
            Ok(file) if !is_regular(&file) => return Ok(()),
            Ok(_) => match open_in(root, directory.join(&program), flags) {
                Err(_) => return Ok(()),
                Ok(file) => file,
            },
        };
        next = interpreter(&file)?;
    }
    Ok(())
}

fn refusal(path: &Path) -> io::Error {
    io::Error::other(format!(
        "{} leads through a link of /proc, such as /proc/self/exe, or in a circle: \
         correct that link in the tree",
        path.display()
    ))
}

fn is_regular(file: &OwnedFd) -> bool {
    rustix::fs::fstat(file).is_ok_and(|stat| {
        rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::RegularFile
    })
}

/// What the kernel would open beside the program itself.
fn interpreter(file: &OwnedFd) -> io::Result<Option<PathBuf>> {
    let head = read_at(file, 0, FIRST_LINE_MAX)?;
    let path = match head.as_slice() {
        [b'#', b'!', line @ ..] => line
            .split(|byte| matches!(byte, b'\n' | b'\0'))
            .next()
            .and_then(|line| {
                line.split(|byte| matches!(byte, b' ' | b'\t'))
                    .find(|word| !word.is_empty())
            })
            .map(<[u8]>::to_vec),
        [0x7f, b'E', b'L', b'F', 1, ..] => interpreter_of_elf(file, &head, &ELF32)?,
        [0x7f, b'E', b'L', b'F', 2, ..] => interpreter_of_elf(file, &head, &ELF64)?,
        _ => None,
    };
    Ok(path.map(|path| PathBuf::from(OsStr::from_bytes(&path))))
}

fn interpreter_of_elf(
    file: impl AsFd,
    head: &[u8],
    layout: &Layout,
) -> io::Result<Option<Vec<u8>>> {
    let fields = || {
        let headers = number(head, layout.headers, layout.word)?;
        let size = usize::try_from(number(head, layout.entry, 2)?).ok()?;
        let count = usize::try_from(number(head, layout.entry + 2, 2)?).ok()?;
        (size > 0).then_some((headers, size, count))
    };
    let Some((offset, size, count)) = fields() else {
        return Ok(None);
    };
    let headers = read_at(&file, offset, size.saturating_mul(count).min(HEADERS_MAX))?;
    for header in headers.chunks_exact(size) {
        if number(header, 0, 4) != Some(PT_INTERP) {
            continue;
        }
        let (offset, length) = layout.segment;
        let (Some(offset), Some(length)) = (
            number(header, offset, layout.word),
            number(header, length, layout.word),
        ) else {
            return Ok(None);
        };
        let length = usize::try_from(length).unwrap_or(PATH_MAX).min(PATH_MAX);
        let mut path = read_at(&file, offset, length)?;
        if let Some(end) = path.iter().position(|byte| *byte == 0) {
            path.truncate(end);
        }
        return Ok(Some(path));
    }
    Ok(None)
}

/// A number of `length` bytes, in this machine's order: the kernel runs no other.
fn number(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    let mut number = [0; 8];
    let part = bytes.get(at..at.checked_add(length)?)?;
    let place = if cfg!(target_endian = "little") {
        number.get_mut(..length)
    } else {
        number.get_mut(8usize.checked_sub(length)?..)
    };
    place?.copy_from_slice(part);
    Some(u64::from_ne_bytes(number))
}

/// At most `length` bytes; fewer at the end of the file, none behind it.
fn read_at(file: impl AsFd, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match pread(&file, rest, offset.saturating_add(filled as u64)) {
            Ok(0) | Err(rustix::io::Errno::INVAL) => break,
            Ok(read) => filled += read,
            Err(error) => return Err(error.into()),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    fn interpreter_of(content: &[u8]) -> Option<PathBuf> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        interpreter(&file.into()).unwrap()
    }

    #[test]
    fn a_script_names_its_interpreter() {
        for (text, path) in [
            ("#!/bin/sh\n", Some("/bin/sh")),
            ("#! \t/bin/sh -e\nx", Some("/bin/sh")),
            ("#!/bin/sh", Some("/bin/sh")),
            ("#!\n/bin/sh", None),
            ("# /bin/sh\n", None),
            ("", None),
        ] {
            assert_eq!(interpreter_of(text.as_bytes()), path.map(PathBuf::from));
        }
    }

    #[test]
    fn an_executable_names_its_loader() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        let loader = interpreter_of(&own).unwrap();
        assert!(loader.to_str().unwrap().contains("ld-"), "{loader:?}");
    }

    proptest! {
        #[test]
        fn reading_never_panics(
            class in 1u8..3,
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let elf = [&[0x7f, b'E', b'L', b'F', class][..], &bytes].concat();
            interpreter_of(&elf);
        }
    }
}
