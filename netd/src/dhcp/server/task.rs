//! The task that runs a server at a link.

use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use registry::Mac;
use tokio::sync::{Notify, oneshot};

use super::durable::Durable;
use super::{Event, Input, Lease, Output, Server, ServerConfig, Transmit};
use crate::dhcp_wire::{Port, Received};
use crate::leases::Commits;

/// How many requests are handled before it is looked at what else there is to do.
const TOGETHER: u32 = 32;
/// How often losses on a link are logged at most.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// What a running server is told by its [`Handle`].
#[derive(Debug, Default)]
struct Orders {
    config: Option<Box<ServerConfig>>,
    /// What is kept for whom since the configuration was given.
    reserved: Vec<(Mac, Option<Ipv4Addr>)>,
    /// Ports that are gone.
    gone: Vec<u32>,
    leases: Vec<oneshot::Sender<Vec<Lease>>>,
    /// What probes have found, and whether the address is free.
    probed: Vec<(Ipv4Addr, bool)>,
    stop: bool,
}

/// By this a running server is told what to do. It ends when this is dropped.
#[derive(Debug, Default)]
pub struct Handle {
    orders: Arc<(Mutex<Orders>, Notify)>,
}

/// The server's end of a [`Handle`].
#[derive(Debug)]
pub struct Told(Arc<(Mutex<Orders>, Notify)>);

impl Handle {
    /// The end for [`serve`].
    #[must_use]
    pub fn told(&self) -> Told {
        Told(self.orders.clone())
    }

    /// Has the server hand this out from now on; see [`Server::set_config`].
    pub fn set_config(&self, config: ServerConfig) {
        self.order(|orders| {
            orders.config = Some(Box::new(config));
            orders.reserved.clear();
        });
    }

    /// Has the server keep an address for whatever asks from a MAC address, or none any
    /// more; see [`Server::reserve`].
    pub fn reserve(&self, mac: Mac, address: Option<Ipv4Addr>) {
        self.order(|orders| orders.reserved.push((mac, address)));
    }

    /// Tells that a port is gone; see [`Server::forget_port`].
    pub fn forget_port(&self, port: u32) {
        self.order(|orders| orders.gone.push(port));
    }

    /// Tells what a probe has found; see [`Surroundings::probe`].
    pub fn probed(&self, address: Ipv4Addr, free: bool) {
        self.order(|orders| orders.probed.push((address, free)));
    }

    /// The leases that clients have, by address, once the server answers; an error if it
    /// has ended.
    #[must_use]
    pub fn leases(&self) -> oneshot::Receiver<Vec<Lease>> {
        let (answer, leases) = oneshot::channel();
        self.order(|orders| orders.leases.push(answer));
        leases
    }

    fn order(&self, change: impl FnOnce(&mut Orders)) {
        let (orders, new) = &*self.orders;
        change(&mut lock(orders));
        new.notify_one();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.order(|orders| orders.stop = true);
    }
}

impl Told {
    /// Waits for orders, and takes them.
    async fn next(&self) -> Orders {
        let (orders, new) = &*self.0;
        new.notified().await;
        std::mem::take(&mut *lock(orders))
    }
}

/// Whoever panicked with the lock had not begun to change anything.
fn lock(orders: &Mutex<Orders>) -> MutexGuard<'_, Orders> {
    orders.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a server has around it, beside its link. Nothing here may block.
pub struct Surroundings<'a> {
    /// Is told what happens, at once.
    pub tell: Box<dyn FnMut(Event) + 'a>,
    /// Looks for an address on the link, and has the answer given to [`Handle::probed`]. If
    /// there is none, all addresses count as free.
    pub probe: Option<Box<dyn FnMut(Ipv4Addr) + 'a>>,
    /// Where leases are kept ([`ServerConfig::keep`]).
    pub commits: Option<Commits>,
}

impl std::fmt::Debug for Surroundings<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surroundings")
            .field("commits", &self.commits)
            .finish_non_exhaustive()
    }
}

/// Runs `server` at `port` until its handle is dropped, with nothing kept and nothing
/// probed; see [`serve_with`].
pub fn serve<'a>(
    port: &'a Port,
    server: Server,
    told: Told,
    tell: impl FnMut(Event) + 'a,
) -> impl Future<Output = Server> + 'a {
    let surroundings = Surroundings {
        tell: Box::new(tell),
        probe: None,
        commits: None,
    };
    serve_with(port, server, told, surroundings)
}

/// Runs `server` at `port` until its handle is dropped, and gives it back with its
/// leases.
///
/// A link cannot make it do more than its bounds: when its messages of a second
/// are used up, nothing is read, and what does not fit the small room for those that wait
/// is dropped. A link that goes down or away ends nothing; whoever owns the link says stop.
pub fn serve_with<'a>(
    port: &'a Port,
    server: Server,
    told: Told,
    surroundings: Surroundings<'a>,
) -> impl Future<Output = Server> + 'a {
    // A future has room for each of its steps: without this for the server several times.
    let server = Box::new(server);
    async move { *run(port, server, told, surroundings).await }
}

async fn run(
    port: &Port,
    server: Box<Server>,
    told: Told,
    surroundings: Surroundings<'_>,
) -> Box<Server> {
    let Surroundings {
        tell,
        probe,
        commits,
    } = surroundings;
    let mut link = Link {
        port,
        server,
        tell,
        probe,
        durable: Durable::new(commits),
        losses: Losses::default(),
    };
    // It begins to look for addresses.
    link.handle(Input::Time);
    let mut pace = Pace::new(Instant::now());
    loop {
        link.flush();
        let now = Instant::now();
        let rate = link.server.config().bounds.queries_per_second;
        let pause = pace.pause(now, rate);
        if pause.is_some() {
            link.losses.throttled = true;
        }
        tokio::select! {
            biased;
            orders = told.next() => {
                if orders.stop {
                    return link.server;
                }
                link.obey(orders);
            }
            () = link.durable.next() => {}
            () = at(link.server.deadline()) => link.handle(Input::Time),
            () = at(pause.map(|pause| now + pause)), if pause.is_some() => {}
            received = link.port.recv(), if pause.is_none() => {
                pace.take(now, rate);
                link.receive(received);
                // What waits with it costs less together.
                for _ in 1..TOGETHER {
                    if pace.pause(now, rate).is_some() {
                        break;
                    }
                    let Some(received) = link.port.try_recv() else {
                        break;
                    };
                    pace.take(now, rate);
                    link.receive(Ok(received));
                }
            }
        }
        link.report();
    }
}

/// Waits until then; for ever, if there is no time given.
async fn at(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when.into()).await,
        None => std::future::pending().await,
    }
}

/// A server with its surroundings.
struct Link<'a, 'b> {
    port: &'a Port,
    server: Box<Server>,
    tell: Box<dyn FnMut(Event) + 'b>,
    probe: Option<Box<dyn FnMut(Ipv4Addr) + 'b>>,
    durable: Durable,
    losses: Losses,
}

impl Link<'_, '_> {
    fn obey(&mut self, orders: Orders) {
        if let Some(config) = orders.config {
            self.server.set_config(Instant::now(), *config);
        }
        for (mac, address) in orders.reserved {
            if let Err(error) = self.server.reserve(Instant::now(), mac, address) {
                tracing::error!("no DHCP for {mac}: {error}");
            }
        }
        for port in orders.gone {
            self.server.forget_port(port);
        }
        for (address, free) in orders.probed {
            self.handle(Input::Probed { address, free });
        }
        for answer in orders.leases {
            // Who has stopped waiting for the answer does not need it.
            drop(answer.send(self.server.leases().cloned().collect()));
        }
    }

    fn receive(&mut self, received: io::Result<Received>) {
        match received {
            Ok(Received::Datagram(datagram)) => self.handle(Input::Datagram(datagram)),
            Ok(Received::Damaged(error)) => {
                tracing::debug!(ifindex = self.port.ifindex(), %error, "frame ignored");
            }
            Err(error) => {
                tracing::debug!(ifindex = self.port.ifindex(), %error, "cannot receive DHCP");
            }
        }
    }

    fn handle(&mut self, input: Input) {
        self.server.handle(Instant::now(), input);
    }

    fn flush(&mut self) {
        while let Some(transmit) = self.durable.release() {
            self.send(&transmit);
        }
        while let Some(output) = self.server.poll_output() {
            match output {
                Output::Send(transmit) => self.send(&transmit),
                Output::SendKept(transmit) => self.send_kept(transmit),
                Output::Keep(change) => self.durable.keep(change),
                Output::Probe { address } => self.look_for(address),
                Output::Event(event) => (self.tell)(event),
            }
        }
        self.durable.start();
    }

    fn send_kept(&mut self, transmit: Transmit) {
        match self.durable.hold(transmit) {
            Ok(Some(transmit)) => self.send(&transmit),
            Ok(None) => {}
            Err(_) => self.losses.replies += 1,
        }
    }

    fn look_for(&mut self, address: Ipv4Addr) {
        match &mut self.probe {
            Some(probe) => probe(address),
            None => self.handle(Input::Probed {
                address,
                free: true,
            }),
        }
    }

    /// A reply that cannot be sent is lost as on any wire: the client asks again.
    fn send(&mut self, transmit: &Transmit) {
        if let Err(error) = self.port.send(transmit) {
            self.losses.replies += 1;
            tracing::debug!(ifindex = self.port.ifindex(), %error, "cannot send a DHCP reply");
        }
    }

    fn report(&mut self) {
        if !self.losses.is_due(Instant::now()) {
            return;
        }
        let losses = std::mem::take(&mut self.losses);
        self.losses.last_report = Some(Instant::now());
        tracing::warn!(
            ifindex = self.port.ifindex(),
            requests = self.port.take_drops(),
            replies = losses.replies,
            "more DHCP messages on a link than its limit: dropped"
        );
    }
}

/// What was lost since the last report.
#[derive(Debug, Default)]
struct Losses {
    throttled: bool,
    replies: u64,
    last_report: Option<Instant>,
}

impl Losses {
    fn is_due(&self, now: Instant) -> bool {
        let anything = self.throttled || self.replies > 0;
        anything
            && self
                .last_report
                .is_none_or(|last| now >= last + REPORT_INTERVAL)
    }
}

/// How many messages may be handled now: a bucket that fills at the allowed rate
/// and holds a quarter of a second's worth.
#[derive(Debug)]
struct Pace {
    /// When the bucket will be full.
    full_at: Instant,
}

impl Pace {
    fn new(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// How long no message may be handled; nothing, if one may be now.
    fn pause(&self, now: Instant, per_second: u32) -> Option<Duration> {
        let rate = per_second.max(1);
        let missing = self.full_at.saturating_duration_since(now);
        let wanted = missing + share(rate);
        wanted
            .checked_sub(share(rate) * (rate / 4).max(1))
            .filter(|pause| !pause.is_zero())
    }

    fn take(&mut self, now: Instant, per_second: u32) {
        self.full_at = self.full_at.max(now) + share(per_second.max(1));
    }
}

/// The time that one message stands for.
fn share(rate: u32) -> Duration {
    Duration::from_secs(1) / rate
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handled(pace: &mut Pace, from: Instant, seconds: u32, rate: u32) -> u32 {
        let end = from + Duration::from_secs(seconds.into());
        let (mut now, mut count) = (from, 0);
        while now < end {
            match pace.pause(now, rate) {
                Some(pause) => now += pause,
                None => {
                    pace.take(now, rate);
                    count += 1;
                }
            }
        }
        count
    }

    #[test]
    fn a_flood_is_held_to_the_rate() {
        let start = Instant::now();
        for rate in [1, 3, 200, 1000] {
            let mut pace = Pace::new(start);
            let count = handled(&mut pace, start, 10, rate);
            assert!(
                (rate * 10..=rate * 10 + rate / 4 + 1).contains(&count),
                "{rate}: {count}"
            );
        }
    }

    #[test]
    fn a_quiet_link_is_answered_at_once() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        for step in 0..100 {
            let now = start + Duration::from_secs(step);
            for _ in 0..50 {
                assert_eq!(pace.pause(now, 200), None);
                pace.take(now, 200);
            }
        }
    }
}
