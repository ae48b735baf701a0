//! What goes over a link, kept and looked at by tshark.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use netns_fixtures::{Host, HostCommand, Running, wait_until};

use crate::SOON;

/// What tshark says of packets that are not as their protocols have them. Repeated
/// messages, and times that a test has shortened, are no such thing.
const MALFORMED: &str = "_ws.malformed || _ws.short || _ws.expert.severity == error";

static CAPTURES: AtomicU32 = AtomicU32::new(0);

/// A capture that runs. When it is dropped, every packet of it has to be as its protocol has
/// it, and there has to be DHCP in it: otherwise the test fails.
#[derive(Debug)]
pub struct Capture<'a> {
    host: &'a Host,
    file: PathBuf,
    running: Running<'a>,
}

impl<'a> Capture<'a> {
    /// Begins to keep what goes over `link`, as far as it is DHCP, ARP or ICMP. `tcpdump`
    /// is a command of that name in the network in question; the file is the host's.
    ///
    /// # Panics
    /// When it does not begin.
    #[must_use]
    pub fn start(host: &'a Host, tcpdump: HostCommand<'a>, link: &str) -> Self {
        let number = CAPTURES.fetch_add(1, Ordering::Relaxed);
        let file = PathBuf::from(format!("/tmp/{link}-{number}.pcap"));
        let mut running = tcpdump
            .args([
                "-i",
                link,
                "-n",
                "-U",
                "--immediate-mode",
                "-s0",
                "-Z",
                "root",
                "-w",
            ])
            .arg(&file)
            .arg("udp port 67 or udp port 68 or arp or icmp or icmp6")
            .spawn("capture");
        running.wait_for_output("listening on", SOON);
        Self {
            host,
            file,
            running,
        }
    }

    /// What tshark shows of the packets so far that `filter` lets through, one a line:
    /// these fields, parted by tabulators.
    ///
    /// # Panics
    /// When tshark fails.
    #[must_use]
    pub fn show(&self, filter: &str, fields: &[&str]) -> String {
        let mut tshark = self
            .host
            .command("tshark")
            .args(["-n", "-r"])
            .arg(&self.file)
            .args(["-Y", filter, "-T", "fields"]);
        for field in fields {
            tshark = tshark.args(["-e", *field]);
        }
        // The last packet may be half written.
        let shown = tshark.output();
        let is_cut = shown.stderr.contains("cut short");
        assert!(shown.success() || is_cut, "{shown}");
        shown.stdout
    }

    /// How many packets there are so far that `filter` lets through.
    #[must_use]
    pub fn count(&self, filter: &str) -> usize {
        self.show(filter, &["frame.number"]).lines().count()
    }

    /// Waits until so many packets are there that `filter` lets through.
    ///
    /// # Panics
    /// When they do not come.
    #[track_caller]
    pub fn wait_for(&self, filter: &str, packets: usize) {
        let came = wait_until(SOON, || self.count(filter) >= packets);
        assert!(came, "not {packets} of {filter}:\n{}", self.summary());
    }

    /// All packets, a line each.
    #[must_use]
    pub fn summary(&self) -> String {
        let tshark = self.host.command("tshark").args(["-n", "-r"]);
        tshark.arg(&self.file).output().stdout
    }

    /// Ends it, and looks whether every packet is as its protocol has it.
    fn end(&mut self) {
        self.running.signal(libc::SIGINT);
        self.running.wait(SOON);
        assert!(self.count("dhcp") > 0, "no DHCP:\n{}", self.summary());
        let fields = ["frame.number", "_ws.col.Info", "_ws.expert.message"];
        let wrong = self.show(MALFORMED, &fields);
        assert!(wrong.is_empty(), "{wrong}\n{}", self.summary());
    }
}

/// Every capture is looked at when it ends.
impl Drop for Capture<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.end();
        }
    }
}
