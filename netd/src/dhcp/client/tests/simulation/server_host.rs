//! The host of the server: a disk that takes its time, crashes of the server at any point,
//! and losses of power, of which the clock of the next boot knows nothing.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::secs;
use crate::dhcp::server::{self, Change, Lease, Output, Server, ServerConfig, Transmit, to_kept};
use crate::leases::{self, Clocks, leases_in};
use crate::random::Random;

/// A server, and what it has written down.
pub struct ServerHost {
    /// Not there while it is crashed.
    server: Option<Server>,
    config: ServerConfig,
    random: Random,
    /// What is on disk.
    disk: Vec<u8>,
    /// Lines that wait until the disk has time, and those that it is busy with, which are
    /// there up to that number.
    waiting: Vec<u8>,
    writing: Option<(u64, Vec<u8>)>,
    /// Acknowledgements that wait for the disk.
    held: VecDeque<(u64, Transmit)>,
    added: u64,
    done: u64,
    /// How many servers there were before this one.
    life: u64,
    boot: u64,
    booted: Instant,
    /// Time of day when this boot began.
    wall: Duration,
}

/// What the server's host does by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The disk has what the server of this life gave it.
    Written(u64),
    /// The server crashes.
    Crash,
    /// It is started.
    Start,
}

/// What comes of something.
#[derive(Default)]
pub struct Outcome {
    pub sent: Vec<Transmit>,
    /// After how long the host has a turn.
    pub turns: Vec<(Duration, Turn)>,
}

impl ServerHost {
    pub fn new(config: ServerConfig, seed: u64, now: Instant) -> Self {
        Self {
            server: Some(Server::new(config.clone())),
            config,
            random: Random::new(seed ^ 0x5eed),
            disk: leases::Change::Boot(boot_id(0)).line().into_bytes(),
            waiting: Vec::new(),
            writing: None,
            held: VecDeque::new(),
            added: 0,
            done: 0,
            life: 0,
            boot: 0,
            booted: now,
            wall: secs(1_000_000_000),
        }
    }

    pub fn hears(&mut self, now: Instant, datagram: server::Datagram) -> Outcome {
        let mut outcome = Outcome::default();
        let Some(server) = &mut self.server else {
            return outcome;
        };
        server.handle(now, server::Input::Datagram(datagram));
        while let Some(output) = self.server.as_mut().and_then(Server::poll_output) {
            match output {
                Output::Send(transmit) => outcome.sent.push(transmit),
                Output::Keep(change) => self.keep(now, change),
                Output::SendKept(transmit) if self.added <= self.done => {
                    outcome.sent.push(transmit);
                }
                Output::SendKept(transmit) => self.held.push_back((self.added, transmit)),
                Output::Probe { .. } | Output::Event(_) => {}
            }
            // Between any two things that it does, too.
            if self.config.keep && self.random.next().is_multiple_of(2000) {
                outcome.turns.push((Duration::ZERO, Turn::Crash));
                break;
            }
        }
        self.begin_to_write(&mut outcome);
        outcome
    }

    fn keep(&mut self, now: Instant, change: Change) {
        let change = match change {
            Change::Leased(lease) => leases::Change::Leased(to_kept(lease, &self.clocks(now))),
            Change::Freed(address) => leases::Change::Freed(address),
        };
        self.waiting.extend(change.line().into_bytes());
        self.added += 1;
    }

    fn begin_to_write(&mut self, outcome: &mut Outcome) {
        if self.writing.is_some() || self.waiting.is_empty() {
            return;
        }
        self.writing = Some((self.added, std::mem::take(&mut self.waiting)));
        let time = self
            .random
            .between(Duration::ZERO, Duration::from_millis(40));
        outcome.turns.push((time, Turn::Written(self.life)));
    }

    /// Has its turn. Who uses one of these leases may go on to.
    pub fn take(&mut self, now: Instant, turn: Turn, used: &[Lease]) -> Outcome {
        let mut outcome = Outcome::default();
        match turn {
            Turn::Written(life) if life == self.life => {
                if let Some((until, lines)) = self.writing.take() {
                    self.disk.extend(lines);
                    self.done = until;
                }
                while let Some((_, transmit)) = self.held.pop_front_if(|(id, _)| *id <= self.done) {
                    outcome.sent.push(transmit);
                }
                self.begin_to_write(&mut outcome);
            }
            Turn::Written(_) => {}
            Turn::Crash => {
                self.crash();
                let away = self.random.between(Duration::ZERO, secs(90));
                outcome.turns.push((away, Turn::Start));
            }
            Turn::Start => self.start(now, used),
        }
        outcome
    }

    fn crash(&mut self) {
        self.server = None;
        self.life += 1;
        self.held.clear();
        self.waiting.clear();
        self.added = 0;
        self.done = 0;
        // Of what the disk was busy with, any part is there.
        if let Some((_, lines)) = self.writing.take() {
            let length = u64::try_from(lines.len()).unwrap() + 1;
            let part = usize::try_from(self.random.next() % length).unwrap();
            self.disk.extend(lines.iter().take(part));
        }
    }

    fn start(&mut self, now: Instant, used: &[Lease]) {
        if self.server.is_some() {
            return;
        }
        if self.random.next().is_multiple_of(3) {
            // The power was gone, and the clock may have lost time.
            let back = self.random.between(Duration::ZERO, secs(3600));
            self.wall = self.clocks(now).wall.saturating_sub(back);
            self.boot += 1;
            self.booted = now;
        } else if self.random.next().is_multiple_of(4) {
            // Somebody sets the clock.
            self.wall = self.random.between(Duration::ZERO, secs(2_000_000_000));
        }
        let clocks = self.clocks(now);
        let kept = leases_in(&self.disk, &boot_id(self.boot), &clocks);
        let lines = kept.iter().cloned().map(leases::Change::Leased);
        let lines = [leases::Change::Boot(boot_id(self.boot))]
            .into_iter()
            .chain(lines);
        self.disk = lines
            .flat_map(|change| change.line().into_bytes())
            .collect();
        let mut server = Server::new(self.config.clone());
        server.restore(
            now,
            kept.into_iter().map(|kept| Lease::from_kept(kept, &clocks)),
        );
        while server.poll_output().is_some() {}
        for lease in used {
            let is_it = |known: &&Lease| known.address == lease.address;
            let known = server.leases().find(is_it);
            let is_kept =
                known.is_some_and(|known| known.mac == lease.mac && known.until >= lease.until);
            assert!(is_kept, "{lease:?} is forgotten: {known:?} at {now:?}");
        }
        self.server = Some(server);
    }

    /// Whether the server runs.
    pub fn is_there(&self) -> bool {
        self.server.is_some()
    }

    /// How often it crashed.
    pub fn crashes(&self) -> u64 {
        self.life
    }

    fn clocks(&self, now: Instant) -> Clocks {
        let since_boot = now - self.booted;
        Clocks {
            now,
            wall: self.wall + since_boot,
            since_boot,
        }
    }
}

fn boot_id(number: u64) -> String {
    format!("boot-{number}")
}
