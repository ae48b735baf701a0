//! The machine that advertises on one link.

use std::collections::VecDeque;
use std::net::Ipv6Addr;
use std::time::Instant;

use registry::Mac;

use super::advertisement::{Withdrawn, farewell, messages};
use super::config::RaConfig;
use super::pace::{Due, Pace};
use super::{ALL_NODES, Event, Input, Invalid, Output};
use crate::random::Random;

/// The hop limit of what was not forwarded.
const NOT_FORWARDED: u8 = 255;

/// A router's advertisements on one link, without I/O and without a clock.
#[derive(Clone, Debug)]
pub struct Advertiser {
    config: RaConfig,
    random: Random,
    withdrawn: Withdrawn,
    /// None while it is silent.
    pace: Option<Pace>,
    outputs: VecDeque<Output>,
}

impl Advertiser {
    /// A machine that waits for [`Advertiser::start`]. Links should have different seeds.
    #[must_use]
    pub fn new(config: RaConfig, seed: u64) -> Self {
        Self {
            config,
            random: Random::new(seed),
            withdrawn: Withdrawn::default(),
            pace: None,
            outputs: VecDeque::new(),
        }
    }

    /// What it advertises.
    #[must_use]
    pub fn config(&self) -> &RaConfig {
        &self.config
    }

    /// Begins, with an advertisement at once; also when the link came back. Best once the
    /// link has its link-local address: until then nothing can be sent, and hosts wait for
    /// their next question to be answered.
    pub fn start(&mut self, now: Instant) {
        let seed = self.random.next();
        self.pace = Some(Pace::new(now, Random::new(seed)));
        self.set_times();
        self.speak(now);
    }

    /// Says good-bye to all hosts, which forget router, prefixes and name servers, and
    /// ends. Not to be called where another netd takes over.
    pub fn stop(&mut self, now: Instant) {
        if self.pace.take().is_none() {
            return;
        }
        self.withdrawn.note(now, &self.config, None);
        let packet = farewell(&self.config, &self.withdrawn);
        self.outputs.push_back(Output::Send {
            destination: ALL_NODES,
            packet,
        });
    }

    /// When [`Advertiser::handle`] wants to be called with [`Input::Time`].
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.pace.as_ref().map(Pace::deadline)
    }

    /// The next thing to be done, until there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Takes what happened at `now`.
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Time => {}
            Input::Solicitation {
                source,
                source_link_layer,
                hop_limit,
            } => match check(source, source_link_layer, hop_limit) {
                Ok(()) => self.solicited(now, source),
                Err(reason) => {
                    let event = Event::Ignored { source, reason };
                    self.outputs.push_back(Output::Event(event));
                }
            },
            Input::ConfigChanged(config) => self.change(now, config),
        }
        self.speak(now);
    }

    fn solicited(&mut self, now: Instant, source: Ipv6Addr) {
        // Any other address may be of another link, and the answer would be routed there.
        let on_link = Some(source).filter(Ipv6Addr::is_unicast_link_local);
        if let Some(pace) = &mut self.pace {
            pace.solicited(now, on_link);
        }
    }

    fn change(&mut self, now: Instant, config: RaConfig) {
        if config == self.config {
            return;
        }
        let old = std::mem::replace(&mut self.config, config);
        if let Some(pace) = &mut self.pace {
            // What nobody was told need not be taken back.
            self.withdrawn.note(now, &old, Some(&self.config));
            pace.restart(now);
        }
        self.set_times();
    }

    fn set_times(&mut self) {
        let settings = self.config.settings();
        let interval = (settings.min_interval, settings.max_interval);
        if let Some(pace) = &mut self.pace {
            pace.set_times(interval, settings.solicited_delay);
            pace.set_first(settings.initial);
        }
    }

    fn speak(&mut self, now: Instant) {
        while let Some(due) = self.pace.as_mut().and_then(|pace| pace.take_due(now)) {
            self.withdrawn.expire(now);
            let destination = match due {
                Due::All => ALL_NODES,
                Due::One(host) => host,
            };
            for packet in messages(&self.config, &self.withdrawn) {
                self.outputs.push_back(Output::Send {
                    destination,
                    packet,
                });
            }
        }
    }
}

/// RFC 4861, section 6.1.1; what concerns the message itself its parser has seen to.
fn check(source: Ipv6Addr, source_link_layer: Option<Mac>, hop_limit: u8) -> Result<(), Invalid> {
    if hop_limit != NOT_FORWARDED {
        return Err(Invalid::Forwarded(hop_limit));
    }
    if source.is_multicast() || source.is_loopback() {
        return Err(Invalid::NotAHost);
    }
    if source.is_unspecified() && source_link_layer.is_some() {
        return Err(Invalid::LinkLayerOfNobody);
    }
    Ok(())
}
