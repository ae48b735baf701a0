//! The part of the bench that runs in a host: many machines without a container
//! behind each, registered by one process as a supervisor registers its own.
//!
//! A machine has a leader of its own (a sleeping child of this process), a cgroup and
//! a link; the container's end of it is in a network namespace that they share.

use std::fs;
use std::io::{self, BufRead, Write};
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use registry::cgroup2::Hierarchy;
use registry::protocol::{
    Configured, FromSupervisor, Network, Registration, ToSupervisor, decode, encode,
};
use registry::seqpacket::{Received, receive, send};
use registry::{Mac, SUPERVISOR_SOCKET};
use rustix::event::epoll;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::kernel::batch::{Batch, Veth};
use crate::kernel::clone;
use crate::links;

/// How long netd may take for all of them.
const PATIENCE: Duration = Duration::from_secs(120);

/// `crowd`: does what its standard input says, a line each: `leaders FIRST END`,
/// `register FIRST END`, `reconnect FIRST END`. Writes a line
/// when that is done. `bare COUNT`: makes containers of nothing but what the kernel
/// does, and writes the processor's time of each, in nanoseconds.
pub fn main(words: &[String]) {
    if let [what, count] = words
        && what == "bare"
    {
        bare(count.parse().unwrap());
        return;
    }
    let mut crowd = Crowd::new();
    for line in io::stdin().lock().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        let [what, first, end] = words[..] else {
            panic!("{line:?} is no order");
        };
        let range = first.parse().unwrap()..end.parse().unwrap();
        let answer = match what {
            "leaders" => crowd.start_leaders(range),
            "register" => crowd.register(range, false),
            "reconnect" => crowd.register(range, true),
            _ => panic!("{line:?} is no order"),
        };
        println!("{answer}");
        io::stdout().flush().unwrap();
    }
}

struct Crowd {
    hierarchy: Hierarchy,
    netlink: OwnedFd,
    machines: Vec<Machine>,
}

struct Machine {
    leader: i32,
    connection: Option<OwnedFd>,
}

impl Crowd {
    fn new() -> Self {
        // On a thread, which takes its namespace with it when it ends.
        let netlink = std::thread::spawn(|| {
            let namespace = fs::File::open(links::PEERS).unwrap();
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            let kind = SocketType::RAW;
            socket_with(AddressFamily::NETLINK, kind, SocketFlags::CLOEXEC, None).unwrap()
        });
        Self {
            hierarchy: Hierarchy::find().unwrap(),
            netlink: netlink.join().unwrap(),
            machines: Vec::new(),
        }
    }

    fn start_leaders(&mut self, range: Range<u32>) -> String {
        assert_eq!(
            range.start as usize,
            self.machines.len(),
            "they are numbered"
        );
        for number in range {
            let directory = self.hierarchy.directory_below(Path::new(&cgroup(number)));
            fs::create_dir_all(&directory).unwrap();
            // A descriptor for use, where that of `Group` is for names alone.
            let directory = fs::File::open(&directory).unwrap();
            let leader = clone::sleeper(&directory).unwrap();
            self.machines.push(Machine {
                leader,
                connection: None,
            });
        }
        "done".into()
    }

    /// Registers all at once; gives how long each answer took, in nanoseconds.
    fn register(&mut self, range: Range<u32>, running: bool) -> String {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let messages: Vec<Vec<u8>> = range
            .clone()
            .map(|number| encode(&self.registration(number, running)).unwrap())
            .collect();
        let deadline = Instant::now() + PATIENCE;
        wait_for_netd(deadline);
        let started = Instant::now();
        for (number, message) in range.clone().zip(messages) {
            let machine = &mut self.machines[number as usize];
            let pid = Pid::from_raw(machine.leader).unwrap();
            let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
            let connection = connected();
            let descriptors = [pidfd.as_fd(), self.netlink.as_fd()];
            send(&connection, &message, &descriptors).unwrap();
            let data = epoll::EventData::new_u64(number.into());
            epoll::add(&poll, &connection, data, epoll::EventFlags::IN).unwrap();
            machine.connection = Some(connection);
        }
        let mut took = Vec::new();
        let mut events = Vec::with_capacity(256);
        while took.len() < range.len() {
            assert!(
                Instant::now() < deadline,
                "{} answers of {}",
                took.len(),
                range.len()
            );
            events.clear();
            let second = rustix::event::Timespec {
                tv_sec: 1,
                tv_nsec: 0,
            };
            epoll::wait(
                &poll,
                rustix::buffer::spare_capacity(&mut events),
                Some(&second),
            )
            .unwrap();
            for event in &events {
                let connection = &self.machines[event.data.u64() as usize].connection;
                let connection = connection.as_ref().unwrap();
                take_answer(connection);
                took.push(started.elapsed());
                epoll::delete(&poll, connection).unwrap();
            }
        }
        let took: Vec<String> = took
            .iter()
            .map(|took| took.as_nanos().to_string())
            .collect();
        took.join(" ")
    }

    fn registration(&self, number: u32, running: bool) -> FromSupervisor {
        FromSupervisor::Register(Registration {
            name: links::machine(number),
            service: "rspawn".into(),
            id: None,
            root: format!("/trees/m{number}"),
            cgroup: self.hierarchy.name_below(Path::new(&cgroup(number))),
            network: Network::Veth {
                ifindex: links::index(number),
            },
            ephemeral: false,
            running,
        })
    }
}

fn cgroup(number: u32) -> String {
    format!("machine.slice/machine-m{number}.scope")
}

fn take_answer(connection: &OwnedFd) {
    let Received::Message(bytes, _) = receive(connection).unwrap() else {
        panic!("netd ended a connection");
    };
    match decode(&bytes).unwrap() {
        ToSupervisor::Registered(_) => {
            send(
                connection,
                &encode(&FromSupervisor::Configured(Configured::default())).unwrap(),
                &[],
            )
            .unwrap();
        }
        ToSupervisor::Refused(refusal) => panic!("netd refuses: {}", refusal.message),
        ToSupervisor::Published => panic!("nobody has asked for that"),
    }
}

fn wait_for_netd(deadline: Instant) {
    while Instant::now() < deadline {
        let flags = SocketFlags::CLOEXEC;
        let kind = SocketType::STREAM;
        let probe = socket_with(AddressFamily::UNIX, kind, flags, None).unwrap();
        let address = SocketAddrUnix::new(SUPERVISOR_SOCKET).unwrap();
        // Of another type than it listens with, so that it sees no connection.
        if connect(&probe, &address) == Err(rustix::io::Errno::PROTOTYPE) {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("netd does not listen");
}

/// A connection to netd; waits while more wait than netd has a queue for.
fn connected() -> OwnedFd {
    let kind = SocketType::SEQPACKET;
    let socket = socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap();
    connect(&socket, &SocketAddrUnix::new(SUPERVISOR_SOCKET).unwrap()).unwrap();
    socket
}

/// A netlink socket in a network namespace, made on a thread that ends with it.
fn socket_in(namespace: fs::File) -> OwnedFd {
    let open = move || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        crate::kernel::batch::socket(0).unwrap()
    };
    std::thread::spawn(open).join().unwrap()
}

fn bare(count: u32) {
    let socket = crate::kernel::batch::socket(0).unwrap();
    for number in 0..count {
        let index = 900_000 + number;
        let took = clone::bare_container(|pid| {
            let namespace = fs::File::open(format!("/proc/{pid}/ns/net"))?;
            let mut batch = Batch::default();
            batch.add_veth(&Veth {
                index,
                name: format!("kb-{number}"),
                group: 0,
                peer: "host0".into(),
                peer_index: 2,
                macs: [1, 2].map(|side| Mac([2, 0x72, side, 0, (number >> 8) as u8, number as u8])),
                namespace: namespace.as_fd(),
            });
            batch.set_up(index);
            links::addresses(number, 1).for_each(|address| batch.add_address(index, address));
            batch.perform(&socket)?;
            let mut inside = Batch::default();
            inside.set_up(2);
            links::addresses(number, 2).for_each(|address| inside.add_address(2, address));
            inside.perform(&socket_in(namespace)).map(|_| ())
        });
        println!("{}", took.unwrap().as_nanos());
        // The kernel is to be done with the last one.
        std::thread::sleep(Duration::from_millis(250));
    }
}
