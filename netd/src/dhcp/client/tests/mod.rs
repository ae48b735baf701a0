//! The client in virtual time: messages in, messages out. The server's side is dhcproto
//! alone, and so none of the code under test.

mod acquire;
mod keep;
mod lease_file;
mod link;
mod properties;
mod settings;
mod simulation;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use dhcproto::v4::{DhcpOption, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable, Decoder, Encodable};
use registry::Mac;

use super::{
    Client, ClientConfig, Event, Input, Lease, Loss, Output, SavedLease, ServerDatagram, Timings,
    Transmit,
};

const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 7, 1);
const SERVER_MAC: Mac = Mac([2, 0, 0, 0, 9, 9]);
const OTHER_SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 7, 14);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 7, 2);
const OTHER_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 7, 3);
const NOWHERE: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const EVERYBODY: Ipv4Addr = Ipv4Addr::BROADCAST;
const SEED: u64 = 4;

/// The lease time of [`ack`], with T1 at 1800 s and T2 at 3150 s.
const LEASE: Duration = Duration::from_secs(3600);

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// RFC timings, but the first message at once.
fn config() -> ClientConfig {
    let mut config = ClientConfig::new(MAC);
    config.timings.startup = Duration::ZERO;
    config
}

/// A client and its clock.
struct Bench {
    client: Client,
    now: Instant,
    sent: Vec<Sent>,
    events: Vec<Event>,
}

impl Bench {
    fn new() -> Self {
        Self::with(config())
    }

    fn with(config: ClientConfig) -> Self {
        Self {
            client: Client::new(config, SEED),
            now: Instant::now(),
            sent: Vec::new(),
            events: Vec::new(),
        }
    }

    /// A client that has started.
    fn started() -> Self {
        Self::started_with(config())
    }

    fn started_with(config: ClientConfig) -> Self {
        let mut bench = Self::with(config);
        bench.start(None);
        bench
    }

    /// A client that has [`ADDRESS`] for [`LEASE`].
    fn bound() -> Self {
        Self::bound_with(config())
    }

    fn bound_with(config: ClientConfig) -> Self {
        let mut bench = Self::started_with(config);
        bench.answer(offer());
        bench.answer(ack());
        assert_eq!(bench.address(), Some(ADDRESS));
        bench.sent.clear();
        bench.events.clear();
        bench
    }

    fn start(&mut self, saved: Option<SavedLease>) {
        self.client.start(self.now, saved);
        self.drain();
    }

    fn input(&mut self, input: Input) {
        self.client.handle(self.now, input);
        self.drain();
    }

    /// Lets time pass, calling the client whenever it wants to be called.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.client.deadline().filter(|due| *due <= end) {
            assert!(due > self.now, "a deadline that has passed");
            self.now = due;
            self.input(Input::Time);
        }
        self.now = end;
    }

    /// Lets time pass until something is sent, and gives how much it was.
    fn wait(&mut self) -> Duration {
        let begun = self.now;
        let before = self.sent.len();
        while self.sent.len() == before {
            self.now = self.client.deadline().expect("something is awaited");
            self.input(Input::Time);
        }
        self.now - begun
    }

    fn drain(&mut self) {
        while let Some(output) = self.client.poll_output() {
            match output {
                Output::Send(transmit) => self.sent.push(Sent::read(transmit)),
                Output::Event(event) => self.events.push(event),
            }
        }
    }

    /// Answers what was sent last.
    fn answer(&mut self, reply: Message) {
        let xid = self.last().message.xid();
        self.reply(reply, xid);
    }

    fn reply(&mut self, mut reply: Message, xid: u32) {
        reply.set_xid(xid);
        let payload = reply.to_vec().unwrap();
        self.bytes(payload);
    }

    fn bytes(&mut self, payload: Vec<u8>) {
        self.input(Input::Datagram(ServerDatagram {
            source_mac: SERVER_MAC,
            source: SERVER,
            destination: EVERYBODY,
            payload,
        }));
    }

    #[track_caller]
    fn last(&self) -> &Sent {
        self.sent.last().expect("something was sent")
    }

    #[track_caller]
    fn last_event(&self) -> &Event {
        self.events.last().expect("an event")
    }

    fn address(&self) -> Option<Ipv4Addr> {
        self.client.lease().map(|lease| lease.address.ip())
    }

    #[track_caller]
    fn lease(&self) -> &Lease {
        self.client.lease().expect("a lease")
    }

    fn saved(&self) -> SavedLease {
        SavedLease::new(self.lease(), self.client.config(), self.now)
    }

    #[track_caller]
    fn has_lost(&self, why: Loss) {
        let address = ADDRESS;
        assert!(
            self.events.contains(&Event::Lost { address, why }),
            "{:?}",
            self.events
        );
        assert_eq!(self.address(), None);
    }
}

/// What the client sent, read by another implementation.
#[derive(Debug)]
struct Sent {
    transmit: Transmit,
    message: Message,
}

impl Sent {
    fn read(transmit: Transmit) -> Self {
        let message = Message::decode(&mut Decoder::new(&transmit.payload)).unwrap();
        assert_eq!(message.opcode(), Opcode::BootRequest);
        assert_eq!(message.chaddr(), MAC.0);
        assert_eq!(transmit.source.port(), 68);
        assert_eq!(transmit.destination.port(), 67);
        assert_eq!(*transmit.source.ip(), message.ciaddr());
        assert!(transmit.payload.len() >= 300);
        assert!(message.yiaddr() == NOWHERE && message.giaddr() == NOWHERE);
        Self { transmit, message }
    }

    fn kind(&self) -> MessageType {
        self.message.opts().msg_type().unwrap()
    }

    fn option(&self, code: OptionCode) -> Option<&DhcpOption> {
        self.message.opts().get(code)
    }

    fn wish(&self) -> Option<Ipv4Addr> {
        match self.option(OptionCode::RequestedIpAddress) {
            Some(DhcpOption::RequestedIpAddress(address)) => Some(*address),
            _ => None,
        }
    }

    fn server(&self) -> Option<Ipv4Addr> {
        match self.option(OptionCode::ServerIdentifier) {
            Some(DhcpOption::ServerIdentifier(address)) => Some(*address),
            _ => None,
        }
    }

    /// Kind, `ciaddr`, requested address and server: by which servers tell states apart.
    fn form(&self) -> (MessageType, Ipv4Addr, Option<Ipv4Addr>, Option<Ipv4Addr>) {
        (
            self.kind(),
            self.message.ciaddr(),
            self.wish(),
            self.server(),
        )
    }

    #[track_caller]
    fn is_broadcast(&self) {
        assert_eq!(self.transmit.destination, SocketAddrV4::new(EVERYBODY, 67));
        assert_eq!(self.transmit.destination_mac, Some(Mac([0xff; 6])));
    }
}

/// A server's message.
fn message(kind: MessageType, yiaddr: Ipv4Addr) -> Message {
    let mut message = Message::new_with_id(0, NOWHERE, yiaddr, NOWHERE, NOWHERE, &MAC.0);
    message.set_opcode(Opcode::BootReply);
    message
        .with(DhcpOption::MessageType(kind))
        .with(DhcpOption::ServerIdentifier(SERVER))
}

fn leased(kind: MessageType) -> Message {
    message(kind, ADDRESS)
        .with(DhcpOption::SubnetMask(Ipv4Addr::new(255, 255, 255, 240)))
        .with(DhcpOption::AddressLeaseTime(3600))
        .with(DhcpOption::Renewal(1800))
        .with(DhcpOption::Rebinding(3150))
        .with(DhcpOption::Router(vec![SERVER]))
}

fn offer() -> Message {
    leased(MessageType::Offer)
}

fn ack() -> Message {
    leased(MessageType::Ack)
}

fn nak() -> Message {
    message(MessageType::Nak, NOWHERE)
}

trait With: Sized {
    fn with(self, option: DhcpOption) -> Self;
    fn without(self, code: OptionCode) -> Self;
    fn giving(self, address: Ipv4Addr) -> Self;
    fn by_server(self, server: Ipv4Addr) -> Self {
        self.with(DhcpOption::ServerIdentifier(server))
    }
}

impl With for Message {
    fn with(mut self, option: DhcpOption) -> Self {
        self.opts_mut().insert(option);
        self
    }
    fn without(mut self, code: OptionCode) -> Self {
        self.opts_mut().remove(code);
        self
    }
    fn giving(mut self, address: Ipv4Addr) -> Self {
        self.set_yiaddr(address);
        self
    }
}
