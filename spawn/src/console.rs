//! The user's side of the container's console or streams.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::stdio::{stderr, stdin, stdout};
use rustix::termios::{
    OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize,
};

use crate::pump::Pump;

/// `^]`.
const ESCAPE: u8 = 0x1d;
const ESCAPES: usize = 3;
const ESCAPE_TIME: Duration = Duration::from_secs(1);

/// How the terminal was before it was changed, for every way out.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// The terminal of standard input in raw mode, until the value is dropped.
#[derive(Debug)]
pub struct RawTerminal(());

impl RawTerminal {
    /// Sets raw mode, if standard input is a terminal.
    ///
    /// # Errors
    /// As tcsetattr(3).
    pub fn set() -> io::Result<Option<Self>> {
        if !isatty(stdin()) {
            return Ok(None);
        }
        let before = tcgetattr(stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        if let Ok(mut place) = BEFORE.lock() {
            *place = Some(before);
        }
        let terminal = Self(());
        tcsetattr(stdin(), OptionalActions::Drain, &raw)?;
        Ok(Some(terminal))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        restore_terminal();
    }
}

/// Puts the terminal back to how it was, if it was changed.
pub fn restore_terminal() {
    // Called on the way out of a panic as well, which may have happened anywhere.
    if let Ok(mut place) = BEFORE.try_lock()
        && let Some(before) = place.take()
    {
        tcsetattr(stdin(), OptionalActions::Drain, &before).ok();
    }
}

/// Whether the terminal is in raw mode by us.
#[must_use]
pub fn terminal_is_raw() -> bool {
    BEFORE.try_lock().is_ok_and(|place| place.is_some())
}

/// Gives the console's master the size of the user's terminal, if there is one.
pub fn copy_window_size(master: impl AsFd) {
    let size = [stdout(), stdin()]
        .into_iter()
        .find_map(|terminal| tcgetwinsize(terminal).ok());
    if let Some(size) = size {
        tcsetwinsize(master, size).ok();
    }
}

/// Sees when `^]` is typed three times within a second.
#[derive(Clone, Debug, Default)]
pub struct EscapeWatch {
    times: Vec<Instant>,
}

impl EscapeWatch {
    /// Takes what was typed; true if the container is to be killed.
    pub fn typed(&mut self, bytes: &[u8], now: Instant) -> bool {
        for byte in bytes {
            if *byte != ESCAPE {
                self.times.clear();
                continue;
            }
            self.times
                .retain(|time| now.duration_since(*time) <= ESCAPE_TIME);
            self.times.push(now);
            if self.times.len() >= ESCAPES {
                self.times.clear();
                return true;
            }
        }
        false
    }
}

/// The payload's standard streams where it has no console.
///
/// A terminal is never handed into the container, which could type into it: a pipe
/// is, and what goes through is copied.
#[derive(Debug)]
pub struct Streams {
    container: [OwnedFd; 3],
    pumps: Vec<Pump>,
}

impl Streams {
    /// Takes this process's own streams.
    ///
    /// # Errors
    /// One of them is closed, or as pipe(2).
    pub fn new() -> io::Result<Self> {
        let mut pumps = vec![];
        let input = if isatty(stdin()) {
            let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
            pumps.push(Pump::new(duplicate(stdin())?, write));
            read
        } else {
            duplicate(stdin())?
        };
        let mut output = |own: BorrowedFd<'_>| -> io::Result<OwnedFd> {
            if !isatty(own) {
                return duplicate(own);
            }
            let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
            pumps.push(Pump::new(read, duplicate(own)?).draining());
            Ok(write)
        };
        let container = [input, output(stdout())?, output(stderr())?];
        Ok(Self { container, pumps })
    }

    /// What the payload gets.
    #[must_use]
    pub fn container_ends(&self) -> [BorrowedFd<'_>; 3] {
        let [input, output, error] = &self.container;
        [input.as_fd(), output.as_fd(), error.as_fd()]
    }

    /// What copies between the user's terminal and the container.
    pub fn pumps(&mut self) -> Vec<Pump> {
        std::mem::take(&mut self.pumps)
    }
}

/// A copy of a descriptor, close-on-exec and not one of the standard streams.
///
/// # Errors
/// As fcntl(2).
pub fn duplicate(fd: impl AsFd) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(fd, 3)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_escapes_within_a_second_kill() {
        let start = Instant::now();
        let later = |ms| start + Duration::from_millis(ms);
        let mut watch = EscapeWatch::default();
        assert!(watch.typed(b"\x1d\x1d\x1d", start));
        assert!(!watch.typed(b"\x1d\x1d", start));
        assert!(!watch.typed(b"x\x1d", later(10)));
        assert!(!watch.typed(b"\x1d", later(20)));
        assert!(watch.typed(b"\x1d", later(900)));
        assert!(!watch.typed(b"\x1d\x1d", later(1000)));
        assert!(!watch.typed(b"\x1d", later(2100)));
    }
}
