//! A terminal, seen from the side of the person in front of it.

use std::cell::RefCell;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{OFlags, fcntl_setfl};

use crate::sys;
use crate::wait::wait_until;

/// The controlling end of a pseudo terminal.
#[derive(Debug)]
pub struct Terminal {
    master: File,
    // Kept open, so that the settings can be read when every program is gone.
    end: OwnedFd,
    settings: String,
    seen: RefCell<Vec<u8>>,
}

impl Terminal {
    /// Opens one of the pseudo terminals that the calling thread's /dev has.
    pub(crate) fn open() -> (Self, OwnedFd) {
        let (master, end) = sys::pty().expect("there are pseudo terminals");
        fcntl_setfl(&master, OFlags::NONBLOCK).unwrap();
        let given = end.try_clone().unwrap();
        let settings = sys::terminal_settings(end.as_fd()).unwrap();
        let master = File::from(master);
        (
            Self {
                master,
                end,
                settings,
                seen: RefCell::default(),
            },
            given,
        )
    }

    /// Types `text`.
    ///
    /// # Panics
    /// When the terminal takes no more.
    pub fn type_in(&self, text: &str) {
        (&self.master).write_all(text.as_bytes()).unwrap();
    }

    /// Types more than fits at once, as fast as it is read.
    ///
    /// # Panics
    /// When nobody reads it.
    pub fn type_much(&self, text: &str) {
        let mut rest = text.as_bytes();
        let typed = wait_until(Duration::from_secs(15), || {
            match (&self.master).write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
            }
            rest.is_empty()
        });
        assert!(typed, "{} bytes were not read", rest.len());
    }

    /// All that has been shown so far.
    #[must_use]
    pub fn seen(&self) -> String {
        let mut seen = self.seen.borrow_mut();
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = (&self.master).read(&mut buffer) {
            seen.extend_from_slice(&buffer[..read]);
        }
        String::from_utf8_lossy(&seen).into_owned()
    }

    /// Waits until `text` has been shown.
    ///
    /// # Panics
    /// When it has not been after `patience`.
    #[track_caller]
    pub fn wait_for(&self, text: &str, patience: Duration) {
        let shown = wait_until(patience, || self.seen().contains(text));
        assert!(
            shown,
            "the terminal never showed {text:?}, but:\n{}",
            self.seen()
        );
    }

    /// The terminal's settings before any program had it.
    #[must_use]
    pub fn settings_at_first(&self) -> &str {
        &self.settings
    }

    /// The terminal's settings (termios) as they are, to be compared.
    ///
    /// # Panics
    /// When the system does not tell them.
    #[must_use]
    pub fn settings(&self) -> String {
        sys::terminal_settings(self.end.as_fd()).unwrap()
    }

    /// Gives the window another size.
    ///
    /// # Panics
    /// When the system refuses.
    pub fn resize(&self, rows: u16, columns: u16) {
        sys::set_window_size(self.end.as_fd(), rows, columns).unwrap();
    }
}
