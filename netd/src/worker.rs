//! The one thread for what may block: writing to disk, and closing what takes the
//! kernel its time.

use std::sync::mpsc;
use std::thread::JoinHandle;

enum Job {
    Do(Box<dyn FnOnce() + Send>),
    End,
}

/// A thread that does one job after the other, in the order in which they came.
#[derive(Debug)]
pub struct Worker {
    queue: Queue,
    thread: Option<JoinHandle<()>>,
}

/// Where jobs for the worker go.
#[derive(Clone, Debug)]
pub struct Queue(mpsc::Sender<Job>);

impl Worker {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no room for another thread.
    pub fn start() -> std::io::Result<Self> {
        let (sender, jobs) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("worker".into())
            .spawn(move || {
                while let Ok(Job::Do(job)) = jobs.recv() {
                    job();
                }
            })?;
        Ok(Self {
            queue: Queue(sender),
            thread: Some(thread),
        })
    }

    /// The queue of jobs.
    #[must_use]
    pub fn queue(&self) -> Queue {
        self.queue.clone()
    }
}

impl Queue {
    /// Puts a job at the end. After the worker has ended, nothing is done.
    pub fn add(&self, job: impl FnOnce() + Send + 'static) {
        let _ = self.0.send(Job::Do(Box::new(job)));
    }
}

impl Drop for Worker {
    /// Waits until all jobs that are queued are done.
    fn drop(&mut self) {
        let _ = self.queue.0.send(Job::End);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[test]
    fn jobs_are_done_in_order_and_all_of_them() {
        let done = Arc::new(Mutex::new(Vec::new()));
        let worker = Worker::start().unwrap();
        let queue = worker.queue();
        for n in 0..100 {
            let done = done.clone();
            queue.add(move || done.lock().unwrap().push(n));
        }
        drop(worker);
        assert_eq!(*done.lock().unwrap(), (0..100).collect::<Vec<_>>());
        queue.add(|| panic!("done after the end"));
    }
}
