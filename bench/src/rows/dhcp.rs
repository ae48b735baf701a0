//! The DHCP server of a zone beside Kea and dnsmasq.

use std::path::Path;
use std::time::Duration;

use netns_fixtures::{Host, Peer, Running, wait_until};

use crate::Extent;
use crate::measure::{Samples, shown};
use crate::peers::{self, Netd};
use crate::process::Process;
use crate::report::Section;

const PATIENCE: Duration = Duration::from_secs(30);
/// The bridge, whoever serves there, and its port.
const BRIDGE: &str = "vz-lab";
const PORT: &str = "vb-box";
/// How many single DISCOVERs are sent in a second.
const ALONE: u32 = 40;
/// The same address and pool for all.
const ADDRESS: &str = "10.50.0.1/16";

/// Exchanges of all four messages at a rate, and single DISCOVERs.
pub fn measure(extent: Extent) {
    let rates: &[u32] = extent.pick(&[3000], &[500, 3000]);
    let seconds = extent.pick(4, 10);
    let mut section = Section::new(
        "DHCP: a server's processor time, and how soon it offers",
        &[
            "server",
            "rate",
            "exchanges",
            "lost",
            "processor time an exchange",
            "exchanges a processor second",
            "DISCOVER to OFFER, one at a time",
        ],
    )
    .commands(&[
        "perfdhcp -4 -l host0 -r RATE -R 60000 -p SECONDS -d 5 -W 2000000",
        "perfdhcp -4 -i -l host0 -r 40 -R 60000 -p SECONDS",
    ])
    .notes(&[
        "One client's port on a bridge with 10.50.0.1/16; each client is a new one. An exchange is DISCOVER, OFFER, \
         REQUEST and ACK. The time is that of all threads of the server's process, in user space and in the kernel \
         (schedstat), over a whole run of perfdhcp, divided by the ACKs that perfdhcp got. Lost is what perfdhcp \
         counts of OFFERs and ACKs. From DISCOVER to OFFER is from the frame at the bridge's port to the reply at \
         the same port, by the kernel's stamps (tcpdump), of each server alike.",
        "Where no server is, a program with a packet socket at the port calls each DISCOVER an OFFER and sends it back: \
         what waking a process takes on this machine.",
        "Leases are written before they are acknowledged, into files in memory: netd's with fdatasync, Kea's memfile \
         (persist) and dnsmasq's lease file without. netd looks by ARP whether each address is in use, which counts; Kea has no such check here; dnsmasq's ping, for which it stops serving, is off. Kea and dnsmasq log no \
         leases.",
    ]);
    let floor = floor(seconds);
    let none = "-";
    let what = "no server: each DISCOVER is sent back";
    section.row(&[&what, &none, &none, &none, &none, &none, &floor.shown()]);
    for kind in [Kind::Netd, Kind::Kea, Kind::KeaOneThread, Kind::Dnsmasq] {
        for rate in rates {
            run(&mut section, kind, *rate, seconds);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Netd,
    Kea,
    KeaOneThread,
    Dnsmasq,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Netd => "netd, a zone",
            Self::Kea => "Kea, memfile, as it comes",
            Self::KeaOneThread => "Kea, memfile, one thread",
            Self::Dnsmasq => "dnsmasq",
        }
    }
}

/// A bridge with a port, and who asks behind it.
fn wired(host: &Host) -> Peer<'_> {
    let network = host.peer("box");
    host.run(&format!(
        "ip link add {BRIDGE} group 29299 type bridge
         ip link add {PORT} group 29299 type veth peer name host0 netns box
         ip link set {PORT} master {BRIDGE}
         ip link set {PORT} up; ip link set {BRIDGE} up"
    ));
    network.run("ip link set host0 up; ip address add 10.50.255.254/16 dev host0");
    network
}

/// What of the time from DISCOVER to OFFER is the machine's own.
fn floor(seconds: u32) -> Samples {
    let host = peers::ours();
    let network = wired(&host);
    let mirror = host.compile("mirror", MIRROR, "");
    let mut mirror = host.command(mirror).arg(PORT).spawn("mirror");
    mirror.wait_for_output("ready", PATIENCE);
    offers(&host, &network, seconds)
}

fn run(section: &mut Section, kind: Kind, rate: u32, seconds: u32) {
    let host = peers::ours();
    let network = wired(&host);
    let server = start(kind, &host);
    let process = server.process();
    let offers = offers(&host, &network, seconds);
    // Offers that nobody takes are kept for a while, and are not of what is counted next.
    process.settle();
    let before = process.processor();
    let report = perfdhcp(
        &network,
        &[
            "-r",
            &rate.to_string(),
            "-R",
            "60000",
            "-p",
            &seconds.to_string(),
            "-d",
            "5",
            "-W",
            "2000000",
        ],
    );
    let taken = process.processor() - before;
    let received = reported(&report, "received packets");
    let lost: u64 = reported(&report, "drops").iter().sum();
    let exchanges = received.last().copied().unwrap_or(0);
    let each = taken / u32::try_from(exchanges).unwrap_or(1).max(1);
    section.row(&[
        &kind.name(),
        &format!("{rate}/s"),
        &exchanges,
        &lost,
        &shown(each),
        &format!("{:.0}", 1.0 / each.as_secs_f64().max(1e-9)),
        &offers.shown(),
    ]);
}

/// A server that runs.
enum Server<'a> {
    Netd(Netd<'a>),
    Peer(Running<'a>),
}

impl Server<'_> {
    fn process(&self) -> Process {
        match self {
            Self::Netd(netd) => netd.process(),
            Self::Peer(running) => Process(running.pid()),
        }
    }
}

fn start(kind: Kind, host: &Host) -> Server<'_> {
    if kind == Kind::Netd {
        return netd(host);
    }
    host.run(&format!("ip address add {ADDRESS} dev {BRIDGE}"));
    match kind {
        Kind::Dnsmasq => dnsmasq(host),
        _ => kea(host, kind == Kind::Kea),
    }
}

fn netd(host: &Host) -> Server<'_> {
    host.write(
        "/etc/netd/50-lab.network",
        format!(
            "[Match]\nName={BRIDGE}\n\n[Network]\nAddress={ADDRESS}\n\n\
             [DHCPServer]\nMaxLeasesPerPort=60000\nPoolOffset=256\nPoolSize=60000\n"
        ),
    );
    let netd = Netd::start(host);
    let serves = || {
        host.run(&format!("ip -4 address show dev {BRIDGE}"))
            .contains(ADDRESS)
            && host.exists("/var/lib/rspawn/leases/lab")
    };
    assert!(wait_until(PATIENCE, serves), "netd serves the zone");
    Server::Netd(netd)
}

fn kea(host: &Host, threads: bool) -> Server<'_> {
    host.write(
        "/tmp/kea.json",
        format!(
            r#"{{"Dhcp4": {{
                "interfaces-config": {{"interfaces": ["{BRIDGE}"]}},
                "lease-database": {{"type": "memfile", "persist": true, "name": "/tmp/kea.csv"}},
                "multi-threading": {{"enable-multi-threading": {threads}}},
                "valid-lifetime": 3600, "authoritative": true,
                "subnet4": [{{"id": 1, "subnet": "10.50.0.0/16",
                              "pools": [{{"pool": "10.50.1.0 - 10.50.235.95"}}],
                              "option-data": [{{"name": "routers", "data": "10.50.0.1"}}]}}],
                "loggers": [{{"name": "kea-dhcp4", "severity": "WARN",
                              "output_options": [{{"output": "stderr"}}]}}]
            }}}}"#
        ),
    );
    let server = host
        .command("kea-dhcp4")
        .args(["-c", "/tmp/kea.json"])
        .env("KEA_LOCKFILE_DIR", "/tmp")
        .env("KEA_PIDFILE_DIR", "/tmp")
        .cgroup("peer.service")
        .spawn("kea");
    wait_for_file(host, "/tmp/kea.csv");
    Server::Peer(server)
}

fn dnsmasq(host: &Host) -> Server<'_> {
    let server = host
        .command("dnsmasq")
        .args([
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--port=0",
            "--quiet-dhcp",
            "--no-ping",
        ])
        .args([
            "--user=root",
            "--pid-file=/tmp/dnsmasq.pid",
            "--log-facility=/tmp/dnsmasq.log",
        ])
        .args([
            "--dhcp-range=10.50.1.0,10.50.235.95,255.255.0.0,1h",
            "--dhcp-authoritative",
        ])
        .args([
            "--dhcp-lease-max=60000",
            "--dhcp-leasefile=/tmp/dnsmasq.leases",
        ])
        .arg(format!("--interface={BRIDGE}"))
        .cgroup("peer.service")
        .spawn("dnsmasq");
    wait_for_file(host, "/tmp/dnsmasq.pid");
    Server::Peer(server)
}

fn wait_for_file(host: &Host, path: impl AsRef<Path>) {
    let exists = wait_until(PATIENCE, || host.exists(path.as_ref()));
    assert!(exists, "{} appears", path.as_ref().display());
}

/// What perfdhcp says of clients behind the port.
fn perfdhcp(network: &Peer<'_>, arguments: &[&str]) -> String {
    network
        .command("perfdhcp")
        .args(["-4", "-l", "host0"])
        .args(arguments)
        .output()
        .stdout
}

/// A number that perfdhcp reports, of each half of an exchange.
fn reported(report: &str, what: &str) -> Vec<u64> {
    let lines = report
        .lines()
        .filter_map(|line| line.trim().strip_prefix(what));
    lines
        .filter_map(|rest| rest.trim_start_matches([':', ' ']).parse().ok())
        .collect()
}

/// How long each of some single DISCOVERs took to be answered.
fn offers(host: &Host, network: &Peer<'_>, seconds: u32) -> Samples {
    let mut heard = host
        .command("tcpdump")
        .args(["-i", PORT, "-p", "-l", "-n", "-tt", "-v", "--nano"])
        .arg("udp port 67")
        .spawn("tcpdump");
    heard.wait_for_output("listening on", PATIENCE);
    let (rate, seconds) = (ALONE.to_string(), seconds.to_string());
    perfdhcp(network, &["-i", "-r", &rate, "-R", "60000", "-p", &seconds]);
    heard.signal(libc::SIGTERM);
    heard.wait(PATIENCE);
    Samples::new(waits(&heard.stdout()))
}

/// The time from each DISCOVER that tcpdump has shown to its OFFER.
fn waits(shown: &str) -> Vec<Duration> {
    let mut waits = Vec::new();
    let (mut stamp, mut asked) = (Duration::ZERO, None);
    for line in shown.lines() {
        if let Some((time, _)) = line.split_once(" IP ").filter(|_| !line.starts_with(' ')) {
            let (seconds, nanos) = time.split_once('.').unwrap();
            stamp = Duration::new(seconds.parse().unwrap(), nanos.parse().unwrap());
        } else if line.contains("DHCP-Message") && line.ends_with(": Discover") {
            asked = Some(stamp);
        } else if line.contains("DHCP-Message") && line.ends_with(": Offer") {
            waits.extend(
                asked
                    .take()
                    .and_then(|asked: Duration| stamp.checked_sub(asked)),
            );
        }
    }
    waits
}

/// Sends every DHCP request back as an OFFER.
const MIRROR: &str = r#"
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdio.h>
#include <sys/socket.h>

enum { PORT = 36, OP = 42, OPTIONS = 282, TYPE = 284 };

int main(int argc, char **argv) {
    unsigned char frame[2048];
    struct sockaddr_ll at = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) }, from;
    int fd = socket(AF_PACKET, SOCK_RAW, 0), yes = 1;
    if (argc < 2 || (at.sll_ifindex = (int)if_nametoindex(argv[1])) == 0)
        return 2;
    setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &yes, sizeof yes);
    if (bind(fd, (void *)&at, sizeof at) != 0)
        return 1;
    printf("ready\n");
    fflush(stdout);
    for (;;) {
        socklen_t size = sizeof from;
        long got = recvfrom(fd, frame, sizeof frame, 0, (void *)&from, &size);
        /* The first option is the message's type. */
        if (got <= TYPE || frame[PORT] != 0 || frame[PORT + 1] != 67 || frame[OPTIONS] != 53)
            continue;
        frame[OP] = 2;
        frame[TYPE] = 2;
        sendto(fd, frame, (size_t)got, 0, (void *)&at, sizeof at);
    }
}
"#;
