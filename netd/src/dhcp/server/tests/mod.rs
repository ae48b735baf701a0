//! The server in virtual time: messages in, messages out. The client's side is
//! dhcproto alone, and so none of the code under test.

mod addresses;
mod changes;
mod config;
mod hostile;
mod keeping;
mod ladder;
mod options;
mod probes;
mod properties;
mod quotas;
mod replies;

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use dhcproto::v4::{DhcpOption, Flags, HType, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable, Decoder, Encodable};
use registry::Mac;

use super::{Change, Datagram, Event, Input, Lease, Output, Server, ServerConfig, Transmit};

/// The container's own MAC address, for which [`HOST0_ADDRESS`] is reserved.
const HOST0: Mac = Mac([2, 0, 0, 0, 0, 1]);
const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 7, 1);
const HOST0_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 7, 2);
const NOWHERE: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const EVERYBODY: Ipv4Addr = Ipv4Addr::BROADCAST;

/// A machine behind the container.
fn guest(number: u8) -> Mac {
    Mac([2, 0, 0, 0, 1, number])
}

/// An address of the subnet.
fn address(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, 7, last)
}

fn config() -> ServerConfig {
    let mut config = ServerConfig::new("192.168.7.1/28".parse().unwrap()).unwrap();
    config.reserve(HOST0, HOST0_ADDRESS).unwrap();
    config.dns = vec![Ipv4Addr::new(9, 9, 9, 9), Ipv4Addr::new(1, 1, 1, 1)];
    config.domain = Some("example.org".to_owned());
    config.mtu = Some(1420);
    config
}

/// A client's message.
fn message(kind: MessageType, mac: Mac) -> Message {
    let mut message = Message::new_with_id(7, NOWHERE, NOWHERE, NOWHERE, NOWHERE, &mac.0);
    message.opts_mut().insert(DhcpOption::MessageType(kind));
    message
}

trait With: Sized {
    fn with(self, option: DhcpOption) -> Self;
    fn having(self, ciaddr: Ipv4Addr) -> Self;
    fn broadcast(self) -> Self;
    fn id(self, id: &[u8]) -> Self {
        self.with(DhcpOption::ClientIdentifier(id.to_vec()))
    }
    fn wanting(self, address: Ipv4Addr) -> Self {
        self.with(DhcpOption::RequestedIpAddress(address))
    }
    fn to_server(self, server: Ipv4Addr) -> Self {
        self.with(DhcpOption::ServerIdentifier(server))
    }
}

impl With for Message {
    fn with(mut self, option: DhcpOption) -> Self {
        self.opts_mut().insert(option);
        self
    }
    fn having(mut self, ciaddr: Ipv4Addr) -> Self {
        self.set_ciaddr(ciaddr);
        self
    }
    fn broadcast(mut self) -> Self {
        self.set_flags(Flags::default().set_broadcast());
        self
    }
}

fn discover(mac: Mac) -> Message {
    message(MessageType::Discover, mac)
}

/// The REQUEST of a client that takes an offer.
fn select(mac: Mac, address: Ipv4Addr) -> Message {
    message(MessageType::Request, mac)
        .wanting(address)
        .to_server(SERVER)
}

/// The REQUEST of a client that remembers an address.
fn init_reboot(mac: Mac, address: Ipv4Addr) -> Message {
    message(MessageType::Request, mac).wanting(address)
}

/// The REQUEST of a client that has an address and wants to keep it.
fn renew(mac: Mac, address: Ipv4Addr) -> Message {
    message(MessageType::Request, mac).having(address)
}

/// A server and its clock.
struct Bench {
    server: Server,
    now: Instant,
    events: Vec<Event>,
    kept: Vec<Change>,
    probes: Vec<Ipv4Addr>,
}

impl Bench {
    fn new() -> Self {
        Self::with(config())
    }

    fn with(config: ServerConfig) -> Self {
        Self {
            server: Server::new(config),
            now: Instant::now(),
            events: Vec::new(),
            kept: Vec::new(),
            probes: Vec::new(),
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.server.handle(self.now, Input::Time);
        assert!(self.drain().is_empty(), "a server speaks only when asked");
    }

    fn configure(&mut self, config: ServerConfig) {
        self.server.set_config(self.now, config);
        assert!(self.drain().is_empty(), "a server speaks only when asked");
    }

    /// What the server answers to a message that was sent to `destination`.
    fn bytes(&mut self, destination: Ipv4Addr, payload: Vec<u8>) -> Option<Reply> {
        // Its own address, where there is one.
        let chaddr: Option<[u8; 6]> = payload.get(28..34).map(|mac| mac.try_into().unwrap());
        self.from(1, chaddr.map_or(guest(99), Mac), destination, payload)
    }

    /// What the server answers to a frame that came in by `port` from `source_mac`.
    fn from(
        &mut self,
        port: u32,
        source_mac: Mac,
        destination: Ipv4Addr,
        payload: Vec<u8>,
    ) -> Option<Reply> {
        let datagram = Datagram {
            port,
            source_mac,
            source: NOWHERE,
            destination,
            payload,
        };
        self.server.handle(self.now, Input::Datagram(datagram));
        let mut replies = self.drain();
        assert!(replies.len() <= 1, "one answer to one question");
        let reply = replies.pop().map(Reply::read);
        assert!(reply.iter().all(|reply| reply.transmit.port == port));
        reply
    }

    fn drain(&mut self) -> Vec<Transmit> {
        let mut replies = Vec::new();
        while let Some(output) = self.server.poll_output() {
            match output {
                Output::Send(transmit) | Output::SendKept(transmit) => replies.push(transmit),
                Output::Event(event) => self.events.push(event),
                Output::Keep(change) => self.kept.push(change),
                Output::Probe { address } => self.probes.push(address),
            }
        }
        replies
    }

    /// The answer to a broadcast message.
    fn ask(&mut self, message: Message) -> Option<Reply> {
        self.bytes(EVERYBODY, message.to_vec().unwrap())
    }

    /// The answer to a message to the server alone.
    fn ask_directly(&mut self, message: Message) -> Option<Reply> {
        self.bytes(SERVER, message.to_vec().unwrap())
    }

    /// The answer to a message to the server alone, whatever its address.
    fn ask_at_server(&mut self, message: Message) -> Option<Reply> {
        let server = self.server.config().address();
        self.bytes(server, message.to_vec().unwrap())
    }

    /// Has a client get an address in the usual four steps.
    fn lease(&mut self, client: impl Fn(Message) -> Message, mac: Mac) -> Ipv4Addr {
        let offer = self.ask(client(discover(mac))).unwrap();
        assert_eq!(offer.kind(), MessageType::Offer);
        let offered = offer.message.yiaddr();
        let ack = self.ask(client(select(mac, offered))).unwrap();
        assert_eq!(ack.kind(), MessageType::Ack);
        assert_eq!(ack.message.yiaddr(), offered);
        offered
    }

    fn plain_lease(&mut self, mac: Mac) -> Ipv4Addr {
        self.lease(|message| message, mac)
    }

    fn leases(&self) -> Vec<Lease> {
        self.server.leases().cloned().collect()
    }

    fn leased(&self) -> Vec<Ipv4Addr> {
        self.server.leases().map(|lease| lease.address).collect()
    }

    fn last_event(&self) -> &Event {
        self.events.last().expect("an event")
    }
}

/// What the server sent, read by another implementation.
#[derive(Debug)]
struct Reply {
    transmit: Transmit,
    message: Message,
}

impl Reply {
    fn read(transmit: Transmit) -> Self {
        let message = Message::decode(&mut Decoder::new(&transmit.payload)).unwrap();
        assert_eq!(message.opcode(), Opcode::BootReply);
        assert_eq!((message.htype(), message.hlen()), (HType::Eth, 6));
        assert_eq!(transmit.source.port(), 67);
        let to_relay = message.giaddr() == *transmit.destination.ip();
        assert_eq!(transmit.destination.port(), if to_relay { 67 } else { 68 });
        Self { transmit, message }
    }

    fn kind(&self) -> MessageType {
        self.message.opts().msg_type().unwrap()
    }

    fn option(&self, code: OptionCode) -> Option<&DhcpOption> {
        self.message.opts().get(code)
    }

    fn has(&self, option: &DhcpOption) -> bool {
        self.option(OptionCode::from(option)) == Some(option)
    }

    fn target(&self) -> (Mac, Ipv4Addr) {
        (
            self.transmit.destination_mac,
            *self.transmit.destination.ip(),
        )
    }

    #[track_caller]
    fn is_ack_for(&self, address: Ipv4Addr) {
        assert_eq!(
            (self.kind(), self.message.yiaddr()),
            (MessageType::Ack, address)
        );
    }

    #[track_caller]
    fn is_nak(&self) {
        assert_eq!(
            (self.kind(), self.message.yiaddr()),
            (MessageType::Nak, NOWHERE)
        );
    }
}
