//! The networks next to a host.

use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use crate::SOON;
use netns_fixtures::{Host, Peer, Running};

/// The host's link and address towards the outside (RFC 5737: for documentation).
pub const UPLINK: (&str, &str) = ("up0", "198.51.100.1");

/// For nft, where a DHCP client is: what it sends to a server alone by `host0` is lost.
pub const LOSE_UNICAST: &str = "table netdev lost {
    chain egress {
        type filter hook egress device host0 priority 0
        udp dport 67 ip daddr != 255.255.255.255 drop
    }
}";
/// It is not any more.
pub const FIND_UNICAST: &str = "delete table netdev lost";

/// The outside: the host's default route leads there, and it knows the way to
/// nothing but the host itself.
pub fn outside(host: &Host) -> Peer<'_> {
    let peer = host
        .peer("outside")
        .joined(UPLINK.0, "198.51.100.1/24", "198.51.100.2/24");
    // The resolver of /etc/resolv.conf is not there: whoever asks it is told at once.
    host.run("ip route add default via 198.51.100.2; ip route add prohibit 198.51.100.53");
    peer.run("ip -6 address add 2001:db8::2/64 dev eth0 nodad");
    host.run(
        "ip -6 address add 2001:db8::1/64 dev up0 nodad; ip -6 route add default via 2001:db8::2",
    );
    peer
}

/// Serves one connection on `listener`: writes the peer's address to it, and gives it.
///
/// # Panics
/// When nobody connects within 40 seconds.
#[must_use]
pub fn serve_peer_name(listener: &TcpListener) -> IpAddr {
    listener.set_nonblocking(true).unwrap();
    let accepted = netns_fixtures::eventually(crate::SOON, || listener.accept().ok());
    let (mut stream, peer) = accepted.expect("nobody connects");
    writeln!(stream, "{}", peer.ip()).unwrap();
    peer.ip()
}

/// The source of the next datagram on `socket` and its text.
#[must_use]
pub fn capture_source(socket: &UdpSocket, patience: Duration) -> Option<(SocketAddr, String)> {
    let mut buffer = [0; 2048];
    socket.set_read_timeout(Some(patience)).unwrap();
    let (length, source) = socket.recv_from(&mut buffer).ok()?;
    Some((
        source,
        String::from_utf8_lossy(&buffer[..length]).into_owned(),
    ))
}

/// dnsmasq that gives out 10.77.0.50 to 10.77.0.59 on the bridge br0, and serves now.
#[must_use]
pub fn start_dnsmasq(host: &Host) -> Running<'_> {
    let mut dnsmasq = host
        .command("dnsmasq")
        .args(["-k", "-C", "/dev/null", "-p0", "-i", "br0", "-u", "root"])
        .args(["-F", "10.77.0.50,10.77.0.59,1h", "--leasefile-ro"])
        .args(["--log-dhcp", "--log-facility=-"])
        .spawn("dnsmasq");
    dnsmasq.wait_for_output("DHCP, IP range", SOON);
    dnsmasq
}
