//! Copies from one descriptor to another without waiting for either.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

/// The most that is copied at once: what a pipe that is ready always takes.
pub const CHUNK: usize = 4096;
/// How long a terminal that nobody has open is left alone.
const HANGUP_PAUSE: Duration = Duration::from_millis(100);
/// How much of what was typed waits for a container that does not read. What is
/// typed then is seen, for `^]`, and lost.
const TYPED_MAX: usize = 64 * 1024;

/// The two ends of a pump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Where it reads.
    From,
    /// Where it writes.
    To,
}

/// Copies from one descriptor to another.
#[derive(Debug)]
pub struct Pump {
    from: OwnedFd,
    to: Option<OwnedFd>,
    buffer: Vec<u8>,
    ended: bool,
    paused_until: Option<Instant>,
    draining: bool,
    typed: bool,
}

impl Pump {
    /// A pump between two descriptors.
    #[must_use]
    pub fn new(from: OwnedFd, to: OwnedFd) -> Self {
        Self {
            from,
            to: Some(to),
            buffer: vec![],
            ended: false,
            paused_until: None,
            draining: false,
            typed: false,
        }
    }

    /// What a user types is read also while the container reads nothing.
    #[must_use]
    pub fn typed(self) -> Self {
        Self {
            typed: true,
            ..self
        }
    }

    /// What is left at the container's end is still to be copied.
    #[must_use]
    pub fn draining(self) -> Self {
        Self {
            draining: true,
            ..self
        }
    }

    /// What the pump waits for, and on which descriptor.
    pub fn interests(
        &self,
        now: Instant,
    ) -> impl Iterator<Item = (End, BorrowedFd<'_>, PollFlags)> {
        let full = !self.buffer.is_empty();
        let to = self.to.as_ref().filter(|_| full);
        let paused = self.paused_until.is_some_and(|until| now < until);
        let reads = !self.ended && !paused && (!full || self.typed);
        let from = reads.then(|| (End::From, self.from.as_fd(), PollFlags::IN));
        to.map(|to| (End::To, to.as_fd(), PollFlags::OUT))
            .into_iter()
            .chain(from)
    }

    /// When the pump wants to be asked again.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.paused_until.filter(|_| !self.ended)
    }

    /// Reads or writes at the end that is ready. Gives what was read.
    pub fn turn<'a>(&mut self, end: End, chunk: &'a mut [u8; CHUNK]) -> &'a [u8] {
        match end {
            End::To => {
                self.write();
                &[]
            }
            End::From => self.read(chunk),
        }
    }

    fn read<'a>(&mut self, chunk: &'a mut [u8; CHUNK]) -> &'a [u8] {
        self.paused_until = None;
        let read = match rustix::io::read(&self.from, &mut *chunk) {
            Ok(0) => {
                self.end();
                0
            }
            Ok(read) => read,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => 0,
            // Nobody inside has the terminal open: somebody may open it again.
            Err(rustix::io::Errno::IO) => {
                self.paused_until = Some(Instant::now() + HANGUP_PAUSE);
                0
            }
            Err(_) => {
                self.end();
                0
            }
        };
        let read = chunk.get(..read).unwrap_or(&[]);
        if self.to.is_some() && self.buffer.len() + read.len() <= TYPED_MAX {
            self.buffer.extend_from_slice(read);
        }
        read
    }

    /// Adds bytes as if they had been read.
    pub fn add(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether its source has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Copies what is there now, once nothing more can come. Waits only for the
    /// reader.
    pub fn drain(&mut self, mut wait: impl FnMut(BorrowedFd<'_>) -> bool) {
        if !self.draining {
            return;
        }
        rustix::io::ioctl_fionbio(&self.from, true).ok();
        loop {
            while !self.buffer.is_empty() {
                let Some(to) = &self.to else { return };
                if !wait(to.as_fd()) {
                    return;
                }
                self.write();
            }
            self.read(&mut [0; CHUNK]);
            if self.buffer.is_empty() {
                return;
            }
        }
    }

    fn write(&mut self) {
        let Some(to) = &self.to else { return };
        let chunk = self.buffer.get(..CHUNK).unwrap_or(&self.buffer);
        match rustix::io::write(to, chunk) {
            Ok(written) => {
                self.buffer.drain(..written);
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            // A hung up terminal may be opened again, and wants no old input then.
            Err(rustix::io::Errno::IO) => self.buffer.clear(),
            Err(_) => {
                self.to = None;
                self.buffer.clear();
            }
        }
        self.close_if_done();
    }

    fn end(&mut self) {
        self.ended = true;
        self.close_if_done();
    }

    /// The reader sees the end.
    fn close_if_done(&mut self) {
        if self.ended && self.buffer.is_empty() && !self.draining {
            self.to = None;
        }
    }
}
