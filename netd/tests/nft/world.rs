//! Network namespaces for the tests of the firewall table: held by a child process
//! each, without a name, and gone with it.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use netd::nft::Table;

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Polls until `ready` gives something.
pub fn wait_for<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A network namespace.
pub struct Netns {
    holder: Child,
}

impl Netns {
    pub fn new() -> Netns {
        let holder = Command::new("unshare")
            .args(["--net", "--kill-child", "sleep", "600"])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let netns = Netns { holder };
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        wait_for("a network namespace", || {
            std::fs::read_link(netns.path())
                .ok()
                .filter(|link| *link != own)
        });
        netns.ip("link set lo up");
        // Addresses of these tests are used at once.
        netns.sh("echo 0 > /proc/sys/net/ipv6/conf/default/dad_transmits");
        netns
    }

    pub fn pid(&self) -> u32 {
        self.holder.id()
    }

    fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.pid())
    }

    /// Runs a program in the namespace. The exit status and what it printed.
    pub fn try_run(&self, program: &str, args: &[&str]) -> (bool, String) {
        let output = Command::new("timeout")
            .args(["20", "nsenter", &format!("--net={}", self.path()), program])
            .args(args)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    }

    pub fn run(&self, program: &str, args: &[&str]) -> String {
        let (success, text) = self.try_run(program, args);
        assert!(success, "{program} {args:?}: {text}");
        text
    }

    pub fn ip(&self, words: &str) -> String {
        self.run("ip", &words.split(' ').collect::<Vec<_>>())
    }

    pub fn nft(&self, words: &str) -> String {
        self.run("nft", &[words])
    }

    pub fn sh(&self, script: &str) -> String {
        self.run("sh", &["-ec", script])
    }

    #[allow(unsafe_code)]
    /// Runs a function on a thread of its own inside the namespace.
    pub fn enter<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let netns = File::open(self.path()).unwrap();
        let thread = std::thread::spawn(move || {
            // SAFETY: setns takes no memory; the descriptor is open.
            let status = unsafe { libc::setns(netns.as_raw_fd(), libc::CLONE_NEWNET) };
            assert_eq!(status, 0, "{}", std::io::Error::last_os_error());
            work()
        });
        thread.join().unwrap()
    }

    /// A veth from here to `peer`, both ends up.
    pub fn link(&self, name: &str, peer: &Netns, peer_name: &str) {
        let pid = peer.pid();
        self.ip(&format!(
            "link add {name} type veth peer name {peer_name} netns {pid}"
        ));
        self.ip(&format!("link set {name} up"));
        peer.ip(&format!("link set {peer_name} up"));
    }
}

/// Ends the table's owner. Not just a drop: a program that another test starts at this
/// moment has a copy of the owner's socket until it is executed.
pub fn end_owner(netns: &Netns, table: Table) {
    drop(table);
    wait_for("the owner's end", || {
        let listing = netns.nft("list table inet rspawn");
        (!listing.contains("flags owner")).then_some(())
    });
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// A host with two containers, and a LAN behind it.
///
/// | where | link | host's address | other side's |
/// |---|---|---|---|
/// | web | ve-web | 10.9.1.1/28, fd09:1::1/64 | 10.9.1.2, fd09:1::2 |
/// | db | ve-db | 10.9.2.1/28, fd09:2::1/64 | 10.9.2.2, fd09:2::2 |
/// | lan | up0 | 192.0.2.1/24, fd09:99::1/64 | 192.0.2.2, fd09:99::2 |
pub struct World {
    pub host: Netns,
    pub web: Netns,
    pub db: Netns,
    pub lan: Netns,
}

impl World {
    pub fn new() -> World {
        let world = World {
            host: Netns::new(),
            web: Netns::new(),
            db: Netns::new(),
            lan: Netns::new(),
        };
        let World { host, web, db, lan } = &world;
        host.sh(
            "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding",
        );
        for (name, peer, host_name, number) in
            [("host0", web, "ve-web", 1), ("host0", db, "ve-db", 2)]
        {
            host.link(host_name, peer, name);
            host.ip(&format!(
                "link set {host_name} group {}",
                registry::LINK_GROUP
            ));
            host.ip(&format!("addr add 10.9.{number}.1/28 dev {host_name}"));
            host.ip(&format!(
                "addr add fd09:{number}::1/64 dev {host_name} nodad"
            ));
            peer.ip(&format!("addr add 10.9.{number}.2/28 dev {name}"));
            peer.ip(&format!("addr add fd09:{number}::2/64 dev {name} nodad"));
            peer.ip(&format!("route add default via 10.9.{number}.1"));
            peer.ip(&format!("-6 route add default via fd09:{number}::1"));
        }
        host.link("up0", lan, "eth0");
        host.ip("addr add 192.0.2.1/24 dev up0");
        host.ip("addr add fd09:99::1/64 dev up0 nodad");
        lan.ip("addr add 192.0.2.2/24 dev eth0");
        lan.ip("addr add fd09:99::2/64 dev eth0 nodad");
        // The LAN knows the way to the containers, so that it is the table that stops it.
        lan.ip("route add 10.9.0.0/16 via 192.0.2.1");
        lan.ip("-6 route add fd09::/16 via fd09:99::1");
        world
    }
}
