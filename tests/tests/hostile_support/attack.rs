//! An attack that goes on while something else is tried.

use netns_fixtures::Running;
use rspawn_tests::SOON;

use super::stage::Stage;

/// A running `hostile-peer`.
pub struct Attack<'a> {
    running: Running<'a>,
}

impl<'a> Attack<'a> {
    /// Begins it. It has one processor for itself, so that the other one is there for
    /// whom it is tried on: how the kernel shares out processors is not what is tested.
    pub fn begin(stage: &Stage<'a>, kind: &str, keys: &[String]) -> Self {
        let running = stage
            .host
            .command_in_network(stage.hostile.network(), "hostile-peer")
            .args([kind, "host0", "100", "cpu=0"])
            .args(keys)
            .spawn("hostile-peer");
        Self { running }
    }

    /// Stops it for a while.
    pub fn pause(&self) {
        self.running.signal(libc::SIGSTOP);
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        self.running.signal(libc::SIGCONT);
    }

    /// Ends it and gives what it says that it did.
    pub fn end(mut self) -> String {
        assert!(
            self.running.ended().is_none(),
            "the attack ended by itself: {}{}",
            self.running.stdout(),
            self.running.stderr()
        );
        self.running.signal(libc::SIGTERM);
        let status = self.running.wait(SOON);
        assert!(status.success(), "{}", self.running.stderr());
        self.running.stdout().trim().to_owned()
    }
}
