//! The DHCP client of a link: payloads of any bytes and messages of any fields, with time
//! passing between them, the link going and coming, and starts from any lease file.
#![no_main]

use std::net::Ipv4Addr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arbitrary::Arbitrary;
use dhcproto::v4::Message;
use dhcproto::{Decodable, Decoder};
use libfuzzer_sys::fuzz_target;
use netd::dhcp::client::{
    Client, ClientConfig, ClientId, Event, Input, Interface, Lease, Output, SavedLease,
    ServerDatagram, Timings, Transmit,
};
use registry::Mac;

const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

#[derive(Arbitrary, Debug)]
struct Run<'a> {
    setting: Setting,
    seed: u64,
    steps: Vec<Step<'a>>,
}

#[derive(Arbitrary, Debug)]
struct Setting {
    duid: bool,
    rapid: bool,
    probe: bool,
    keep: bool,
    fast: bool,
    hostname: Option<String>,
    most: Option<u8>,
}

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    /// Time passes, up to 17 minutes, and the client is called whenever it wants to be.
    Wait(u16),
    /// Time passes, and nobody calls the client.
    Sleep(u16),
    /// A payload of any bytes.
    Payload(&'a [u8]),
    /// A message, well-formed up to its options.
    Message(Form<'a>),
    /// The address was probed, or is another host's.
    Probe(bool),
    Link(bool),
    Renew,
    Release,
    /// It starts again, from a file like this or from the one it would have.
    Start(Option<&'a str>),
    Inform(u8),
}

#[derive(Arbitrary, Debug)]
struct Form<'a> {
    kind: u8,
    /// Whether it answers what was sent last.
    is_ours: bool,
    address: Address,
    server: Option<Address>,
    lease_time: Option<u32>,
    times: Option<(u32, u32)>,
    mask: Option<u8>,
    id: Option<&'a [u8]>,
    rapid: bool,
    giaddr: bool,
    overload: Option<(u8, [u8; 8])>,
    routes: Option<&'a [u8]>,
    search: Option<&'a [u8]>,
    options: &'a [u8],
}

#[derive(Arbitrary, Debug)]
enum Address {
    /// One of the subnet.
    Near(u8),
    /// Any.
    Any([u8; 4]),
}

impl Address {
    fn ip(&self) -> Ipv4Addr {
        match *self {
            Self::Near(last) => Ipv4Addr::new(192, 168, 7, last % 16),
            Self::Any(octets) => octets.into(),
        }
    }
}

impl Setting {
    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new(MAC);
        if self.duid {
            config.client_id = ClientId::of_machine(&[1; 16], Interface::Name("host0"));
        }
        config.rapid_commit = self.rapid;
        config.conflict_detection = self.probe;
        config.keep_unconfirmed = self.keep;
        if self.fast {
            config.timings = Timings::FAST;
        }
        config.hostname.clone_from(&self.hostname);
        config.max_attempts = self.most.map(u32::from);
        config
    }
}

impl Form<'_> {
    fn payload(&self, xid: u32) -> Vec<u8> {
        let xid = if self.is_ours { xid } else { !xid };
        let mut bytes = vec![2, 1, 6, 0];
        bytes.extend(xid.to_be_bytes());
        bytes.extend([0; 8]);
        bytes.extend(self.address.ip().octets());
        bytes.extend([0; 4]);
        bytes.extend([0, 0, 0, u8::from(self.giaddr)]);
        bytes.extend(MAC.0);
        bytes.resize(236, 0);
        let (overload, file) = self.overload.unwrap_or_default();
        // The server's name and the file's begin with the same bytes.
        for field in [44, 108] {
            bytes[field..field + 8].copy_from_slice(&file);
        }
        bytes.extend([99, 130, 83, 99]);
        // Those that are most of all come most often.
        let kind = match self.kind {
            0..100 => 2,
            100..200 => 5,
            200..230 => 6,
            kind => kind - 230,
        };
        bytes.extend([53, 1, kind]);
        let mut option = |code: u8, value: &[u8]| {
            if let Ok(length) = u8::try_from(value.len()) {
                bytes.extend([code, length]);
                bytes.extend(value);
            }
        };
        if let Some(address) = &self.server {
            option(54, &address.ip().octets());
        }
        if let Some(seconds) = self.lease_time {
            option(51, &seconds.to_be_bytes());
        }
        if let Some((renewal, rebinding)) = self.times {
            option(58, &renewal.to_be_bytes());
            option(59, &rebinding.to_be_bytes());
        }
        if let Some(prefix) = self.mask {
            let mask = u32::MAX.checked_shl(u32::from(prefix % 34)).unwrap_or(0);
            option(1, &mask.to_be_bytes());
        }
        if let Some(id) = self.id {
            option(61, id);
        }
        if self.rapid {
            option(80, &[]);
        }
        if self.overload.is_some() {
            option(52, &[overload]);
        }
        if let Some(routes) = self.routes {
            option(121, routes);
        }
        if let Some(search) = self.search {
            option(119, search);
        }
        bytes.extend(self.options);
        bytes
    }
}

fuzz_target!(|run: Run<'_>| {
    let mut link = Link::new(&run);
    for step in run.steps.iter().take(32) {
        link.step(step);
        link.is_sound();
    }
});

struct Link {
    client: Client,
    now: Instant,
    /// The number of the last message.
    xid: u32,
    /// What is to be probed.
    probed: Option<Ipv4Addr>,
    /// What is held, by the events.
    told: Option<Lease>,
}

impl Link {
    fn new(run: &Run<'_>) -> Self {
        let mut link = Self {
            client: Client::new(run.setting.config(), run.seed),
            now: Instant::now(),
            xid: 0,
            probed: None,
            told: None,
        };
        link.client.start(link.now, None);
        link.outputs();
        link
    }

    fn step(&mut self, step: &Step<'_>) {
        match step {
            Step::Wait(seconds) => self.wait(Duration::from_secs(u64::from(*seconds % 1024))),
            Step::Sleep(seconds) => {
                self.now += Duration::from_secs(u64::from(*seconds));
                self.input(Input::Time);
            }
            Step::Payload(bytes) => self.payload(bytes.to_vec()),
            Step::Message(form) => self.payload(form.payload(self.xid)),
            Step::Probe(is_free) => {
                let address = self.probed.unwrap_or(Ipv4Addr::new(192, 168, 7, 2));
                self.input(if *is_free {
                    Input::Probed { address }
                } else {
                    Input::Conflict { address }
                });
            }
            Step::Link(true) => self.input(Input::LinkUp),
            Step::Link(false) => self.input(Input::LinkDown),
            Step::Renew => self.input(Input::Renew),
            Step::Release => self.input(Input::Release),
            Step::Start(text) => self.start(*text),
            Step::Inform(last) => {
                let address = Ipv4Addr::new(192, 168, 7, *last);
                let network = ipnetwork::Ipv4Network::new(address, 24).expect("a prefix");
                self.client.inform(self.now, network);
                self.told = None;
                assert!(self.outputs() <= 1);
            }
        }
    }

    fn start(&mut self, text: Option<&str>) {
        let wall = UNIX_EPOCH + Duration::from_millis(1_795_359_600_250);
        let saved = match text {
            Some(text) => SavedLease::from_text(text, wall).ok(),
            None => self
                .client
                .lease()
                .map(|lease| SavedLease::new(lease, self.client.config(), self.now)),
        };
        if let Some(saved) = &saved {
            let text = saved.to_text(wall);
            let read = SavedLease::from_text(&text, wall).expect("what is written is read");
            assert!(text.ends_with("\nEND\n"));
            assert!(is_same(&read, saved, wall));
        }
        self.client.start(self.now, saved);
        self.told = None;
        assert!(self.outputs() <= 1);
    }

    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.client.deadline().filter(|due| *due <= end) {
            assert!(due > self.now);
            self.now = due;
            self.input(Input::Time);
        }
        self.now = end;
    }

    fn payload(&mut self, payload: Vec<u8>) {
        self.input(Input::Time);
        let datagram = ServerDatagram {
            source_mac: Mac([2, 0, 0, 0, 9, 9]),
            source: Ipv4Addr::new(192, 168, 7, 1),
            destination: Ipv4Addr::BROADCAST,
            payload,
        };
        self.input(Input::Datagram(datagram));
    }

    fn input(&mut self, input: Input) {
        self.client.handle(self.now, input);
        assert!(self.outputs() <= 2, "two messages at once");
    }

    /// Takes what the client wants done, and says how much it sends.
    fn outputs(&mut self) -> usize {
        let (mut sent, mut events) = (0, 0);
        while let Some(output) = self.client.poll_output() {
            match output {
                Output::Send(transmit) => {
                    sent += 1;
                    self.is_readable(&transmit);
                }
                Output::Event(event) => {
                    events += 1;
                    self.told(event);
                }
            }
            assert!(events <= 6, "events without end");
        }
        sent
    }

    /// Another implementation can read it.
    fn is_readable(&mut self, transmit: &Transmit) {
        assert!((300..=1472).contains(&transmit.payload.len()));
        let message = Message::decode(&mut Decoder::new(&transmit.payload)).expect("it is DHCP");
        assert_eq!(message.chaddr(), MAC.0);
        assert_eq!(message.ciaddr(), *transmit.source.ip());
        assert!(message.opts().msg_type().is_some());
        self.xid = message.xid();
    }

    fn told(&mut self, event: Event) {
        match event {
            Event::ToProbe(lease) => self.probed = Some(lease.address.ip()),
            Event::Bound(lease) => {
                assert!(self.told.is_none());
                self.told = Some(*lease);
            }
            Event::Renewed { lease, .. } => {
                let before = self.told.replace(*lease).expect("it was bound");
                let now = self.told.as_ref().map(|lease| lease.address.ip());
                assert_eq!(Some(before.address.ip()), now);
            }
            Event::Lost { address, .. } => {
                if let Some(lease) = self.told.take() {
                    assert_eq!(lease.address.ip(), address);
                }
            }
            Event::NoAnswer { .. } | Event::Informed(_) | Event::Ignored { .. } => {}
        }
    }

    fn is_sound(&self) {
        assert_eq!(self.client.lease(), self.told.as_ref());
        assert!(self.client.deadline().is_none_or(|due| due > self.now));
        let Some(lease) = self.client.lease() else {
            return;
        };
        assert!(lease.expires().is_none_or(|end| end > self.now));
        let address = lease.address;
        assert!(address.prefix() > 0 && !address.ip().is_multicast());
        assert!(!address.ip().is_unspecified() && !address.ip().is_loopback());
        let settings = &lease.settings;
        assert!(settings.mtu.is_none_or(|mtu| mtu >= 68));
        let texts = [&settings.domain, &settings.hostname, &settings.timezone];
        let texts = texts.into_iter().flatten().chain(&settings.search);
        for text in texts {
            assert!(
                text.bytes()
                    .all(|byte| byte.is_ascii_graphic() && byte != b'=')
            );
        }
        for route in &settings.routes {
            assert_eq!(route.destination.ip(), route.destination.network());
        }
    }
}

/// Whether two are one but for the age, which a clock of 1970 and milliseconds bound.
fn is_same(read: &SavedLease, saved: &SavedLease, wall: SystemTime) -> bool {
    let since_1970 = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (Some(read_age), Some(age)) = (read.age, saved.age) else {
        return read.age.is_some() == saved.age.is_some();
    };
    let difference = read_age.abs_diff(age.min(since_1970));
    let mut read = read.clone();
    read.age = saved.age;
    difference <= Duration::from_millis(1) && read == *saved
}
