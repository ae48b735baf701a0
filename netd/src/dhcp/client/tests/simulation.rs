//! Hundreds of clients and our own server in virtual time, over a link that loses, repeats,
//! delays and reorders, and then heals; the server crashes at any point, and has what it wrote
//! down. A failure prints its seed; `NETD_SIMULATION_SEED`
//! plays that one again, and `NETD_SIMULATION_RUNS` says how many others there are.

mod server_host;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::{SystemTime, UNIX_EPOCH};

use super::*;
use crate::dhcp::client::{ClientId, Interface};
use crate::dhcp::server::{self, ClientKey, ServerConfig};
use crate::random::Random;
use server_host::{Outcome, ServerHost, Turn};

/// How many clients there are, and how many addresses for them.
#[derive(Clone, Copy)]
struct Size {
    guests: usize,
    pool: u32,
    /// Whether the server keeps leases, and crashes.
    crashes: bool,
}

/// Hardly more addresses than clients, so that those that are given up are taken soon.
const CROWD: Size = Size {
    guests: 300,
    pool: 330,
    crashes: false,
};
/// More clients than addresses: each that ends is taken at once.
const SCARCITY: Size = Size {
    guests: 90,
    pool: 60,
    crashes: false,
};
/// A server that crashes every few minutes.
const FRAIL: Size = Size {
    guests: 200,
    pool: 220,
    crashes: true,
};
/// The same with each address in demand.
const FRAIL_AND_SCARCE: Size = Size {
    crashes: true,
    ..SCARCITY
};
const LEASE_TIME: Duration = secs_const(600);
/// For how long the link is bad, and bad things happen.
const TROUBLE: Duration = secs_const(3 * 3600);
/// Within which every client is bound once the link is good: the longest wait of a back-off,
/// of a client that was refused, and of the first message.
const RECOVERY: Duration = secs_const(65 + 64 + 10);
/// How long a datagram is under way at most.
const DELAY: Duration = secs_const(3);
/// For how long one whose address was given back is away: what it sent has arrived by then.
const AWAY: Duration = secs_const(4);

const fn secs_const(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What happens next.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    ToServer(server::Datagram),
    ToGuests(Mac, ServerDatagram),
    /// A client wants to be called.
    Wake(usize),
    /// The end of a look for other holders of an address.
    Verdict(usize, Ipv4Addr, bool),
    /// Something happens to a guest.
    Fate(usize),
    Start(usize),
    LinkUp(usize),
    Server(Turn),
}

struct Guest {
    config: ClientConfig,
    client: Option<Client>,
    /// Its lease file.
    disk: Option<String>,
    /// How far its time of day is from ours, in seconds.
    clock: i64,
    lost: usize,
    /// When it is called.
    due: Option<Instant>,
    /// The address that it uses.
    held: Option<Ipv4Addr>,
}

impl Guest {
    /// The lease that it uses, as the server would say it.
    fn used(&self) -> Option<server::Lease> {
        let lease = self.client.as_ref()?.lease()?;
        Some(server::Lease {
            address: lease.address.ip(),
            client: ClientKey::Reserved(self.config.mac),
            mac: self.config.mac,
            hostname: None,
            until: lease.expires()?,
        })
    }
}

struct World {
    seed: u64,
    random: Random,
    begun: Instant,
    now: Instant,
    steps: BinaryHeap<Reverse<(Instant, u64, usize)>>,
    waiting: BTreeMap<usize, Step>,
    count: usize,
    server: ServerHost,
    guests: Vec<Guest>,
    /// Who uses which address, as clients see it.
    holders: BTreeMap<Ipv4Addr, usize>,
    /// Who used it last.
    last: BTreeMap<Ipv4Addr, usize>,
    /// How often that was another.
    takeovers: usize,
    is_good: bool,
    /// Until when everything is lost.
    outage: Instant,
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let time = self.now - self.begun;
            eprintln!(
                "failed {time:?} into the simulation: NETD_SIMULATION_SEED={}",
                self.seed
            );
        }
    }
}

impl World {
    fn new(seed: u64, size: Size) -> Self {
        let mut config = ServerConfig::new("10.20.0.1/22".parse().unwrap()).unwrap();
        config.limit_pool(10, size.pool).unwrap();
        config.lease_time = LEASE_TIME;
        config.bounds.leases = 2000;
        config.keep = size.crashes;
        let now = Instant::now();
        let mut world = Self {
            seed,
            random: Random::new(seed),
            begun: now,
            now,
            steps: BinaryHeap::new(),
            waiting: BTreeMap::new(),
            count: 0,
            server: ServerHost::new(config, seed, now),
            guests: Vec::new(),
            holders: BTreeMap::new(),
            last: BTreeMap::new(),
            takeovers: 0,
            is_good: false,
            outage: now,
        };
        if size.crashes {
            world.after(secs(600), Step::Server(Turn::Crash));
        }
        for number in 0..size.guests {
            let config = world.guest_config(number);
            world.guests.push(Guest {
                config,
                client: None,
                disk: None,
                clock: 0,
                lost: 0,
                due: None,
                held: None,
            });
            world.after(secs(60), Step::Start(number));
            world.after(secs(3600), Step::Fate(number));
        }
        world
    }

    fn guest_config(&mut self, number: usize) -> ClientConfig {
        let [high, low] = u16::try_from(number).unwrap().to_be_bytes();
        let mac = Mac([2, 0, 0, 1, high, low]);
        let mut config = ClientConfig::new(mac);
        if self.chance(50) {
            // All are copies of one tree.
            config.client_id = ClientId::of_machine(&[3; 16], Interface::Mac(mac));
        }
        if self.chance(50) {
            config.timings = Timings::FAST;
        }
        config.rapid_commit = self.chance(50);
        config.broadcast_flag = self.chance(20);
        config.conflict_detection = self.chance(30);
        config
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.random.next() % 100 < percent
    }

    fn some_time(&mut self, most: Duration) -> Duration {
        self.random.between(Duration::ZERO, most)
    }

    /// At a random time before `most` has passed.
    fn after(&mut self, most: Duration, step: Step) {
        let at = self.now + self.some_time(most);
        self.at(at, step);
    }

    fn at(&mut self, at: Instant, step: Step) {
        // Of two at one time either may be the first.
        self.steps
            .push(Reverse((at, self.random.next(), self.count)));
        self.waiting.insert(self.count, step);
        self.count += 1;
    }

    fn run_until(&mut self, end: Instant) {
        while let Some(Reverse((at, _, id))) = self.steps.peek().copied() {
            if at > end {
                break;
            }
            self.steps.pop();
            let step = self.waiting.remove(&id).unwrap();
            assert!(at >= self.now);
            self.now = at;
            self.take(step);
        }
        self.now = end;
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::ToServer(datagram) => {
                let outcome = self.server.hears(self.now, datagram);
                self.came_of_server(outcome);
            }
            Step::Server(turn) => self.server_turn(turn),
            Step::ToGuests(mac, datagram) => {
                for number in 0..self.guests.len() {
                    if mac == Mac([0xff; 6]) || mac == self.guests[number].config.mac {
                        self.call(number, Input::Datagram(datagram.clone()));
                    }
                }
            }
            Step::Wake(number) if self.guests[number].due == Some(self.now) => {
                self.call(number, Input::Time);
            }
            // It wants to be called at another time by now.
            Step::Wake(_) => {}
            Step::Verdict(number, address, true) => self.call(number, Input::Probed { address }),
            Step::Verdict(number, address, false) => self.call(number, Input::Conflict { address }),
            Step::LinkUp(number) => self.call(number, Input::LinkUp),
            Step::Start(number) if self.guests[number].client.is_none() => self.start(number),
            Step::Start(_) => {}
            Step::Fate(number) => self.fate(number),
        }
    }

    fn came_of_server(&mut self, outcome: Outcome) {
        for transmit in outcome.sent {
            self.sent_by_server(transmit);
        }
        for (time, turn) in outcome.turns {
            self.at(self.now + time, Step::Server(turn));
        }
    }

    fn server_turn(&mut self, turn: Turn) {
        if turn == Turn::Crash {
            if self.is_good || !self.server.is_there() {
                return;
            }
            self.after(secs(600), Step::Server(Turn::Crash));
        }
        let used: Vec<server::Lease> = self.guests.iter().filter_map(Guest::used).collect();
        let outcome = self.server.take(self.now, turn, &used);
        self.came_of_server(outcome);
    }

    fn start(&mut self, number: usize) {
        let seed = self.random.next();
        let wall = self.wall(number);
        let guest = &mut self.guests[number];
        let saved = guest.disk.as_ref();
        let saved = saved.map(|text| SavedLease::from_text(text, wall).unwrap());
        let mut client = Client::new(guest.config.clone(), seed);
        client.start(self.now, saved);
        guest.client = Some(client);
        self.called(number);
    }

    fn wall(&self, number: usize) -> SystemTime {
        let since = 1_000_000_000 + i64::try_from((self.now - self.begun).as_secs()).unwrap();
        UNIX_EPOCH + secs(u64::try_from(since + self.guests[number].clock).unwrap())
    }

    /// Something happens to a guest, while the link is bad.
    fn fate(&mut self, number: usize) {
        if self.is_good {
            return;
        }
        self.after(secs(3600), Step::Fate(number));
        match self.random.next() % 8 {
            // It crashes, and comes back with or without its disk and the right time.
            0..4 => {
                self.guests[number].client = None;
                self.holds(number, None);
                if self.chance(50) {
                    self.guests[number].disk = None;
                }
                if self.chance(30) {
                    let jump = i64::try_from(self.random.next() % 100_000).unwrap();
                    self.guests[number].clock = jump - 50_000;
                }
                self.after(secs(900), Step::Start(number));
            }
            4 => {
                self.call(number, Input::Release);
                self.guests[number].client = None;
                self.guests[number].disk = None;
                let away = AWAY + self.some_time(secs(60));
                self.at(self.now + away, Step::Start(number));
            }
            5 => {
                self.call(number, Input::LinkDown);
                self.after(secs(900), Step::LinkUp(number));
            }
            6 => self.call(number, Input::Renew),
            // Nobody hears anybody.
            _ => self.outage = self.outage.max(self.now + secs(20)),
        }
    }

    fn call(&mut self, number: usize, input: Input) {
        if let Some(client) = &mut self.guests[number].client {
            client.handle(self.now, input);
            self.called(number);
        }
    }

    /// Does what a client wants, and looks at what it has.
    fn called(&mut self, number: usize) {
        while let Some(output) = self.guests[number].client.as_mut().unwrap().poll_output() {
            match output {
                Output::Send(transmit) => self.sent_by_guest(number, &transmit),
                Output::Event(event) => self.told(number, event),
            }
        }
        let client = self.guests[number].client.as_ref().unwrap();
        let due = client.deadline();
        if let Some(due) = due.filter(|_| due != self.guests[number].due) {
            assert!(due > self.now, "a deadline that has passed");
            self.at(due, Step::Wake(number));
        }
        self.guests[number].due = due;
        let lease = self.guests[number].client.as_ref().and_then(Client::lease);
        if let Some(end) = lease.map(|lease| lease.expires().unwrap()) {
            assert!(end > self.now, "an address is used after its end");
        }
        self.holds(number, lease.map(|lease| lease.address.ip()));
    }

    /// A guest uses this address now.
    fn holds(&mut self, number: usize, address: Option<Ipv4Addr>) {
        let before = std::mem::replace(&mut self.guests[number].held, address);
        if before == address {
            return;
        }
        // One whose lease ends at this very moment may have lost it to the next already.
        if let Some(before) = before.filter(|before| self.holders.get(before) == Some(&number)) {
            self.holders.remove(&before);
        }
        let Some(address) = address else { return };
        let last = self.last.insert(address, number);
        self.takeovers += usize::from(last.is_some_and(|last| last != number));
        if let Some(other) = self.holders.insert(address, number) {
            let other = self.guests[other].client.as_ref().and_then(Client::lease);
            let ended = other.is_none_or(|lease| lease.expires().unwrap() <= self.now);
            assert!(ended, "{address} has two holders");
        }
    }

    fn told(&mut self, number: usize, event: Event) {
        match event {
            Event::ToProbe(lease) => {
                let is_free = self.is_good || !self.chance(5);
                let verdict = Step::Verdict(number, lease.address.ip(), is_free);
                self.after(secs(7), verdict);
            }
            Event::Bound(lease) | Event::Renewed { lease, .. } => {
                let wall = self.wall(number);
                let guest = &mut self.guests[number];
                let text = SavedLease::new(&lease, &guest.config, self.now).to_text(wall);
                guest.disk = Some(text);
            }
            Event::Lost { .. } => self.guests[number].lost += 1,
            Event::NoAnswer { stopped } => assert!(!stopped),
            Event::Informed(_) | Event::Ignored { .. } => panic!("{event:?}"),
        }
    }

    fn sent_by_guest(&mut self, number: usize, transmit: &Transmit) {
        let mac = transmit.destination_mac;
        assert!(mac.is_some(), "there is no relay");
        let datagram = server::Datagram {
            port: 1,
            source_mac: self.guests[number].config.mac,
            source: *transmit.source.ip(),
            destination: *transmit.destination.ip(),
            payload: transmit.payload.clone(),
        };
        self.carry(Step::ToServer(datagram));
    }

    fn sent_by_server(&mut self, transmit: server::Transmit) {
        let datagram = ServerDatagram {
            source_mac: SERVER_MAC,
            source: *transmit.source.ip(),
            destination: *transmit.destination.ip(),
            payload: transmit.payload,
        };
        self.carry(Step::ToGuests(transmit.destination_mac, datagram));
    }

    /// What the link does with a datagram.
    fn carry(&mut self, step: Step) {
        if self.is_good {
            return self.after(Duration::from_millis(5), step);
        }
        if self.now < self.outage || self.chance(20) {
            return;
        }
        if self.chance(10) {
            self.after(DELAY, step.clone());
        }
        let delay = if self.chance(70) {
            Duration::from_millis(5)
        } else {
            DELAY
        };
        self.after(delay, step);
    }

    /// The link is good from now on, and nobody crashes any more.
    fn heal(&mut self) {
        self.is_good = true;
        self.outage = self.now;
    }

    /// Everybody is there.
    fn wake_everybody(&mut self) {
        for number in 0..self.guests.len() {
            if self.guests[number].client.is_none() {
                self.start(number);
            }
            self.call(number, Input::LinkUp);
        }
    }
}

fn simulate(seed: u64, size: Size) {
    let mut world = World::new(seed, size);
    world.run_until(world.begun + TROUBLE);
    let trouble: usize = world.guests.iter().map(|guest| guest.lost).sum();
    assert!(
        trouble > size.guests / 2,
        "it was no trouble: {trouble} leases lost"
    );
    assert!(!size.crashes || world.server.crashes() > 10);
    if !world.server.is_there() {
        world.server_turn(Turn::Start);
    }

    world.heal();
    world.wake_everybody();
    world.run_until(world.now + RECOVERY);
    for (number, guest) in world.guests.iter().enumerate() {
        let client = guest.client.as_ref().unwrap();
        assert!(
            client.lease().is_some(),
            "guest {number} is not bound: {client:?}"
        );
    }
    assert_eq!(world.holders.len(), size.guests);

    let lost = |world: &World| world.guests.iter().map(|guest| guest.lost).sum::<usize>();
    let before = lost(&world);
    world.run_until(world.now + LEASE_TIME * 5);
    assert_eq!(lost(&world), before, "a lease was lost on a good link");
    assert_eq!(world.holders.len(), size.guests);
}

/// Has every simulation run, or the one that is asked for.
fn with_seeds(simulate: impl Fn(u64)) {
    let number = |name| {
        let text = std::env::var(name).ok()?;
        Some(text.parse::<u64>().unwrap())
    };
    match number("NETD_SIMULATION_SEED") {
        Some(seed) => simulate(seed),
        None => (1..=number("NETD_SIMULATION_RUNS").unwrap_or(3)).for_each(simulate),
    }
}

#[test]
fn every_client_is_bound_once_the_link_heals() {
    with_seeds(|seed| simulate(seed, CROWD));
}

#[test]
fn a_server_that_crashes_forgets_no_lease() {
    with_seeds(|seed| simulate(seed, FRAIL));
}

#[test]
fn no_address_has_two_holders_where_addresses_are_scarce() {
    with_seeds(|seed| {
        let mut world = World::new(seed, SCARCITY);
        world.run_until(world.begun + TROUBLE * 4);
        assert!(
            world.takeovers > 200,
            "{} addresses changed hands",
            world.takeovers
        );
    });
}

#[test]
fn a_server_that_crashes_gives_nobody_anothers_address() {
    with_seeds(|seed| {
        let mut world = World::new(seed, FRAIL_AND_SCARCE);
        world.run_until(world.begun + TROUBLE * 4);
        assert!(world.takeovers > 100 && world.server.crashes() > 50);
    });
}

/// A run is a function of its seed.
#[test]
fn a_simulation_replays() {
    let run = |seed| {
        let mut world = World::new(seed, FRAIL);
        world.run_until(world.begun + secs(1200));
        let holders: Vec<_> = world
            .holders
            .iter()
            .map(|(address, guest)| (*address, *guest))
            .collect();
        (holders, world.count)
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}
