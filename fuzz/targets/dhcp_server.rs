//! The DHCP server of a link: packets of any bytes and messages of any fields, by several
//! ports and by relays, with time passing between them, its configuration changing under it,
//! probes that find what they like, and a server that is killed and goes on from what it kept.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use arbitrary::Arbitrary;
use dhcproto::v4::{Message, MessageType};
use dhcproto::{Decodable, Decoder};
use libfuzzer_sys::fuzz_target;
use netd::dhcp::server::{
    Bounds, Change, ClientKey, Datagram, Input, Lease, Output, Route, SendOption, Server,
    ServerConfig, Transmit,
};
use netd::dhcp_wire::{Arrival, Checksum, frame};
use registry::Mac;

/// The container's own MAC address.
const HOST0: Mac = Mac([2, 0, 0, 0, 0, 1]);
/// The link's MTU, beyond which no reply is.
const MTU: u16 = 1420;
/// More leases than this are not kept.
const BOUND: usize = 6;

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    /// Time passes.
    Wait(u16),
    /// A packet of any bytes arrives.
    Packet(&'a [u8], Flags),
    /// A message arrives, well-formed up to its options.
    Message(Form<'a>),
    /// The server is told to hand out something else.
    Configure(Setting),
    /// Some of the probes that it has asked for are answered.
    Probed(u8, bool),
    /// Somebody answers for an address that nobody has asked for.
    Unasked(u8, bool),
    /// The server is killed, and the next one has what was kept.
    Killed,
}

#[derive(Arbitrary, Debug)]
struct Flags {
    is_truncated: bool,
    is_for_us: bool,
    has_source: bool,
    checksum_is_pending: bool,
}

#[derive(Arbitrary, Debug)]
struct Form<'a> {
    kind: u8,
    mac: u8,
    port: u8,
    source: u8,
    directly: bool,
    broadcast: bool,
    ciaddr: Address,
    requested: Option<Address>,
    server: Option<Address>,
    lease_time: Option<u32>,
    id: Option<&'a [u8]>,
    rapid: bool,
    giaddr: Address,
    hops: u8,
    agent: Option<&'a [u8]>,
    overload: Option<(u8, [u8; 8])>,
    options: &'a [u8],
}

#[derive(Arbitrary, Debug)]
enum Address {
    /// None at all.
    None,
    /// One of the subnet.
    Near(u8),
    /// Any.
    Any([u8; 4]),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Setting {
    Small,
    Wide,
    Moved,
    Short,
    Pooled,
    Probing,
    Shared,
    Rich,
}

impl Setting {
    fn config(self) -> ServerConfig {
        let (network, host0) = match self {
            Self::Small
            | Self::Short
            | Self::Pooled
            | Self::Probing
            | Self::Shared
            | Self::Rich => ("192.168.7.1/28", [192, 168, 7, 2]),
            Self::Wide => ("192.168.7.1/24", [192, 168, 7, 2]),
            Self::Moved => ("10.9.8.1/29", [10, 9, 8, 2]),
        };
        let mut config =
            ServerConfig::new(network.parse().expect("a network")).expect("it can be served");
        config.reserve(HOST0, host0.into()).expect("a client's");
        config.dns = vec![Ipv4Addr::new(9, 9, 9, 9)];
        config.domain = Some("example.org".to_owned());
        config.mtu = Some(MTU);
        config.keep = true;
        config.bounds.leases = BOUND;
        if matches!(self, Self::Probing | Self::Shared) {
            config.bounds = Bounds {
                leases: BOUND,
                per_mac: 2,
                per_port: Some(3),
                stock: 4,
                waiting: 4,
                ..Bounds::shared()
            };
            config.probe = matches!(self, Self::Probing);
        }
        if matches!(self, Self::Rich) {
            config.options = [(43, 700), (60, 200), (66, 60)]
                .map(|(code, len)| SendOption::new(code, vec![code; len]).expect("sane"))
                .to_vec();
            config.routes = vec![Route {
                destination: "10.17.0.0/16".parse().expect("a network"),
                gateway: Ipv4Addr::new(192, 168, 7, 3),
            }];
            config.search = vec!["example.org".into(), "corp.example".into()];
            config.name_reserved(host0.into(), "web".into());
        }
        if matches!(self, Self::Short) {
            config.lease_time = Duration::from_secs(5);
            config.max_lease_time = Duration::from_secs(60);
        }
        if matches!(self, Self::Pooled) {
            config.limit_pool(8, 3).expect("it is in the subnet");
        }
        config
    }
}

impl Address {
    fn ip(&self) -> Ipv4Addr {
        match *self {
            Self::None => Ipv4Addr::UNSPECIFIED,
            Self::Near(last) => Ipv4Addr::new(192, 168, 7, last),
            Self::Any(octets) => octets.into(),
        }
    }
}

impl Form<'_> {
    fn mac(&self) -> Mac {
        match self.mac {
            0..128 => HOST0,
            number => Mac([2, 0, 0, 0, 1, number % 16]),
        }
    }

    fn payload(&self) -> Vec<u8> {
        let mut bytes = vec![1, 1, 6, self.hops, 0, 0, 0, 7, 0, 0];
        bytes.extend([if self.broadcast { 0x80 } else { 0 }, 0]);
        bytes.extend(self.ciaddr.ip().octets());
        bytes.extend([0; 8]);
        bytes.extend(self.giaddr.ip().octets());
        bytes.extend(self.mac().0);
        bytes.resize(236, 0);
        let (overload, file) = self.overload.unwrap_or_default();
        // The server's name and the file's begin with the same bytes.
        for field in [44, 108] {
            bytes[field..field + 8].copy_from_slice(&file);
        }
        bytes.extend([99, 130, 83, 99]);
        bytes.extend([53, 1, self.kind]);
        let mut option = |code: u8, value: &[u8]| {
            if let Ok(length) = u8::try_from(value.len()) {
                bytes.extend([code, length]);
                bytes.extend(value);
            }
        };
        if let Some(address) = &self.requested {
            option(50, &address.ip().octets());
        }
        if let Some(address) = &self.server {
            option(54, &address.ip().octets());
        }
        if let Some(seconds) = self.lease_time {
            option(51, &seconds.to_be_bytes());
        }
        if let Some(id) = self.id {
            option(61, id);
        }
        if self.rapid {
            option(80, &[]);
        }
        if let Some(agent) = self.agent {
            option(82, agent);
        }
        if self.overload.is_some() {
            option(52, &[overload]);
        }
        bytes.extend(self.options);
        bytes
    }
}

fuzz_target!(|steps: Vec<Step<'_>>| {
    let mut link = Link::new();
    for step in steps.into_iter().take(64) {
        match step {
            Step::Wait(seconds) => link.wait(Duration::from_secs(seconds.into())),
            Step::Packet(bytes, flags) => link.packet(bytes, &flags),
            Step::Message(form) => link.message(&form),
            Step::Configure(setting) => {
                link.setting = setting;
                link.server.set_config(link.now, setting.config());
                assert!(link.replies().is_empty(), "a server speaks only when asked");
            }
            Step::Probed(which, free) => {
                if !link.probes.is_empty() {
                    let address = link.probes.remove(usize::from(which) % link.probes.len());
                    link.probed(address, free);
                }
            }
            Step::Unasked(last, free) => {
                link.probed(Ipv4Addr::new(192, 168, 7, last), free);
            }
            Step::Killed => link.killed(),
        }
        link.is_sound();
    }
});

struct Link {
    server: Server,
    setting: Setting,
    now: Instant,
    /// What the server wants to be looked for.
    probes: Vec<Ipv4Addr>,
    /// What is on disk.
    kept: BTreeMap<Ipv4Addr, Lease>,
}

impl Link {
    fn new() -> Self {
        Self {
            server: Server::new(Setting::Small.config()),
            setting: Setting::Small,
            now: Instant::now(),
            probes: Vec::new(),
            kept: BTreeMap::new(),
        }
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.server.handle(self.now, Input::Time);
        assert!(self.replies().is_empty(), "a server speaks only when asked");
        assert!(self.server.deadline().is_none_or(|when| when > self.now));
    }

    fn probed(&mut self, address: Ipv4Addr, free: bool) {
        let before = self.leases();
        self.server
            .handle(self.now, Input::Probed { address, free });
        let replies = self.replies();
        assert!(replies.len() <= 1, "one client waits for one address");
        for reply in replies {
            self.reply_is_sound(&reply, &before);
        }
    }

    fn killed(&mut self) {
        let before = self.leases();
        self.server = Server::new(self.setting.config());
        self.probes.clear();
        let kept: Vec<Lease> = self.kept.values().cloned().collect();
        self.server.restore(self.now, kept);
        assert!(self.replies().is_empty(), "a server speaks only when asked");
        let after = self.leases();
        for (address, lease) in before {
            let known = after.get(&address).expect("a lease is forgotten");
            assert_eq!(known.client, lease.client);
            assert!(
                known.until >= lease.until,
                "a lease ends before what was promised"
            );
        }
    }

    fn packet(&mut self, bytes: &[u8], flags: &Flags) {
        let arrival = Arrival {
            port: 1,
            is_truncated: flags.is_truncated,
            is_for_us: flags.is_for_us,
            source: flags.has_source.then_some(HOST0),
            checksum: match flags.checksum_is_pending {
                true => Checksum::Pending,
                false => Checksum::Either,
            },
        };
        if let Ok(datagram) = frame::parse(bytes, &arrival) {
            self.datagram(datagram);
        }
    }

    fn message(&mut self, form: &Form<'_>) {
        let host = *self
            .server
            .config()
            .network()
            .ip()
            .octets()
            .last_chunk::<4>()
            .expect("four");
        let to = if form.directly {
            host.into()
        } else {
            Ipv4Addr::BROADCAST
        };
        let transmit = Transmit {
            port: 1,
            destination_mac: form.mac(),
            source: SocketAddrV4::new(form.ciaddr.ip(), 68),
            destination: SocketAddrV4::new(to, 67),
            payload: form.payload(),
        };
        let Ok(packet) = frame::build(&transmit) else {
            return;
        };
        let arrival = Arrival {
            port: u32::from(form.port % 4),
            is_truncated: false,
            is_for_us: true,
            source: Some(match form.source {
                0..128 => form.mac(),
                number => Mac([2, 0, 0, 0, 1, number % 16]),
            }),
            checksum: Checksum::Final,
        };
        let datagram = frame::parse(&packet, &arrival).expect("what is built is read");
        assert_eq!(datagram.payload, transmit.payload);
        self.datagram(datagram);
    }

    fn datagram(&mut self, datagram: Datagram) {
        self.server.handle(self.now, Input::Time);
        assert!(self.replies().is_empty(), "a server speaks only when asked");
        let before = self.leases();
        self.server.handle(self.now, Input::Datagram(datagram));
        let replies = self.replies();
        assert!(replies.len() <= 1, "one answer to one question");
        for reply in replies {
            self.reply_is_sound(&reply, &before);
        }
    }

    /// Another implementation can read it, and it takes nobody's address.
    fn reply_is_sound(&self, reply: &Transmit, before: &BTreeMap<Ipv4Addr, Lease>) {
        assert!(reply.payload.len() <= usize::from(MTU) - 28);
        assert!(frame::build(reply).is_ok());
        assert_eq!(reply.source.port(), 67);
        // The last option's parts, and what a client has made up as option 82, are not read by
        // every other implementation.
        let Ok(message) = Message::decode(&mut Decoder::new(&reply.payload)) else {
            return;
        };
        let relayed = !message.giaddr().is_unspecified();
        assert_eq!(reply.destination.port(), if relayed { 67 } else { 68 });
        let given = message.yiaddr();
        let kind = message.opts().msg_type().expect("its kind is in it");
        if given.is_unspecified() {
            return;
        }
        let config = self.server.config();
        assert!(config.is_client_address(given));
        assert_eq!(
            message.chaddr() == HOST0.0,
            Some(given) == config.reservation(HOST0)
        );
        if kind == MessageType::Ack {
            let now = self.leases();
            let holder = &now.get(&given).expect("what is given is kept").client;
            assert!(
                before
                    .get(&given)
                    .is_none_or(|lease| lease.client == *holder)
            );
        }
    }

    fn leases(&self) -> BTreeMap<Ipv4Addr, Lease> {
        self.server
            .leases()
            .map(|lease| (lease.address, lease.clone()))
            .collect()
    }

    /// Takes what the server wants done, which has an end, and gives what it sends.
    fn replies(&mut self) -> Vec<Transmit> {
        let mut replies = Vec::new();
        self.probes.truncate(4096);
        let mut events = 0;
        while let Some(output) = self.server.poll_output() {
            match output {
                Output::Send(transmit) | Output::SendKept(transmit) => replies.push(transmit),
                Output::Event(_) => events += 1,
                Output::Keep(Change::Leased(lease)) => {
                    self.kept.insert(lease.address, lease);
                }
                Output::Keep(Change::Freed(address)) => drop(self.kept.remove(&address)),
                Output::Probe { address } => self.probes.push(address),
            }
            assert!(events <= BOUND + 4, "events without end");
        }
        replies
    }

    fn is_sound(&self) {
        let config = self.server.config();
        let mut clients = BTreeSet::new();
        let mut count = 0;
        for lease in self.server.leases() {
            count += 1;
            assert!(config.is_client_address(lease.address));
            assert!(lease.until > self.now);
            let key = match &lease.client {
                ClientKey::Reserved(mac) => mac.0.to_vec(),
                ClientKey::Id(id) => [&[0][..], id].concat(),
            };
            assert!(clients.insert(key), "a client holds two addresses");
            let reserved = matches!(lease.client, ClientKey::Reserved(_));
            assert_eq!(reserved, config.reserved_for(lease.address).is_some());
        }
        assert!(count <= BOUND + 1, "more leases than the bound");
        assert!(count == 0 || self.server.deadline().is_some());
    }
}
