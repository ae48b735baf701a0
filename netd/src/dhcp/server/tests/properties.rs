//! What holds whatever clients do.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
struct Step {
    kind: u8,
    mac: Mac,
    id: Option<u8>,
    ciaddr: Ipv4Addr,
    requested: Option<Ipv4Addr>,
    server: Option<Ipv4Addr>,
    rapid: bool,
    to: Ipv4Addr,
    wait: u64,
    reconfigure: bool,
}

fn some_address() -> impl Strategy<Value = Ipv4Addr> {
    prop_oneof![
        8 => (0..17_u8).prop_map(address),
        1 => Just(NOWHERE),
        1 => Just(EVERYBODY),
        1 => any::<u32>().prop_map(Ipv4Addr::from),
    ]
}

prop_compose! {
    fn step()(
        kind in prop_oneof![4 => Just(1_u8), 8 => Just(3), 1 => Just(4), 1 => Just(7), 1 => 0..10_u8],
        mac in prop_oneof![Just(HOST0), (0..20_u8).prop_map(guest)],
        id in proptest::option::of(0..4_u8),
        ciaddr in prop_oneof![2 => Just(NOWHERE), 1 => some_address()],
        requested in proptest::option::of(some_address()),
        server in proptest::option::of(prop_oneof![3 => Just(SERVER), 1 => some_address()]),
        rapid: bool,
        to in prop_oneof![Just(SERVER), Just(EVERYBODY)],
        wait in prop_oneof![8 => Just(0_u64), 1 => 0..5000_u64],
        reconfigure in prop::bool::weighted(0.02),
    ) -> Step {
        Step { kind, mac, id, ciaddr, requested, server, rapid, to, wait, reconfigure }
    }
}

impl Step {
    fn message(&self) -> Message {
        let mut message = message(MessageType::from(self.kind), self.mac).having(self.ciaddr);
        let id = self.id.map(|id| DhcpOption::ClientIdentifier(vec![0, id]));
        let requested = self.requested.map(DhcpOption::RequestedIpAddress);
        let server = self.server.map(DhcpOption::ServerIdentifier);
        let rapid = self.rapid.then_some(DhcpOption::RapidCommit);
        for option in [id, requested, server, rapid].into_iter().flatten() {
            message = message.with(option);
        }
        message
    }

    /// Who the server should take the sender for.
    fn client(&self) -> Vec<u8> {
        match self.id {
            _ if self.mac == HOST0 => b"host0".to_vec(),
            Some(id) => vec![0, id],
            None => [&[1], &self.mac.0[..]].concat(),
        }
    }
}

proptest! {
    /// A client that was told "yes" is the only one until its lease ends.
    #[test]
    fn no_two_clients_hold_one_address(steps in prop::collection::vec(step(), 1..120)) {
        let mut bench = Bench::new();
        // As a bystander who sees only the wire would keep it.
        let mut held: BTreeMap<Ipv4Addr, (Vec<u8>, Instant)> = BTreeMap::new();
        for step in steps {
            bench.pass(Duration::from_secs(step.wait));
            if step.reconfigure {
                bench.configure(config());
            }
            let usage = bench.server.usage();
            prop_assert_eq!(usage.free + usage.held + usage.resting, 12, "no address is lost");
            let now = bench.now;
            held.retain(|_, (_, until)| *until > now);
            let before = bench.leased();
            let reply = bench.bytes(step.to, step.message().to_vec().unwrap());
            // Given back, or found in use by another host.
            if matches!(step.kind, 4 | 7) {
                let after = bench.leased();
                for gone in before.iter().filter(|address| !after.contains(address)) {
                    let (client, _) = held.remove(gone).unwrap();
                    prop_assert_eq!(client, step.client());
                }
            }
            // The answer to INFORM gives nothing.
            let is_lease = |reply: &Reply| {
                reply.kind() == MessageType::Ack && reply.message.yiaddr() != NOWHERE
            };
            if let Some(reply) = reply.filter(is_lease) {
                let given = reply.message.yiaddr();
                if let Some((holder, _)) = held.get(&given) {
                    prop_assert_eq!(holder, &step.client());
                }
                prop_assert_eq!(given == HOST0_ADDRESS, step.mac == HOST0);
                prop_assert!((2..15).map(address).any(|client| client == given));
                held.retain(|_, (client, _)| *client != step.client());
                held.insert(given, (step.client(), bench.now + Duration::from_secs(3600)));
            }
            let known: BTreeSet<_> = bench.leased().into_iter().collect();
            prop_assert_eq!(known, held.keys().copied().collect::<BTreeSet<_>>());
        }
    }

    /// Whatever has happened on the link, host0 gets its address at once.
    #[test]
    fn host0_always_gets_its_address(steps in prop::collection::vec(step(), 0..120)) {
        let mut bench = Bench::new();
        for step in steps {
            bench.pass(Duration::from_secs(step.wait));
            bench.bytes(step.to, step.message().to_vec().unwrap());
        }
        prop_assert_eq!(bench.plain_lease(HOST0), HOST0_ADDRESS);
        let reply = bench.ask_directly(renew(HOST0, HOST0_ADDRESS)).unwrap();
        reply.is_ack_for(HOST0_ADDRESS);
    }

    #[test]
    fn any_bytes_are_survived(payload: Vec<u8>, to in some_address()) {
        Bench::new().bytes(to, payload);
    }

    /// Beyond the fixed fields, where random bytes alone would never come.
    #[test]
    fn any_options_are_survived(
        step in step(),
        options in prop::collection::vec(any::<u8>(), 0..600),
        overload in proptest::option::of(any::<u8>()),
        file: [u8; 32],
    ) {
        let mut bytes = step.message().to_vec().unwrap();
        bytes.pop();
        bytes[108..140].copy_from_slice(&file);
        bytes.extend(overload.into_iter().flat_map(|value| [52, 1, value]));
        bytes.extend(options);
        let mut bench = Bench::new();
        if let Some(reply) = bench.bytes(EVERYBODY, bytes) {
            prop_assert!((300..=1392).contains(&reply.transmit.payload.len()));
        }
    }

    #[test]
    fn a_flipped_byte_anywhere_is_survived(step in step(), at in 0..300_usize, byte: u8) {
        let mut bytes = step.message().to_vec().unwrap();
        let at = at % bytes.len();
        bytes[at] = byte;
        Bench::new().bytes(EVERYBODY, bytes);
    }
}
