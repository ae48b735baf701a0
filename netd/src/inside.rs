//! The addresses of a container that others give out, seen from inside.
//!
//! The supervisor hands over a netlink socket that was opened in the container's
//! network namespace. The container sets the pace of its events, so they only say
//! that something changed: what there is is then read, at a pace of netd's own.

use std::io;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::time::{Duration, Instant};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_sys::{Socket, SocketAddr};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::AddressMessage;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

use crate::rtnl::LinkAddress;

/// How long after a change the addresses are read at the earliest.
const PACE: Duration = Duration::from_millis(50);
/// Reading takes at most one part in so many of netd's time.
const SHARE: u32 = 20;
/// How long after a failure they are read again.
const AGAIN: Duration = Duration::from_secs(1);
/// How many addresses of a container are looked at.
const ADDRESSES_MAX: usize = 256;
const IPV4_ADDRESSES: u32 = 5;
const IPV6_ADDRESSES: u32 = 9;

/// Tells the addresses of link `index` of the namespace that `netlink` was opened
/// in: at once, and each time that they change. Ends when nobody listens any more.
pub async fn watch(netlink: OwnedFd, index: u32, addresses: mpsc::Sender<Vec<LinkAddress>>) {
    let socket = match prepare(netlink) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::warn!("a container's addresses cannot be followed: {error}");
            return;
        }
    };
    let mut last = None;
    while let Err(error) = follow(&socket, index, &addresses, &mut last).await {
        // Its link may be gone, or memory short: neither keeps netd busy.
        tracing::debug!("a container's addresses cannot be read: {error}");
        tokio::time::sleep(AGAIN).await;
    }
}

async fn follow(
    socket: &AsyncFd<Socket>,
    index: u32,
    addresses: &mpsc::Sender<Vec<LinkAddress>>,
    last: &mut Option<Vec<LinkAddress>>,
) -> io::Result<()> {
    loop {
        let began = Instant::now();
        let Dump {
            addresses: now,
            overtaken,
        } = dump(socket, index).await?;
        let took = began.elapsed();
        if last.as_ref() != Some(&now) {
            if addresses.send(now.clone()).await.is_err() {
                return Ok(());
            }
            *last = Some(now);
        }
        if !overtaken {
            receive(socket).await?;
        }
        tokio::time::sleep(PACE.max(took * SHARE)).await;
    }
}

#[allow(unsafe_code)]
fn prepare(netlink: OwnedFd) -> io::Result<AsyncFd<Socket>> {
    // SAFETY: the descriptor is owned and handed over.
    let socket = unsafe { Socket::from_raw_fd(netlink.into_raw_fd()) };
    socket.set_non_blocking(true)?;
    socket.set_netlink_get_strict_chk(true)?;
    // Lost events make no difference: they all say "read again".
    socket.set_no_enobufs(true)?;
    socket.add_membership(IPV4_ADDRESSES)?;
    socket.add_membership(IPV6_ADDRESSES)?;
    crate::async_fd::watch(socket, Interest::READABLE)
}

/// What one reading gave.
struct Dump {
    addresses: Vec<LinkAddress>,
    /// Whether something changed meanwhile, so that it has to be read again.
    overtaken: bool,
}

async fn dump(socket: &AsyncFd<Socket>, index: u32) -> io::Result<Dump> {
    let mut request = AddressMessage::default();
    request.header.index = index;
    let mut message = NetlinkMessage::from(RouteNetlinkMessage::GetAddress(request));
    message.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    message.header.sequence_number = 1;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    discard_all(socket);
    socket
        .get_ref()
        .send_to(&bytes, &SocketAddr::new(0, 0), 0)?;

    let mut found = Vec::new();
    let mut overtaken = false;
    loop {
        let bytes = receive(socket).await?;
        for message in messages_of(&bytes) {
            if message.header.sequence_number != 1 {
                overtaken = true;
                continue;
            }
            match message.payload {
                NetlinkPayload::Done(_) => {
                    return Ok(Dump {
                        addresses: found,
                        overtaken,
                    });
                }
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewAddress(address)) => {
                    let address = LinkAddress::from_message(&address);
                    if let Some(address) = address
                        && found.len() < ADDRESSES_MAX
                        && address.index == index
                    {
                        found.push(address);
                    }
                }
                _ => {}
            }
        }
    }
}

/// The messages of a datagram, up to the first that cannot be read.
fn messages_of(bytes: &[u8]) -> impl Iterator<Item = NetlinkMessage<RouteNetlinkMessage>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let message = NetlinkMessage::deserialize(rest).ok()?;
        let length = usize::try_from(message.header.length)
            .ok()?
            .next_multiple_of(4);
        rest = rest.get(length..).unwrap_or_default();
        (length > 0).then_some(message)
    })
}

/// The next datagram of the kernel's. Root in the container can write to this
/// socket as well; what it writes is passed over.
async fn receive(socket: &AsyncFd<Socket>) -> io::Result<Vec<u8>> {
    loop {
        let (bytes, from) = socket
            .async_io(Interest::READABLE, Socket::recv_from_full)
            .await?;
        if from.port_number() == 0 {
            return Ok(bytes);
        }
        // Whoever floods this socket must not keep netd from its other work.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn discard_all(socket: &AsyncFd<Socket>) {
    // Bounded: who writes faster than this reads is read again later.
    for _ in 0..1024 {
        if socket.get_ref().recv_from_full().is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A netlink socket of a fresh network namespace, and the way to run `ip` there.
    struct Inside(std::process::Child);

    impl Inside {
        fn new() -> Self {
            let script = "ip link add host0 type veth peer name x; echo ready; exec sleep 60";
            let mut child = std::process::Command::new("unshare")
                .args(["-n", "sh", "-c", script])
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap();
            let mut line = String::new();
            let out = child.stdout.as_mut().unwrap();
            std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).unwrap();
            assert_eq!(line, "ready\n");
            Self(child)
        }

        fn socket(&self) -> OwnedFd {
            let path = format!("/proc/{}/ns/net", self.0.id());
            std::thread::spawn(move || {
                let namespace = std::fs::File::open(path).unwrap();
                #[allow(unsafe_code)]
                // SAFETY: the thread is this closure's own and ends with it.
                let moved = unsafe { libc::setns(std::os::fd::AsRawFd::as_raw_fd(&namespace), 0) };
                assert_eq!(moved, 0);
                let socket = Socket::new(netlink_sys::protocols::NETLINK_ROUTE).unwrap();
                #[allow(unsafe_code)]
                // SAFETY: the descriptor is owned and handed over.
                unsafe {
                    OwnedFd::from_raw_fd(socket.into_raw_fd())
                }
            })
            .join()
            .unwrap()
        }

        fn ip(&self, arguments: &str) {
            let status = std::process::Command::new("nsenter")
                .args(["-n", "-t", &self.0.id().to_string(), "ip"])
                .args(arguments.split(' '))
                .status()
                .unwrap();
            assert!(status.success());
        }
    }

    impl Drop for Inside {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[tokio::test]
    async fn addresses_are_told_as_they_come_and_go() {
        let inside = Inside::new();
        let index = 3;
        let (sender, mut told) = mpsc::channel(4);
        let watch = tokio::spawn(watch(inside.socket(), index, sender));
        let mut next = async || {
            let told = tokio::time::timeout(Duration::from_secs(5), told.recv()).await;
            let told = told.unwrap().unwrap();
            told.iter()
                .map(|address| address.address.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(next().await, Vec::<String>::new());
        inside.ip("address add 192.0.2.2/24 dev host0");
        assert_eq!(next().await, ["192.0.2.2/24"]);
        inside.ip("address add 198.51.100.2/24 dev x");
        inside.ip("address del 192.0.2.2/24 dev host0");
        assert_eq!(next().await, Vec::<String>::new());
        watch.abort();
    }
}
