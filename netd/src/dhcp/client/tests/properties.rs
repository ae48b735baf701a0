//! What holds whatever servers do.

use proptest::prelude::*;

use super::*;

/// What happens next to a client.
#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    /// Time passes, and nobody calls the client meanwhile.
    Sleep(u64),
    Reply(Form),
    Bytes(Vec<u8>),
    Other(u8),
}

/// A server's message.
#[derive(Clone, Debug)]
struct Form {
    kind: u8,
    address: Ipv4Addr,
    server: Option<Ipv4Addr>,
    lease: Option<u32>,
    rapid: bool,
    is_ours: bool,
    options: Vec<u8>,
}

fn some_address() -> impl Strategy<Value = Ipv4Addr> {
    prop_oneof![
        8 => (0..17_u8).prop_map(|last| Ipv4Addr::new(192, 168, 7, last)),
        1 => Just(NOWHERE),
        1 => any::<u32>().prop_map(Ipv4Addr::from),
    ]
}

prop_compose! {
    fn form()(
        kind in prop_oneof![6 => Just(2_u8), 8 => Just(5), 1 => Just(6), 1 => 0..14_u8],
        address in some_address(),
        server in proptest::option::weighted(0.9, prop_oneof![4 => Just(SERVER), 1 => some_address()]),
        lease in proptest::option::weighted(
            0.9,
            prop_oneof![4 => 60..4000_u32, 1 => 0..3_u32, 1 => any::<u32>()],
        ),
        rapid: bool,
        is_ours in prop::bool::weighted(0.9),
        options in prop_oneof![
            1 => Just(vec![]),
            1 => prop::collection::vec(any::<u8>(), 0..300),
        ],
    ) -> Form {
        Form { kind, address, server, lease, rapid, is_ours, options }
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4000_u64).prop_map(Step::Wait),
        1 => (0..4000_u64).prop_map(Step::Sleep),
        8 => form().prop_map(Step::Reply),
        1 => prop::collection::vec(any::<u8>(), 0..600).prop_map(Step::Bytes),
        3 => (0..8_u8).prop_map(Step::Other),
    ]
}

impl Form {
    fn bytes(&self, xid: u32) -> Vec<u8> {
        let mut message = message(MessageType::from(self.kind), self.address)
            .without(OptionCode::ServerIdentifier);
        message.set_xid(if self.is_ours { xid } else { !xid });
        let server = self.server.map(DhcpOption::ServerIdentifier);
        let lease = self.lease.map(DhcpOption::AddressLeaseTime);
        let rapid = self.rapid.then_some(DhcpOption::RapidCommit);
        for option in [server, lease, rapid].into_iter().flatten() {
            message = message.with(option);
        }
        let mut bytes = message.to_vec().unwrap();
        bytes.pop();
        bytes.extend(&self.options);
        bytes
    }
}

impl Bench {
    fn take(&mut self, step: Step) {
        match step {
            Step::Wait(seconds) => self.pass(secs(seconds)),
            Step::Sleep(seconds) => {
                self.now += secs(seconds);
                self.input(Input::Time);
            }
            Step::Reply(form) => {
                let xid = self.sent.last().map_or(0, |sent| sent.message.xid());
                self.bytes(form.bytes(xid));
            }
            Step::Bytes(bytes) => self.bytes(bytes),
            Step::Other(0) => self.input(Input::Release),
            Step::Other(1) => self.input(Input::LinkDown),
            Step::Other(2) => self.input(Input::LinkUp),
            Step::Other(3) => self.input(Input::Renew),
            Step::Other(4) => self.start(None),
            Step::Other(5) => {
                let saved = self.client.lease().is_some().then(|| self.saved());
                self.start(saved);
            }
            Step::Other(number) => {
                let probed = self.events.iter().rev().find_map(|event| match event {
                    Event::ToProbe(lease) => Some(lease.address.ip()),
                    _ => None,
                });
                let address = probed.unwrap_or(ADDRESS);
                self.input(if number == 6 {
                    Input::Probed { address }
                } else {
                    Input::Conflict { address }
                });
            }
        }
    }
}

proptest! {
    /// The events tell the whole story: who follows them knows what may be used, and a lease
    /// is never used after its end.
    #[test]
    fn events_say_what_is_held(
        steps in prop::collection::vec(step(), 1..40),
        probe: bool,
        fast: bool,
    ) {
        let mut config = config();
        config.conflict_detection = probe;
        if fast {
            config.timings = Timings::FAST;
        }
        let mut bench = Bench::started_with(config);
        let mut told = None;
        for step in steps {
            let forgets = matches!(step, Step::Other(4 | 5));
            bench.take(step);
            if forgets {
                told = None;
                bench.events.clear();
            }
            for event in bench.events.drain(..).collect::<Vec<_>>() {
                match event {
                    Event::Bound(lease) => {
                        prop_assert_eq!(&told, &None);
                        told = Some(*lease);
                    }
                    Event::Renewed { lease, .. } => {
                        let before = told.replace(*lease);
                        let same = before.map(|lease| lease.address.ip());
                        prop_assert_eq!(same, told.as_ref().map(|lease| lease.address.ip()));
                    }
                    // Of one that was probed, or saved, only this is told.
                    Event::Lost { address, .. } => {
                        if let Some(lease) = told.take() {
                            prop_assert_eq!(lease.address.ip(), address);
                        }
                    }
                    _ => {}
                }
            }
            prop_assert_eq!(bench.client.lease(), told.as_ref());
            if let Some(lease) = bench.client.lease() {
                prop_assert!(lease.expires().is_none_or(|end| end > bench.now));
            }
            prop_assert!(bench.client.deadline().is_none_or(|due| due > bench.now));
        }
    }

    /// However servers answer, a client does not flood the link.
    #[test]
    fn a_client_is_never_a_flood(forms in prop::collection::vec(form(), 1..50)) {
        let mut bench = Bench::started();
        for form in &forms {
            bench.take(Step::Reply(form.clone()));
        }
        // An answer calls for one message at most.
        prop_assert!(bench.sent.len() <= forms.len() + 1);
        let before = bench.sent.len();
        bench.pass(secs(60));
        prop_assert!(bench.sent.len() - before <= 124);
    }

    #[test]
    fn any_bytes_are_survived(payload: Vec<u8>) {
        Bench::started().bytes(payload);
    }

    #[test]
    fn a_flipped_byte_anywhere_is_survived(form in form(), at in 0..600_usize, byte: u8) {
        let mut bench = Bench::started();
        let mut bytes = form.bytes(bench.last().message.xid());
        let at = at % bytes.len();
        bytes[at] = byte;
        bench.bytes(bytes);
    }
}
