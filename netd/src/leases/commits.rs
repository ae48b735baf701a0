//! Writing leases down in groups.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::file::{LeaseFile, LeaseFileError};
use super::record::Change;
use crate::worker::Queue;

/// How long after the disk began with some changes it begins with the next: under load, what
/// comes meanwhile goes to it together, also where it is fast. Who comes alone does not wait.
const PAUSE: Duration = Duration::from_millis(4);

/// What waits for the disk, and what the disk says.
///
/// While it is busy with some changes, those that come wait, and go to it together.
#[derive(Debug)]
pub struct Commits {
    file: Arc<Mutex<LeaseFile>>,
    worker: Queue,
    waiting: Vec<Change>,
    /// Number of the last change that was added; the first is 1.
    added: u64,
    /// Number of the last change that the disk is busy with.
    busy_until: Option<u64>,
    /// When the disk began last.
    begun: Option<Instant>,
    done: mpsc::Receiver<Result<(), LeaseFileError>>,
    sender: mpsc::Sender<Result<(), LeaseFileError>>,
}

impl Commits {
    /// Writes to `file` on the thread behind `worker`.
    #[must_use]
    pub fn new(file: LeaseFile, worker: Queue) -> Self {
        let (sender, done) = mpsc::channel(1);
        Self {
            file: Arc::new(Mutex::new(file)),
            worker,
            waiting: Vec::new(),
            added: 0,
            busy_until: None,
            begun: None,
            done,
            sender,
        }
    }

    /// Has a change written; gives its number, by which [`Commits::next`] tells that it is.
    pub fn add(&mut self, change: Change) -> u64 {
        self.waiting.push(change);
        self.added += 1;
        self.added
    }

    /// Gives the disk what waits, if it is idle. To be called when no more changes come
    /// for the moment.
    pub fn start(&mut self) {
        let rests = self
            .rests_until()
            .is_some_and(|until| until > Instant::now());
        if self.busy_until.is_some() || self.waiting.is_empty() || rests {
            return;
        }
        self.begun = Some(Instant::now());
        let changes = std::mem::take(&mut self.waiting);
        self.busy_until = Some(self.added);
        let (file, sender) = (self.file.clone(), self.sender.clone());
        self.worker.add(move || {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            // Who does not wait any more has ended.
            let _ = sender.blocking_send(file.append(&changes));
        });
    }

    fn rests_until(&self) -> Option<Instant> {
        self.begun.map(|begun| begun + PAUSE)
    }

    /// Waits until the disk has some more, and gives it what came meanwhile. Gives the
    /// number of the last change that it was given, and whether it took them. Nothing is
    /// lost if the future is dropped.
    pub async fn next(&mut self) -> (u64, Result<(), LeaseFileError>) {
        let result = loop {
            let idle = self.busy_until.is_none() && !self.waiting.is_empty();
            let begin_at = self.rests_until().filter(|_| idle);
            tokio::select! {
                result = self.done.recv() => match result {
                    Some(result) => break result,
                    // This has a sender of its own.
                    None => std::future::pending().await,
                },
                () = at(begin_at) => self.start(),
            }
        };
        let until = self.busy_until.take().unwrap_or(self.added);
        self.start();
        (until, result)
    }
}

/// Waits until then; for ever, if there is no time given.
async fn at(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::leases::Clocks;
    use crate::worker::Worker;

    #[test]
    fn what_comes_while_the_disk_is_busy_is_written_together() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("blue");
        let (file, _) = LeaseFile::open(&path, "boot", &Clocks::read()).unwrap();
        let worker = Worker::start().unwrap();
        let mut commits = Commits::new(file, worker.queue());
        // The disk is slow.
        let (go, wait) = std::sync::mpsc::channel::<()>();
        worker.queue().add(move || wait.recv().unwrap_or_default());
        let freed = |last| Change::Freed(Ipv4Addr::new(10, 0, 0, last));
        assert_eq!(commits.add(freed(1)), 1);
        commits.start();
        for last in 2..=9 {
            assert_eq!(commits.add(freed(last)), u64::from(last));
            commits.start();
        }
        go.send(()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let done = commits.next().await;
            assert!(matches!(done, (1, Ok(()))), "{done:?}");
            let done = commits.next().await;
            assert!(matches!(done, (9, Ok(()))), "{done:?}");
        });
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.matches("free").count(), 9);
    }
}
