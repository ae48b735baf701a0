//! The client's state machine: its states, and what comes in and goes out.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use ipnetwork::Ipv4Network;

use super::config::ClientConfig;
use super::lease::{Lease, SavedLease};
use super::packet::{Asked, Kind, PacketError, Reply};
use super::request::{Head, Question, transmit};
use super::{Deadline, Event, Input, Loss, Output, ServerDatagram};
use crate::random::Random;

/// For how long messages are sent with one number. An answer to it may be to the first of
/// them, and so a lease counts from that.
const XID_KEPT: Duration = Duration::from_secs(10);

/// A DHCP client for one link, without I/O and without a clock.
#[derive(Debug)]
pub struct Client {
    pub(super) config: ClientConfig,
    pub(super) random: Random,
    pub(super) state: State,
    pub(super) has_link: bool,
    pub(super) attempt: Attempt,
    /// How often servers said no since an address was had last.
    pub(super) refusals: u32,
    /// How often an address was in use since a lease was renewed last.
    pub(super) declines: u32,
    /// The address that it had, to ask for it again.
    pub(super) wish: Option<Ipv4Addr>,
    /// The address that it last could not have, not to ask for it again.
    pub(super) shunned: Option<Ipv4Addr>,
    outputs: VecDeque<Output>,
}

/// What it has done to get an address.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Attempt {
    /// Since when.
    pub begun: Option<Instant>,
    /// How many DISCOVERs were sent.
    pub discovers: u32,
    /// Whether it was told that there is no answer.
    pub is_told: bool,
}

/// The states of RFC 2131, figure 5, and those that it has no name for.
#[derive(Debug)]
pub(super) enum State {
    /// Nothing is to be done.
    Stopped,
    /// INIT: the first DISCOVER is sent at this time.
    Init(Instant),
    /// SELECTING.
    Selecting(Exchange),
    /// REQUESTING.
    Requesting(Exchange, Offer),
    /// REBOOTING, and INIT-REBOOT while the link is down.
    Rebooting(Exchange, Former),
    /// The address is leased, but another host may have it.
    Probing(Box<Lease>),
    /// The address is in use.
    Held(Box<Lease>, Phase),
    /// The address was set by hand, and the rest is asked for.
    Informing(Exchange, Ipv4Network),
}

/// What is done about an address in use.
#[derive(Debug)]
pub(super) enum Phase {
    /// BOUND.
    Bound,
    /// RENEWING.
    Renewing(Exchange),
    /// REBINDING.
    Rebinding(Exchange),
    /// The link was away; as REBOOTING, but with the address in use.
    Verifying(Exchange),
}

/// An offer that was taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offer {
    pub address: Ipv4Addr,
    pub server: Ipv4Addr,
}

/// An address from before.
#[derive(Debug)]
pub(super) struct Former {
    pub address: Ipv4Addr,
    /// What may be used if nobody confirms it.
    pub lease: Option<Box<Lease>>,
}

/// A question, asked until somebody answers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exchange {
    pub xid: u32,
    /// When a message with this number was sent first.
    pub since: Instant,
    /// Since when the client has been at it.
    pub begun: Instant,
    /// For how many seconds that had been when the last message was sent.
    pub secs: u16,
    /// How often it was asked.
    pub tries: u32,
    /// How long an answer is waited for.
    pub next: Instant,
}

impl Client {
    /// A client that has not started. `seed` gives the numbers of its exchanges and varies
    /// its waits: it should be random, or clients that start together go on together.
    #[must_use]
    pub fn new(config: ClientConfig, seed: u64) -> Self {
        Self {
            config,
            random: Random::new(seed),
            state: State::Stopped,
            has_link: true,
            attempt: Attempt::default(),
            refusals: 0,
            declines: 0,
            wish: None,
            shunned: None,
            outputs: VecDeque::new(),
        }
    }

    /// How it behaves.
    #[must_use]
    pub fn config(&self) -> &ClientConfig {
        &self.config
    }

    /// Starts, or starts afresh. With a saved lease that is this client's and has not ended
    /// it asks whether that is still good, else for a new one, at best with the same
    /// address. What it held it forgets, and says so nowhere. The link is taken to be up.
    pub fn start(&mut self, now: Instant, saved: Option<SavedLease>) {
        self.has_link = true;
        self.refusals = 0;
        self.declines = 0;
        self.shunned = None;
        let saved = saved.filter(|saved| saved.is_of(&self.config));
        self.wish = saved.as_ref().map(|saved| saved.address.ip());
        self.attempt = Attempt {
            begun: Some(now),
            ..Attempt::default()
        };
        match saved.filter(|saved| !saved.has_ended()) {
            Some(saved) => {
                let address = saved.address.ip();
                let keep = self.config.keep_unconfirmed;
                let lease = if keep { saved.restore(now) } else { None };
                let lease = lease.map(Box::new);
                self.reboot(now, Former { address, lease });
            }
            None => {
                let at = self.config.timings.start(now, &mut self.random);
                self.state = State::Init(at);
            }
        }
        self.run(now);
    }

    /// Asks, instead of [`Client::start`], for everything that goes with an address which
    /// was set by other means (RFC 2131, section 3.4). [`Event::Informed`] brings it, and
    /// the client stops; so it does after [`Event::NoAnswer`].
    pub fn inform(&mut self, now: Instant, address: Ipv4Network) {
        self.has_link = true;
        let exchange = self.exchange(now);
        self.ask_to_be_informed(now, exchange, address);
    }

    /// What may be used now.
    #[must_use]
    pub fn lease(&self) -> Option<&Lease> {
        match &self.state {
            State::Held(lease, _) => Some(lease),
            _ => None,
        }
    }

    /// When the client wants to be called, at the latest with [`Input::Time`].
    #[must_use]
    pub fn deadline(&self) -> Deadline {
        let (end, action) = match &self.state {
            State::Stopped => (None, None),
            State::Init(at) => (None, Some(*at)),
            State::Selecting(exchange)
            | State::Requesting(exchange, _)
            | State::Rebooting(exchange, _)
            | State::Informing(exchange, _) => (None, Some(exchange.next)),
            State::Probing(lease) => (lease.expires(), None),
            State::Held(lease, phase) => (lease.expires(), phase.deadline(lease)),
        };
        let action = action.filter(|_| self.has_link);
        [end, action].into_iter().flatten().min()
    }

    /// The next thing to be done, until there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Takes what happened at `now`. Never panics, whatever bytes a datagram has.
    pub fn handle(&mut self, now: Instant, input: Input) {
        self.run(now);
        match input {
            Input::Time => {}
            Input::Datagram(datagram) if self.has_link => self.datagram(now, &datagram),
            Input::Datagram(_) => {}
            Input::LinkUp => self.link_up(now),
            Input::LinkDown => self.link_down(now),
            Input::Conflict { address } => self.conflict(now, address),
            Input::Probed { address } => self.probed(now, address),
            Input::Release => self.release(now),
            Input::Renew => self.renew_early(now),
        }
        self.run(now);
    }

    /// Does what is due.
    fn run(&mut self, now: Instant) {
        // Each of these steps sets a deadline that is later, or leads towards BOUND or
        // INIT, from where the next one does: there are a few at most.
        for _ in 0..8 {
            if self.deadline().is_none_or(|due| due > now) {
                return;
            }
            match self.take_state() {
                State::Stopped => {}
                State::Init(_) => {
                    let exchange = self.exchange(now);
                    self.discover(now, exchange);
                }
                State::Selecting(exchange) => self.discover(now, exchange),
                State::Requesting(exchange, offer) => self.select_again(now, exchange, offer),
                State::Rebooting(exchange, former) => self.reboot_again(now, exchange, former),
                State::Probing(lease) => self.lose(now, lease.address.ip(), Loss::Expired),
                State::Held(lease, phase) => self.keep(now, lease, phase),
                State::Informing(exchange, address) => self.inform_again(now, exchange, address),
            }
        }
    }

    fn datagram(&mut self, now: Instant, datagram: &ServerDatagram) {
        let Some(exchange) = self.open_exchange() else {
            return;
        };
        let client_id = self.config.client_id();
        let asked = Asked {
            xid: exchange.xid,
            mac: self.config.mac,
            client_id: &client_id,
        };
        match Reply::parse(&datagram.payload, asked)
            .and_then(|reply| self.reply(now, datagram, &reply, exchange))
        {
            Ok(()) | Err(PacketError::NotForUs) => {}
            Err(reason) => self.tell(Event::Ignored {
                source_mac: datagram.source_mac,
                reason,
            }),
        }
    }

    /// The question to which there is no answer yet.
    fn open_exchange(&self) -> Option<Exchange> {
        match &self.state {
            State::Selecting(exchange)
            | State::Requesting(exchange, _)
            | State::Rebooting(exchange, _)
            | State::Informing(exchange, _)
            | State::Held(
                _,
                Phase::Renewing(exchange) | Phase::Rebinding(exchange) | Phase::Verifying(exchange),
            ) => Some(*exchange),
            State::Stopped | State::Init(_) | State::Probing(_) | State::Held(_, Phase::Bound) => {
                None
            }
        }
    }

    /// Takes a message that has the right number, by the state.
    fn reply(
        &mut self,
        now: Instant,
        datagram: &ServerDatagram,
        reply: &Reply,
        exchange: Exchange,
    ) -> Result<(), PacketError> {
        if let State::Informing(_, address) = self.state {
            self.informed(reply, address.ip());
            return Ok(());
        }
        match (reply.kind, self.server_asked()) {
            // The other servers' offers were declined by taking this one's.
            (_, Some(server)) if server != reply.server => return Ok(()),
            (Kind::Nak, _) => {
                self.refused(now, reply);
                return Ok(());
            }
            (Kind::Offer, _) if !self.is_selecting() => return Ok(()),
            (Kind::Ack, _) if self.is_selecting() && !self.takes_at_once(reply) => return Ok(()),
            _ => {}
        }
        let lease = Lease::read(reply, datagram, exchange.since, &mut self.random)?;
        if reply.kind == Kind::Offer {
            let (address, server) = (lease.address.ip(), lease.server);
            self.select(now, exchange, Offer { address, server });
        } else if !lease.has_ended(now) {
            self.acknowledged(now, Box::new(lease));
        }
        Ok(())
    }

    pub(super) fn is_selecting(&self) -> bool {
        matches!(self.state, State::Selecting(_))
    }

    fn takes_at_once(&self, reply: &Reply) -> bool {
        self.config.rapid_commit && reply.is_rapid()
    }

    /// The only server whose answer counts.
    fn server_asked(&self) -> Option<Ipv4Addr> {
        match &self.state {
            State::Requesting(_, offer) => Some(offer.server),
            _ => None,
        }
    }

    fn link_up(&mut self, now: Instant) {
        if std::mem::replace(&mut self.has_link, true) {
            return;
        }
        match self.take_state() {
            State::Stopped => {}
            State::Init(_) | State::Selecting(_) | State::Requesting(..) => self.begin(now),
            State::Rebooting(_, former) => self.reboot(now, former),
            State::Probing(lease) => self.state = State::Probing(lease),
            State::Held(lease, _) => self.verify(now, lease),
            State::Informing(_, address) => self.inform(now, address),
        }
    }

    fn link_down(&mut self, now: Instant) {
        if !std::mem::replace(&mut self.has_link, false) {
            return;
        }
        self.state = match self.take_state() {
            // Nobody can say now whether the address is free: it is asked for again, and
            // probed again.
            State::Probing(lease) => {
                let (address, lease) = (lease.address.ip(), None);
                self.wish = Some(address);
                State::Rebooting(self.exchange(now), Former { address, lease })
            }
            other => other,
        };
    }

    pub(super) fn take_state(&mut self) -> State {
        std::mem::replace(&mut self.state, State::Stopped)
    }

    /// An exchange of which nothing is sent yet.
    pub(super) fn exchange(&mut self, now: Instant) -> Exchange {
        Exchange {
            xid: self.xid(),
            since: now,
            begun: now,
            secs: 0,
            tries: 0,
            next: now,
        }
    }

    fn xid(&mut self) -> u32 {
        let [a, b, c, d, ..] = self.random.next().to_be_bytes();
        u32::from_be_bytes([a, b, c, d])
    }

    /// The exchange with one more message sent now: with the same number while that is
    /// young, since answers may be on their way, and with the seconds since it began.
    pub(super) fn once_more(&mut self, now: Instant, exchange: Exchange) -> Exchange {
        let is_old = now.saturating_duration_since(exchange.since) >= XID_KEPT;
        let (xid, since) = if exchange.tries == 0 || is_old {
            (self.xid(), now)
        } else {
            (exchange.xid, exchange.since)
        };
        let secs = now.saturating_duration_since(exchange.begun).as_secs();
        let secs = u16::try_from(secs).unwrap_or(u16::MAX);
        Exchange {
            xid,
            since,
            secs,
            ..self.waiting(now, exchange)
        }
    }

    /// The exchange with one more message sent now, and nothing else changed.
    pub(super) fn waiting(&mut self, now: Instant, exchange: Exchange) -> Exchange {
        let tries = exchange.tries.saturating_add(1);
        let wait = self.config.timings.back_off(tries, &mut self.random);
        Exchange {
            tries,
            next: now + wait,
            ..exchange
        }
    }

    pub(super) fn send(&mut self, exchange: &Exchange, question: Question<'_>) {
        let head = Head {
            xid: exchange.xid,
            secs: exchange.secs,
        };
        match transmit(&self.config, head, question) {
            Ok(transmit) => self.outputs.push_back(Output::Send(transmit)),
            Err(error) => tracing::error!(%error, "cannot write a DHCP message"),
        }
    }

    pub(super) fn tell(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }
}

impl Phase {
    fn deadline(&self, lease: &Lease) -> Deadline {
        match self {
            Self::Bound => lease.renewal(),
            Self::Renewing(exchange) => {
                let t2 = lease.rebinding();
                Some(t2.map_or(exchange.next, |t2| t2.min(exchange.next)))
            }
            Self::Rebinding(exchange) | Self::Verifying(exchange) => Some(exchange.next),
        }
    }
}
