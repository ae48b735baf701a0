//! With an address, until it is lost: BOUND, RENEWING and REBINDING (RFC 2131, sections
//! 4.4.5 and 4.4.6).

use std::net::Ipv4Addr;
use std::time::Instant;

use super::lease::Lease;
use super::machine::{Client, Exchange, Phase, State};
use super::request::Question;
use super::{Event, Loss};

/// How often more time for a lease is asked for that needs none.
const IDLE_TRIES: u32 = 4;

impl Client {
    /// Does what is due for an address in use.
    pub(super) fn keep(&mut self, now: Instant, lease: Box<Lease>, phase: Phase) {
        if lease.has_ended(now) {
            return self.lose(now, lease.address.ip(), Loss::Expired);
        }
        match phase {
            Phase::Bound => {
                let exchange = self.exchange(now);
                self.renew(now, lease, exchange);
            }
            Phase::Renewing(exchange) => self.renew(now, lease, exchange),
            Phase::Rebinding(exchange) => self.rebind(now, lease, exchange),
            Phase::Verifying(exchange) => self.verify_again(now, lease, exchange),
        }
    }

    /// RENEWING.
    fn renew(&mut self, now: Instant, lease: Box<Lease>, exchange: Exchange) {
        let until = lease.rebinding();
        match until {
            Some(until) if until <= now => return self.rebind(now, lease, exchange),
            None if exchange.tries >= IDLE_TRIES => {
                self.state = State::Held(lease, Phase::Bound);
                return;
            }
            _ => {}
        }
        let exchange = self.once_more(now, exchange);
        let next = now + self.config.timings.renewal(now, until);
        self.send(&exchange, Question::Renew(&lease));
        self.state = State::Held(lease, Phase::Renewing(Exchange { next, ..exchange }));
    }

    /// REBINDING.
    fn rebind(&mut self, now: Instant, lease: Box<Lease>, exchange: Exchange) {
        let exchange = self.once_more(now, exchange);
        let next = now + self.config.timings.renewal(now, lease.expires());
        self.send(&exchange, Question::Rebind(&lease));
        self.state = State::Held(lease, Phase::Rebinding(Exchange { next, ..exchange }));
    }

    /// The link has come back, maybe another one.
    pub(super) fn verify(&mut self, now: Instant, lease: Box<Lease>) {
        let exchange = self.exchange(now);
        self.ask_to_verify(now, lease, exchange);
    }

    fn ask_to_verify(&mut self, now: Instant, lease: Box<Lease>, exchange: Exchange) {
        let exchange = self.once_more(now, exchange);
        self.send(&exchange, Question::Reboot(lease.address.ip()));
        self.state = State::Held(lease, Phase::Verifying(exchange));
    }

    fn verify_again(&mut self, now: Instant, lease: Box<Lease>, exchange: Exchange) {
        if exchange.tries < self.config.timings.reboot_tries {
            self.ask_to_verify(now, lease, exchange);
        } else {
            self.state = State::Held(lease, Phase::Bound);
        }
    }

    /// BOUND again.
    pub(super) fn renewed(&mut self, before: &Lease, lease: Box<Lease>) {
        self.refusals = 0;
        self.declines = 0;
        self.tell(Event::Renewed {
            changes: lease.changes_since(before),
            lease: lease.clone(),
        });
        self.state = State::Held(lease, Phase::Bound);
    }

    /// Somebody wants the lease renewed now.
    pub(super) fn renew_early(&mut self, now: Instant) {
        if !self.has_link {
            return;
        }
        match self.take_state() {
            State::Held(lease, Phase::Bound) => self.keep(now, lease, Phase::Bound),
            State::Held(lease, Phase::Renewing(exchange)) => self.renew(now, lease, exchange),
            State::Held(lease, Phase::Rebinding(exchange)) => self.rebind(now, lease, exchange),
            other => self.state = other,
        }
    }

    /// The address is needed no more.
    pub(super) fn release(&mut self, now: Instant) {
        let address = match self.take_state() {
            State::Held(lease, _) => {
                if self.config.send_release && self.has_link {
                    let exchange = self.exchange(now);
                    self.send(&exchange, Question::Release(&lease));
                }
                lease.address.ip()
            }
            State::Probing(lease) => lease.address.ip(),
            _ => return,
        };
        let why = Loss::Released;
        self.tell(Event::Lost { address, why });
    }

    /// The lease has ended.
    pub(super) fn lose(&mut self, now: Instant, address: Ipv4Addr, why: Loss) {
        self.tell(Event::Lost { address, why });
        self.wish = Some(address);
        self.begin(now);
    }
}
