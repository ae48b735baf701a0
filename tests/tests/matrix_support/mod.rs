//! A container whose DHCP client is a program of the machine, and netd that serves it.
// Each test program uses some of it.
#![allow(dead_code)]

use std::cell::RefCell;

use netns_fixtures::{Host, HostCommand, Running, wait_until};
use rspawn_tests::{BOOT, Capture, Container, FIND_UNICAST, LOSE_UNICAST, SOON, Start};

pub const DISCOVER: &str = "dhcp.option.dhcp == 1";
pub const NAK: &str = "dhcp.option.dhcp == 6";
pub const RELEASE: &str = "dhcp.option.dhcp == 7";
pub const ACK: &str = "dhcp.option.dhcp == 5";
/// An acknowledgement without a second exchange (RFC 4039).
pub const RAPID: &str = "dhcp.option.dhcp == 5 && dhcp.option.type == 80";
/// The three kinds of request of RFC 2131, section 4.3.2.
pub const RENEWAL: &str = "dhcp.option.dhcp == 3 && dhcp.ip.client != 0.0.0.0 \
                           && ip.dst != 255.255.255.255";
pub const REBINDING: &str = "dhcp.option.dhcp == 3 && dhcp.ip.client != 0.0.0.0 \
                             && ip.dst == 255.255.255.255";
pub const REBOOT: &str = "dhcp.option.dhcp == 3 && dhcp.ip.client == 0.0.0.0 \
                          && dhcp.option.type == 50 && !(dhcp.option.type == 54)";

/// Where the container is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Link,
    Zone,
}

impl Place {
    fn link(self) -> &'static str {
        match self {
            Self::Link => "ve-web",
            Self::Zone => "vz-lab",
        }
    }

    /// Where everything that the container says and hears comes by.
    fn port(self) -> &'static str {
        match self {
            Self::Link => "ve-web",
            Self::Zone => "vb-web",
        }
    }
}

/// The client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    Udhcpc,
    Dhclient,
    Dhcpcd,
}

impl Client {
    /// Whether it asks for an address without a second exchange, if told to.
    pub fn knows_rapid_commit(self) -> bool {
        self == Self::Dhcpcd
    }

    /// Whether it keeps a lease for its next start.
    pub fn remembers(self) -> bool {
        self != Self::Udhcpc
    }

    /// How long a lease is, in seconds: each tries to rebind at least twice before its end.
    /// udhcpc takes none for less than two minutes, and does so when it is told to.
    fn lease_time(self) -> u32 {
        match self {
            Self::Udhcpc => 130,
            Self::Dhclient => 40,
            Self::Dhcpcd => 64,
        }
    }

    fn command<'a>(self, stage: &Stage<'a>) -> HostCommand<'a> {
        match self {
            Self::Udhcpc => stage.inside("udhcpc").args([
                "-f",
                "-i",
                "host0",
                "-s",
                "/tmp/udhcpc",
                "-T",
                "4",
                "-t",
                "20",
            ]),
            Self::Dhclient => stage.inside("dhclient").args([
                "-d",
                "-4",
                "-v",
                "-cf",
                "/tmp/dhclient.conf",
                "host0",
            ]),
            Self::Dhcpcd => stage.inside("dhcpcd").args([
                "-B",
                "-4",
                "-d",
                "--noarp",
                "-o",
                "rapid_commit",
                "host0",
            ]),
        }
    }
}

const UDHCPC: &str = r#"#!/bin/sh
case $1 in
deconfig) ip -4 address flush dev "$interface" ;;
bound|renew) ip address replace "$ip/$mask" dev "$interface" ;;
esac
"#;
const DHCLIENT: &str = "initial-interval 1; backoff-cutoff 2; reboot 5; retry 2; timeout 30;\n";

/// netd and a container.
pub struct Stage<'a> {
    host: &'a Host,
    place: Place,
    kind: Client,
    netd: RefCell<Option<Running<'a>>>,
    pub capture: Capture<'a>,
    web: Option<Container<'a>>,
}

/// A client that runs.
pub struct Client0<'a> {
    kind: Client,
    running: RefCell<Running<'a>>,
    leave: Option<HostCommand<'a>>,
}

impl<'a> Stage<'a> {
    pub fn open(host: &'a Host, place: Place, kind: Client) -> Self {
        host.write_program("/tmp/udhcpc", UDHCPC);
        host.write("/tmp/dhclient.conf", DHCLIENT);
        host.run(
            "rm -f /etc/resolv.conf; : >/etc/resolv.conf
             mkdir -p /var/lib/dhcp /var/lib/dhcpcd; rm -f /var/lib/dhcp/* /var/lib/dhcpcd/*",
        );
        serve_subnet(host, place, kind, 50);
        let netd = host.start_netd_with(&["-vv"]);
        let web = start(host, place);
        let capture = Capture::start(host, host.command("tcpdump"), place.port());
        Self {
            host,
            place,
            kind,
            netd: RefCell::new(Some(netd)),
            capture,
            web: Some(web),
        }
    }

    fn inside(&self, program: &str) -> HostCommand<'a> {
        let web = self.web.as_ref().expect("the container runs");
        self.host.command_in_network(web.network(), program)
    }

    pub fn start_client(&self) -> Client0<'a> {
        // What rspawn has set is not the client's.
        self.inside("ip")
            .args(["-4", "address", "flush", "dev", "host0"])
            .output()
            .expect_success();
        let leave = match self.kind {
            Client::Udhcpc => None,
            Client::Dhclient => Some(self.inside("dhclient").args(["-4", "-r", "host0"])),
            Client::Dhcpcd => Some(self.inside("dhcpcd").args(["-4", "-k", "host0"])),
        };
        Client0 {
            kind: self.kind,
            running: RefCell::new(self.kind.command(self).spawn("client")),
            leave,
        }
    }

    /// Waits until the link has an address of 10.SUBNET.0.0/24, and gives it.
    #[track_caller]
    pub fn wait_for_address(&self, subnet: u8) -> String {
        let web = self.web.as_ref().expect("the container runs");
        let prefix = format!("10.{subnet}.0.");
        let shown = || web.run_in_network("ip -4 -o address show dev host0");
        let find = || {
            let shown = shown();
            let mut words = shown.split_whitespace();
            let word = words.find(|word| word.starts_with(&prefix))?;
            Some(word.split('/').next()?.to_owned())
        };
        let found = netns_fixtures::eventually(SOON, find);
        found.unwrap_or_else(|| panic!("no {prefix}: {}\n{}", shown(), self.summary()))
    }

    /// Has something done, and waits until a request of this kind is acknowledged.
    #[track_caller]
    pub fn answered(&self, request: &str, cause: impl FnOnce()) {
        let (acks, requests) = (self.capture.count(ACK), self.capture.count(request));
        cause();
        let is_answered = || self.capture.count(ACK) > acks;
        assert!(wait_until(SOON, is_answered), "{}", self.summary());
        assert!(
            self.capture.count(request) > requests,
            "not by {request}:\n{}",
            self.summary()
        );
    }

    pub fn stop_netd(&self) {
        drop(self.netd.take());
        self.host.wait_for_no_netd();
    }

    pub fn start_netd(&self) {
        *self.netd.borrow_mut() = Some(self.host.start_netd_with(&["-vv"]));
    }

    /// Has the server be away when the client asks for more time, and hear it when it asks
    /// everybody, and waits until that is acknowledged.
    #[track_caller]
    pub fn rebinds(&self, client: &Client0<'_>) {
        let renewals = self.capture.count(RENEWAL);
        let (rebindings, discovers) = (self.capture.count(REBINDING), self.capture.count(DISCOVER));
        self.stop_netd();
        let acks = self.capture.count(ACK);
        client.renew();
        let asks = || self.capture.count(RENEWAL) > renewals;
        assert!(wait_until(BOOT, asks), "{}", self.summary());
        // netd is there long before the lease ends, and still hears no renewal.
        self.nft(LOSE_UNICAST);
        self.start_netd();
        let is_answered = || self.capture.count(ACK) > acks;
        assert!(wait_until(BOOT, is_answered), "{}", self.summary());
        let by_all = self.capture.count(REBINDING) > rebindings;
        let is_new = self.capture.count(DISCOVER) > discovers;
        assert!(by_all && !is_new, "no rebinding:\n{}", self.summary());
        self.nft(FIND_UNICAST);
    }

    /// Changes the rules for packets in the container.
    fn nft(&self, rules: &str) {
        self.inside("nft").arg(rules).output().expect_success();
    }

    /// Ends the container, and starts it with another subnet.
    pub fn move_to(&mut self, subnet: u8) {
        self.web = None;
        let gone = || {
            !self
                .host
                .sh(&format!("ip link show {}", self.place.link()))
                .success()
        };
        assert!(wait_until(SOON, gone));
        self.stop_netd();
        self.host.run("rm -rf /var/lib/rspawn/subnets");
        serve_subnet(self.host, self.place, self.kind, subnet);
        self.start_netd();
        self.web = Some(start(self.host, self.place));
        let before = std::mem::replace(
            &mut self.capture,
            Capture::start(self.host, self.host.command("tcpdump"), self.place.port()),
        );
        drop(before);
    }

    /// Whether netd says that an address is leased.
    pub fn is_leased(&self, address: &str) -> bool {
        let status = self.status();
        let leases = status.split("\"Leases\"").nth(1).unwrap_or_default();
        leases.contains(&format!("\"{address}\""))
    }

    /// What netd tells of the container on the bus.
    pub fn status(&self) -> String {
        self.host.run(
            "busctl -j --address=unix:path=/run/rspawn/bus.sock call org.rspawn.Netd1 \
             /org/rspawn/Netd1 org.rspawn.Netd1 Status s web",
        )
    }

    pub fn summary(&self) -> String {
        self.capture.summary()
    }
}

fn serve_subnet(host: &Host, place: Place, kind: Client, subnet: u8) {
    host.write(
        "/etc/netd/50-matrix.network",
        format!(
            "[Match]\nName={}\n[Network]\nAddress=10.{subnet}.0.1/24\n[DHCPServer]\n\
             DefaultLeaseTimeSec={}\n",
            place.link(),
            kind.lease_time()
        ),
    );
}

fn start<'a>(host: &'a Host, place: Place) -> Container<'a> {
    let tree = host.busybox_tree();
    let start = match place {
        Place::Link => Start::new(host, "web", &tree),
        Place::Zone => Start::without_network(host, "web", &tree).args(["--network-zone=lab"]),
    };
    let web = start.args(["-a", "/bin/sleep", "1000"]).start();
    assert!(wait_until(SOON, || !web.addresses().is_empty()));
    web
}

impl Client0<'_> {
    /// Has it ask for more time now, if it can be told.
    pub fn renew(&self) {
        if self.kind == Client::Udhcpc {
            self.running.borrow().signal(libc::SIGUSR1);
        }
    }

    /// Ends it without a word.
    pub fn kill(self) {
        let mut running = self.running.into_inner();
        running.signal(libc::SIGKILL);
        running.wait(SOON);
    }

    /// Has it give its address back.
    pub fn release(&mut self) {
        match self.leave.take() {
            None => self.running.borrow().signal(libc::SIGUSR2),
            Some(leave) => {
                leave.output().expect_success();
            }
        }
    }
}
