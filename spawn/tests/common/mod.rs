//! A host with rspawn in it, and a stand-in for netd that the test speaks for.
// Not every test uses all of it, and a broken fixture is a failed test.
#![allow(dead_code, clippy::unwrap_used, clippy::indexing_slicing)]

use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use netns_fixtures::{Host, HostCommand, Running, eventually};
use registry::SUPERVISOR_SOCKET;
use registry::protocol::{
    FromSupervisor, Host0, Registered, Registration, Route, ToSupervisor, decode, encode,
};
use registry::seqpacket::{Received, receive, send};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with,
};

/// Long enough for anything that happens here.
pub const SOON: Duration = Duration::from_secs(15);

/// A host with rspawn installed, and nothing else of ours.
pub fn host() -> Host {
    let host = Host::new();
    let program = std::fs::read(env!("CARGO_BIN_EXE_rspawn")).unwrap();
    host.write_program("/usr/bin/rspawn", program);
    host.run("mkdir -p /run/rspawn /var/lib/rspawn");
    host
}

/// `rspawn -q -M web -D TREE`.
pub fn rspawn<'a>(host: &'a Host, tree: &Path, arguments: &[&str]) -> HostCommand<'a> {
    host.command("rspawn")
        .args(["-q", "-M", "web", "-D"])
        .arg(tree)
        .args(arguments)
        .cgroup("web.service")
}

/// Waits until the payload has written a line.
pub fn wait_for_line(running: &Running<'_>, line: &str) {
    let seen = eventually(SOON, || {
        running.stdout().lines().any(|l| l == line).then_some(())
    });
    assert!(seen.is_some(), "{}\n{}", running.stdout(), running.stderr());
}

/// A stand-in for netd.
pub struct Netd(OwnedFd);

impl Netd {
    /// Listens where netd would.
    pub fn new(host: &Host) -> Self {
        host.enter(|| {
            let flags = SocketFlags::CLOEXEC;
            let socket =
                socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
            std::fs::remove_file(SUPERVISOR_SOCKET).ok();
            bind(&socket, &SocketAddrUnix::new(SUPERVISOR_SOCKET).unwrap()).unwrap();
            listen(&socket, 16).unwrap();
            Self(socket)
        })
    }

    /// The next supervisor that connects.
    pub fn accept(&self) -> Supervisor {
        wait(&self.0);
        Supervisor(accept_with(&self.0, SocketFlags::CLOEXEC).unwrap())
    }
}

/// The connection of a supervisor.
pub struct Supervisor(OwnedFd);

impl Supervisor {
    /// Its next message, and the descriptors that came along.
    pub fn hear(&self) -> (FromSupervisor, Vec<OwnedFd>) {
        wait(&self.0);
        match receive(&self.0).unwrap() {
            Received::Message(bytes, descriptors) => (decode(&bytes).unwrap(), descriptors),
            other => panic!("instead of a message: {other:?}"),
        }
    }

    /// Its registration.
    pub fn hear_registration(&self) -> (Registration, Vec<OwnedFd>) {
        match self.hear() {
            (FromSupervisor::Register(registration), descriptors) => (registration, descriptors),
            other => panic!("instead of a registration: {other:?}"),
        }
    }

    /// Answers.
    pub fn say(&self, message: &ToSupervisor) {
        send(&self.0, &encode(message).unwrap(), &[]).unwrap();
    }

    /// Registers it, with addresses of the ranges for documentation.
    pub fn configure(&self) {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let route = |destination: &str, gateway, source| Route {
            destination: destination.parse().unwrap(),
            gateway: ip(gateway),
            preferred_source: ip(source),
        };
        self.say(&ToSupervisor::Registered(Registered {
            host0: Some(Host0 {
                addresses: ["192.0.2.2/28", "2001:db8::2/64"]
                    .map(|text| text.parse().unwrap())
                    .to_vec(),
                routes: vec![
                    route("0.0.0.0/0", "192.0.2.1", "192.0.2.2"),
                    route("::/0", "2001:db8::1", "2001:db8::2"),
                ],
                dns: vec![ip("198.51.100.53")],
                domain: Some("example.net".into()),
                mtu: Some(1400),
            }),
        }));
    }
}

fn wait(fd: impl AsFd) {
    let timeout = Timespec::try_from(SOON).unwrap();
    let mut polled = [PollFd::new(&fd, PollFlags::IN)];
    assert_eq!(poll(&mut polled, Some(&timeout)), Ok(1), "nobody spoke");
}
