//! From nothing to an address: INIT, SELECTING, REQUESTING and REBOOTING (RFC 2131,
//! sections 3.1, 3.2, 4.4.1 and 4.4.2), and INFORM (section 3.4).

use std::net::Ipv4Addr;
use std::time::Instant;

use ipnetwork::Ipv4Network;

use super::lease::Lease;
use super::machine::{Attempt, Client, Exchange, Former, Offer, Phase, State};
use super::packet::{Kind, Reply};
use super::request::Question;
use super::settings::Settings;
use super::timers::{decline_wait, refusal_wait};
use super::{Event, Loss};

impl Client {
    /// INIT.
    pub(super) fn begin(&mut self, now: Instant) {
        self.begin_at(now, now);
    }

    fn begin_at(&mut self, now: Instant, at: Instant) {
        self.attempt = Attempt {
            begun: Some(now),
            ..Attempt::default()
        };
        self.state = State::Init(at);
    }

    /// SELECTING: sends a DISCOVER, unless there were enough.
    pub(super) fn discover(&mut self, now: Instant, exchange: Exchange) {
        let sent = self.attempt.discovers;
        if self.config.max_attempts.is_some_and(|most| sent >= most) {
            self.state = State::Stopped;
            return self.tell(Event::NoAnswer { stopped: true });
        }
        let patience = self.config.no_answer_after;
        if patience > 0 && sent >= patience && !self.attempt.is_told {
            self.attempt.is_told = true;
            self.tell(Event::NoAnswer { stopped: false });
        }
        self.attempt.discovers = sent.saturating_add(1);
        let begun = self.attempt.begun.unwrap_or(now);
        let exchange = self.once_more(now, Exchange { begun, ..exchange });
        let wish = self.wish.or(self.config.request_address);
        let wish = wish.filter(|wish| self.shunned != Some(*wish));
        self.send(&exchange, Question::Discover(wish));
        self.state = State::Selecting(exchange);
    }

    /// REQUESTING: takes an offer.
    pub(super) fn select(&mut self, now: Instant, exchange: Exchange, offer: Offer) {
        // A lease counts from the REQUEST, not from the DISCOVER.
        let exchange = Exchange {
            since: now,
            tries: 0,
            ..exchange
        };
        self.request(now, exchange, offer);
    }

    pub(super) fn select_again(&mut self, now: Instant, exchange: Exchange, offer: Offer) {
        if exchange.tries < self.config.timings.request_tries {
            self.request(now, exchange, offer);
        } else {
            self.state = State::Init(now);
        }
    }

    /// RFC 2131, section 4.4.1: the number is "the same as [...] from the server's DHCPOFFER
    /// message", and the seconds are those of the DISCOVER.
    fn request(&mut self, now: Instant, exchange: Exchange, offer: Offer) {
        let exchange = self.waiting(now, exchange);
        let Offer { address, server } = offer;
        self.send(&exchange, Question::Select { address, server });
        self.state = State::Requesting(exchange, offer);
    }

    /// INIT-REBOOT.
    pub(super) fn reboot(&mut self, now: Instant, former: Former) {
        let exchange = self.exchange(now);
        self.ask_to_reboot(now, exchange, former);
    }

    fn ask_to_reboot(&mut self, now: Instant, exchange: Exchange, former: Former) {
        let exchange = self.once_more(now, exchange);
        self.send(&exchange, Question::Reboot(former.address));
        self.state = State::Rebooting(exchange, former);
    }

    pub(super) fn reboot_again(&mut self, now: Instant, exchange: Exchange, former: Former) {
        if exchange.tries < self.config.timings.reboot_tries {
            return self.ask_to_reboot(now, exchange, former);
        }
        // RFC 2131, section 3.2, item 3: "the client MAY choose to use the previously
        // allocated network address [...] for the remainder of the unexpired lease."
        match former.lease.filter(|lease| !lease.has_ended(now)) {
            Some(lease) => self.acknowledged(now, lease),
            None => self.state = State::Init(now),
        }
    }

    /// An ACK came.
    pub(super) fn acknowledged(&mut self, now: Instant, lease: Box<Lease>) {
        match self.take_state() {
            State::Held(before, _) if before.address.ip() == lease.address.ip() => {
                return self.renewed(&before, lease);
            }
            // The server counts the old one as free now.
            State::Held(before, _) => self.tell(Event::Lost {
                address: before.address.ip(),
                why: Loss::Replaced,
            }),
            _ => {}
        }
        if self.config.conflict_detection {
            self.tell(Event::ToProbe(lease.clone()));
            self.state = State::Probing(lease);
        } else {
            self.hold(now, lease);
        }
    }

    /// Nobody else has the address.
    pub(super) fn probed(&mut self, now: Instant, address: Ipv4Addr) {
        match self.take_state() {
            State::Probing(lease) if lease.address.ip() == address => self.hold(now, lease),
            other => self.state = other,
        }
    }

    /// BOUND, from elsewhere.
    fn hold(&mut self, now: Instant, lease: Box<Lease>) {
        debug_assert!(!lease.has_ended(now), "a lease that ends is not begun");
        self.refusals = 0;
        self.shunned = None;
        self.wish = Some(lease.address.ip());
        self.tell(Event::Bound(lease.clone()));
        self.state = State::Held(lease, Phase::Bound);
    }

    /// A NAK came.
    pub(super) fn refused(&mut self, now: Instant, reply: &Reply) {
        let address = match &self.state {
            // Asked was this server alone.
            State::Held(lease, Phase::Renewing(_)) if lease.server != reply.server => return,
            State::Held(lease, _) => Some(lease.address.ip()),
            State::Rebooting(_, former) => Some(former.address),
            State::Requesting(..) => None,
            _ => return,
        };
        self.wish = None;
        self.shunned = address;
        self.refusals = self.refusals.saturating_add(1);
        let at = now + refusal_wait(self.refusals);
        match address {
            Some(address) => {
                self.tell(Event::Lost {
                    address,
                    why: Loss::Nak,
                });
                self.begin_at(now, at);
            }
            None => self.state = State::Init(at),
        }
    }

    /// Another host has the address.
    pub(super) fn conflict(&mut self, now: Instant, address: Ipv4Addr) {
        let lease = match self.take_state() {
            State::Probing(lease) | State::Held(lease, _) if lease.address.ip() == address => lease,
            other => {
                self.state = other;
                return;
            }
        };
        if self.has_link {
            let exchange = self.exchange(now);
            self.send(&exchange, Question::Decline(&lease));
        }
        self.tell(Event::Lost {
            address,
            why: Loss::Declined,
        });
        self.declines = self.declines.saturating_add(1);
        self.wish = None;
        self.shunned = Some(address);
        self.begin_at(now, now + decline_wait(self.declines));
    }

    /// INFORM.
    pub(super) fn ask_to_be_informed(
        &mut self,
        now: Instant,
        exchange: Exchange,
        address: Ipv4Network,
    ) {
        let exchange = self.once_more(now, exchange);
        self.send(&exchange, Question::Inform(address.ip()));
        self.state = State::Informing(exchange, address);
    }

    pub(super) fn inform_again(&mut self, now: Instant, exchange: Exchange, address: Ipv4Network) {
        if exchange.tries < self.config.timings.request_tries {
            self.ask_to_be_informed(now, exchange, address);
        } else {
            self.tell(Event::NoAnswer { stopped: true });
        }
    }

    pub(super) fn informed(&mut self, reply: &Reply, address: Ipv4Addr) {
        if reply.kind == Kind::Ack {
            let settings = Settings::read(&reply.options, address);
            self.tell(Event::Informed(Box::new(settings)));
            self.state = State::Stopped;
        }
    }
}
