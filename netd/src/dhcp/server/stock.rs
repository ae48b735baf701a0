//! Addresses that were looked for on the link ahead of need.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::exchange::Exchange;
use super::leases::ClientKey;
use super::timers::{DEMAND_WINDOW, Expiries, PROBE_HOLDS, PROBE_PATIENCE};

/// The stock is never smaller, unless the pool is.
const STOCK_MIN: usize = 4;
/// How many addresses may turn out to be in use in a second: who answers for all of them
/// does not make it a flood of probes.
const FAILURES_MAX: u32 = 512;
const FAILURES_WINDOW: Duration = Duration::from_secs(1);
/// What part of those who wait may be behind one port.
const PORT_SHARE: usize = 4;

/// Addresses that are known to be free, those that are being looked for, and the clients
/// that wait for one.
#[derive(Debug, Default)]
pub struct Stock {
    /// When a probe has found them to be free.
    ready: HashMap<Ipv4Addr, Instant>,
    ready_ends: Expiries,
    /// When the probe was begun, and who waits for it.
    probing: HashMap<Ipv4Addr, Probe>,
    probing_ends: Expiries,
    /// Probes that nobody waits for.
    unclaimed: Expiries,
    waiting: HashMap<ClientKey, Ipv4Addr>,
    waiting_by_port: HashMap<u32, usize>,
    demand: Demand,
    failures: Failures,
    begun: u64,
}

#[derive(Debug)]
struct Probe {
    since: Instant,
    waiter: Option<Waiter>,
}

/// A client that waits for its address.
#[derive(Debug)]
pub struct Waiter {
    /// Who it is.
    pub client: ClientKey,
    /// Its last DISCOVER.
    pub exchange: Exchange,
}

/// How many addresses were wanted lately.
#[derive(Debug, Default)]
struct Demand {
    since: Option<Instant>,
    now: usize,
    before: usize,
}

/// How many addresses turned out to be in use lately.
#[derive(Debug, Default)]
struct Failures {
    since: Option<Instant>,
    count: u32,
}

impl Stock {
    /// How many addresses are ready or looked for.
    pub fn len(&self) -> usize {
        self.ready.len() + self.probing.len()
    }

    /// Whether `address` is ready or looked for.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        self.is_ready(address) || self.probing.contains_key(&address)
    }

    /// All addresses that are ready or looked for.
    pub fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.ready.keys().chain(self.probing.keys()).copied()
    }

    /// Whether `address` is known to be free.
    pub fn is_ready(&self, address: Ipv4Addr) -> bool {
        self.ready.contains_key(&address)
    }

    /// Takes `address` out, whatever is known of it. Whether it was there.
    pub fn take(&mut self, address: Ipv4Addr) -> bool {
        if let Some(at) = self.ready.remove(&address) {
            self.ready_ends.remove(at + PROBE_HOLDS, address);
            return true;
        }
        self.end(address).is_some()
    }

    /// Takes the address that was probed first.
    pub fn pop(&mut self) -> Option<Ipv4Addr> {
        let address = self.ready_ends.first()?;
        self.take(address).then_some(address)
    }

    /// Notes that somebody new wanted an address.
    pub fn want(&mut self, now: Instant) {
        self.demand.at(now);
        self.demand.now += 1;
    }

    /// How many probes are to be begun, for a stock of `most` at most.
    pub fn missing(&mut self, now: Instant, most: usize) -> usize {
        if self.failures.are_too_many(now) {
            return 0;
        }
        self.demand.at(now);
        let wanted = self.demand.now.max(self.demand.before);
        let wanted = wanted.max(STOCK_MIN).min(most);
        wanted.saturating_sub(self.ready.len() + self.unclaimed.len())
    }

    /// A number that no probe had before.
    pub fn number(&self) -> u64 {
        self.begun
    }

    /// Notes that `address` is looked for.
    pub fn begin(&mut self, now: Instant, address: Ipv4Addr) {
        let probe = Probe {
            since: now,
            waiter: None,
        };
        self.begun += 1;
        self.probing.insert(address, probe);
        self.probing_ends.insert(now + PROBE_PATIENCE, address);
        self.unclaimed.insert(now, address);
    }

    /// The oldest probe that nobody waits for.
    pub fn unclaimed(&self) -> Option<Ipv4Addr> {
        self.unclaimed.first()
    }

    /// Whether a client behind `port` may wait, when `most` may wait in all.
    pub fn has_room(&mut self, now: Instant, port: u32, most: usize) -> bool {
        if self.failures.are_too_many(now) {
            return false;
        }
        let behind = self.waiting_by_port.get(&port).copied().unwrap_or(0);
        self.waiting.len() < most && behind < (most / PORT_SHARE).max(1)
    }

    /// Has a client wait for the probe of `address`, or with what it asks for now, if it
    /// waits already. Whether it waits.
    pub fn wait(&mut self, address: Ipv4Addr, waiter: Waiter) -> bool {
        let Some(probe) = self.probing.get_mut(&address) else {
            return false;
        };
        if probe.waiter.is_none() {
            self.unclaimed.remove(probe.since, address);
            self.waiting.insert(waiter.client.clone(), address);
            *self
                .waiting_by_port
                .entry(waiter.exchange.port)
                .or_default() += 1;
            probe.waiter = Some(waiter);
        }
        true
    }

    /// Has a client that waits do so with what it asks for now. Whether it waits.
    pub fn wait_on(&mut self, client: &ClientKey, exchange: &Exchange) -> bool {
        let address = self.waiting.get(client);
        let probe = address.and_then(|address| self.probing.get_mut(address));
        let Some(waiter) = probe.and_then(|probe| probe.waiter.as_mut()) else {
            return false;
        };
        // Where it asks from is where it counts.
        if waiter.exchange.port == exchange.port {
            waiter.exchange = exchange.clone();
        }
        true
    }

    /// Takes what a probe has found: nothing, if there is no such probe; else who waits.
    pub fn answered(
        &mut self,
        now: Instant,
        address: Ipv4Addr,
        free: bool,
    ) -> Option<Option<Waiter>> {
        let probe = self.end(address)?;
        if !free {
            self.failures.add(now);
        } else if probe.waiter.is_none() {
            self.ready.insert(address, now);
            self.ready_ends.insert(now + PROBE_HOLDS, address);
        }
        Some(probe.waiter)
    }

    /// Takes out an address of which is known no more by `now`.
    pub fn expire(&mut self, now: Instant) -> Option<Ipv4Addr> {
        let address = self
            .ready_ends
            .due(now)
            .or_else(|| self.probing_ends.due(now))?;
        self.take(address).then_some(address)
    }

    /// When the next one does.
    pub fn next_end(&self) -> Option<Instant> {
        let ends = [
            self.ready_ends.next(),
            self.probing_ends.next(),
            self.failures.end(),
        ];
        ends.into_iter().flatten().min()
    }

    fn end(&mut self, address: Ipv4Addr) -> Option<Probe> {
        let probe = self.probing.remove(&address)?;
        self.probing_ends
            .remove(probe.since + PROBE_PATIENCE, address);
        self.unclaimed.remove(probe.since, address);
        if let Some(waiter) = &probe.waiter {
            self.waiting.remove(&waiter.client);
            let port = waiter.exchange.port;
            if let Some(behind) = self.waiting_by_port.get_mut(&port) {
                *behind = behind.saturating_sub(1);
                if *behind == 0 {
                    self.waiting_by_port.remove(&port);
                }
            }
        }
        Some(probe)
    }
}

impl Demand {
    fn at(&mut self, now: Instant) {
        let passed = self.since.map(|since| now.saturating_duration_since(since));
        if passed.is_some_and(|passed| passed < DEMAND_WINDOW) {
            return;
        }
        let is_next = passed.is_some_and(|passed| passed < DEMAND_WINDOW * 2);
        self.before = if is_next { self.now } else { 0 };
        self.now = 0;
        self.since = Some(now);
    }
}

impl Failures {
    fn add(&mut self, now: Instant) {
        self.forget(now);
        self.since = self.since.or(Some(now));
        self.count += 1;
    }

    fn are_too_many(&mut self, now: Instant) -> bool {
        self.forget(now);
        self.count >= FAILURES_MAX
    }

    fn forget(&mut self, now: Instant) {
        if self
            .since
            .is_some_and(|since| since + FAILURES_WINDOW <= now)
        {
            *self = Self::default();
        }
    }

    /// When they are forgotten, if that changes anything.
    fn end(&self) -> Option<Instant> {
        let since = self.since.filter(|_| self.count >= FAILURES_MAX)?;
        Some(since + FAILURES_WINDOW)
    }
}
