//! A DHCP relay: messages of clients and answers of servers of any bytes and any fields, from
//! several ports, with time passing between them.
#![no_main]

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use netd::dhcp::relay::{Forward, Place, Relay, RelayConfig};

const OWN: Ipv4Addr = Ipv4Addr::new(10, 50, 0, 1);
const SERVERS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 9, 0, 1), Ipv4Addr::new(10, 9, 0, 2)];
const PENDING: usize = 8;

#[derive(Arbitrary, Debug)]
struct Run<'a> {
    remote: Option<&'a [u8]>,
    steps: Vec<Step<'a>>,
}

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    Wait(u8),
    Client {
        port: u8,
        trusted: bool,
        form: Form<'a>,
    },
    Server {
        number: u8,
        form: Form<'a>,
    },
    /// An answer to what was passed on last, as a server makes it of that.
    Answer {
        number: u8,
        yiaddr: u8,
        options: &'a [u8],
    },
    RawClient {
        port: u8,
        circuit: &'a [u8],
        bytes: &'a [u8],
    },
    RawServer(&'a [u8]),
}

#[derive(Arbitrary, Debug)]
struct Form<'a> {
    op: bool,
    hops: u8,
    xid: u8,
    broadcast: bool,
    ciaddr: u8,
    yiaddr: u8,
    giaddr: Relays,
    mac: u8,
    kind: u8,
    agent: Option<&'a [u8]>,
    options: &'a [u8],
}

#[derive(Arbitrary, Debug)]
enum Relays {
    Nobody,
    Us,
    Another,
}

impl Form<'_> {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![if self.op { 1 } else { 2 }, 1, 6, self.hops % 20];
        bytes.extend([0, 0, 0, self.xid % 4]);
        bytes.extend([0, 0, u8::from(self.broadcast) << 7, 0]);
        for last in [self.ciaddr, self.yiaddr] {
            bytes.extend(if last == 0 { [0; 4] } else { [10, 50, 0, last] });
        }
        bytes.extend([0; 4]);
        bytes.extend(match self.giaddr {
            Relays::Nobody => [0; 4],
            Relays::Us => OWN.octets(),
            Relays::Another => [10, 50, 0, 9],
        });
        bytes.extend([2, 0, 0, 0, 0, self.mac % 4]);
        bytes.resize(236, 0);
        bytes.extend([99, 130, 83, 99, 53, 1, self.kind % 9]);
        if let Some(agent) = self.agent {
            let agent = &agent[..agent.len().min(255)];
            bytes.extend([82, agent.len() as u8]);
            bytes.extend(agent);
        }
        bytes.extend(self.options);
        bytes
    }
}

struct World {
    relay: Relay,
    now: Instant,
    /// What was passed to servers last.
    last: Vec<u8>,
    /// Which port asked last by this exchange.
    asked: HashMap<Vec<u8>, u32>,
}

fn circuit(port: u8) -> Vec<u8> {
    format!("web{port}").into_bytes()
}

impl World {
    fn from_client(&mut self, port: u8, circuit: &[u8], trusted: bool, payload: &[u8]) {
        let place = Place {
            port: port.into(),
            circuit,
            trusted,
        };
        let Ok(forwards) = self.relay.from_client(self.now, &place, payload) else {
            return;
        };
        assert_eq!(forwards.len(), SERVERS.len());
        assert!((1..=128).contains(&circuit.len()));
        for (forward, server) in forwards.into_iter().zip(SERVERS) {
            let Forward::ToServer {
                source,
                destination,
                payload: sent,
            } = forward
            else {
                panic!("a request goes to a client");
            };
            assert_eq!((*source.ip(), *destination.ip()), (OWN, server));
            assert!((300..=1472).contains(&sent.len()));
            assert_eq!(sent[3], payload[3] + 1, "a hop more");
            let giaddr = &payload[24..28];
            if giaddr == [0; 4] {
                assert_eq!(sent[24..28], OWN.octets());
                self.asked.insert(exchange(&sent), port.into());
            } else {
                assert!(trusted, "a relay that nobody trusts was believed");
                assert_eq!(&sent[24..28], giaddr);
            }
            if !trusted {
                let ours = [
                    &[82, circuit.len() as u8 + 2, 1, circuit.len() as u8],
                    circuit,
                ]
                .concat();
                let named = sent.windows(ours.len()).any(|part| part == ours);
                let named = named || sent.windows(circuit.len()).any(|part| part == circuit);
                assert!(named, "the server is not told who asks");
            }
            self.last = sent;
        }
    }

    fn from_server(&mut self, server: Ipv4Addr, payload: &[u8]) {
        let Ok(forward) = self.relay.from_server(self.now, server, payload) else {
            return;
        };
        assert!(SERVERS.contains(&server));
        let Forward::ToClient(transmit) = forward else {
            panic!("an answer goes to a server");
        };
        let asked = self.asked.get(&exchange(payload));
        assert_eq!(
            asked,
            Some(&transmit.port),
            "an answer goes to who has not asked"
        );
        assert_eq!(*transmit.source.ip(), OWN);
        assert_eq!(transmit.destination.port(), 68);
        assert!(transmit.payload.len() >= 300);
        let mac = transmit.destination_mac.0;
        assert!(mac == [0xff; 6] || mac[..] == payload[28..34]);
    }

    fn step(&mut self, step: &Step<'_>) {
        match step {
            Step::Wait(seconds) => self.now += Duration::from_secs(u64::from(*seconds)),
            Step::Client {
                port,
                trusted,
                form,
            } => {
                self.from_client(port % 4, &circuit(port % 4), *trusted, &form.bytes());
            }
            Step::Server { number, form } => self.from_server(server(*number), &form.bytes()),
            Step::Answer {
                number,
                yiaddr,
                options,
            } => {
                if self.last.is_empty() {
                    return;
                }
                let mut answer = self.last.clone();
                answer[0] = 2;
                answer[16..20].copy_from_slice(&[10, 50, 0, *yiaddr]);
                if answer.last() == Some(&0) {
                    answer.truncate(answer.len() - 1);
                }
                answer.extend(*options);
                self.from_server(server(*number), &answer);
            }
            Step::RawClient {
                port,
                circuit,
                bytes,
            } => {
                self.from_client(port % 4, circuit, false, bytes);
            }
            Step::RawServer(bytes) => self.from_server(SERVERS[0], bytes),
        }
        assert!(self.relay.pending() <= PENDING);
    }
}

fn exchange(message: &[u8]) -> Vec<u8> {
    [&message[4..8], &message[28..34]].concat()
}

fn server(number: u8) -> Ipv4Addr {
    let strange = Ipv4Addr::new(10, 9, 0, 3);
    SERVERS
        .get(usize::from(number % 3))
        .copied()
        .unwrap_or(strange)
}

fuzz_target!(|run: Run<'_>| {
    let mut config = RelayConfig::new(OWN, SERVERS.to_vec());
    config.pending = PENDING;
    config.remote_id = run
        .remote
        .map(<[u8]>::to_vec)
        .filter(|id| (1..=64).contains(&id.len()));
    let mut world = World {
        relay: Relay::new(config),
        now: Instant::now(),
        last: Vec::new(),
        asked: HashMap::new(),
    };
    for step in run.steps.iter().take(64) {
        world.step(step);
    }
});
