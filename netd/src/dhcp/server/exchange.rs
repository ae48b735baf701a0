//! A client's message with what is known of its way.

use registry::Mac;

use super::Datagram;
use super::accounts::{Owner, Sender};
use super::request::Request;

/// A suboption of option 82 that names a circuit (RFC 3046, section 3.1).
const CIRCUIT_ID: u8 = 1;
/// A suboption of option 82 that names the far end of one (RFC 3046, section 3.2).
const REMOTE_ID: u8 = 2;

/// A client's message with what is known of its way.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// What it asks.
    pub request: Request,
    /// The interface by which it came in.
    pub port: u32,
    /// Where its frame came from.
    pub source_mac: Mac,
    /// Whether it was sent to the server alone.
    pub unicast: bool,
}

impl Exchange {
    /// What came in, read.
    pub fn new(datagram: &Datagram, request: Request, unicast: bool) -> Self {
        // A relay sends to the server alone what the client has sent to all.
        let unicast = unicast && !request.is_relayed();
        Self {
            request,
            port: datagram.port,
            source_mac: datagram.source_mac,
            unicast,
        }
    }

    /// On whose account it is what the client gets.
    pub fn owner(&self) -> Owner {
        let sender = if self.request.is_relayed() {
            Sender::Relayed(self.place())
        } else {
            Sender::Station(self.source_mac)
        };
        let port = self.port;
        Owner { port, sender }
    }

    /// What the relay says of where it had the message from; itself, if nothing.
    fn place(&self) -> Vec<u8> {
        let agent = self.request.relay_agent.as_deref().unwrap_or_default();
        let place = suboption(agent, REMOTE_ID).or_else(|| suboption(agent, CIRCUIT_ID));
        match place {
            Some(place) => place.to_vec(),
            None => self.request.giaddr.octets().to_vec(),
        }
    }
}

/// A suboption's value.
fn suboption(mut agent: &[u8], wanted: u8) -> Option<&[u8]> {
    while let [code, len, rest @ ..] = agent {
        let (value, rest) = rest.split_at_checked(usize::from(*len))?;
        if *code == wanted && !value.is_empty() {
            return Some(value);
        }
        agent = rest;
    }
    None
}
