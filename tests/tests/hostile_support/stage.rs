//! A host with a hostile container and one that wants to be left in peace.

use std::net::IpAddr;

use netns_fixtures::{Host, Running};
use rspawn_tests::{Container, Start, host, outside};

pub const SLEEP: [&str; 3] = ["-a", "/bin/sleep", "1000"];

/// The stage of a test.
pub struct Stage<'a> {
    pub host: &'a Host,
    pub netd: Running<'a>,
    /// The container that attacks.
    pub hostile: Container<'a>,
    /// The container that is to notice nothing.
    pub web: Container<'a>,
    /// A tree for further containers.
    pub tree: std::path::PathBuf,
}

/// Runs a test on a stage where both containers have a link of their own.
pub fn on_stage(test: impl FnOnce(&mut Stage<'_>)) {
    on_stage_with(
        |host, tree| Start::new(host, "hostile", tree).args(SLEEP).start(),
        test,
    );
}

/// Runs a test on a stage where the hostile container is what `start` makes.
pub fn on_stage_with(
    start: impl for<'h> FnOnce(&'h Host, &std::path::Path) -> Container<'h>,
    test: impl FnOnce(&mut Stage<'_>),
) {
    let host = host();
    let netd = host.start_netd();
    let _outside = outside(&host);
    host.write_program(
        "/usr/bin/hostile-peer",
        std::fs::read(env!("CARGO_BIN_EXE_hostile-peer")).unwrap(),
    );
    let base = host.busybox_tree();
    let hostile = start(&host, &host.overlay(&base, "hostile"));
    let web = Start::new(&host, "web", &host.overlay(&base, "web"))
        .args(SLEEP)
        .start();
    let mut stage = Stage {
        host: &host,
        netd,
        hostile,
        web,
        tree: host.overlay(&base, "fresh"),
    };
    test(&mut stage);
    let ended = stage.netd.ended();
    assert!(
        ended.is_none(),
        "netd has ended: {ended:?}\n{}",
        stage.netd.stderr()
    );
}

/// Of a container, the first address of the family that others reach it by.
pub fn address(container: &Container<'_>, v6: bool) -> IpAddr {
    let addresses = container.addresses();
    *addresses
        .iter()
        .find(|address| address.is_ipv6() == v6)
        .unwrap_or_else(|| panic!("no such address: {:?}", container.record()))
}

/// What comes after `word` in the text.
pub fn after(text: &str, word: &str) -> String {
    let mut words = text.split_whitespace().skip_while(|found| *found != word);
    words
        .nth(1)
        .unwrap_or_else(|| panic!("no {word}: {text}"))
        .to_owned()
}

impl Stage<'_> {
    /// Addresses and the like by the names that `hostile-peer` has for them; none for a
    /// container on a bridge.
    pub fn keys(&self) -> Vec<String> {
        if !self.host.sh("ip link show ve-hostile").success() {
            return Vec::new();
        }
        let inside = |script: &str| self.hostile.run_in_network(script);
        let host4 = after(&inside("ip -4 route show default"), "via");
        let host6 = after(&inside("ip -6 route show default"), "via");
        let link = self.host.run("ip -o link show ve-hostile");
        vec![
            format!("to_mac={}", after(&link, "link/ether")),
            format!("own4={}", self.hostile.ipv4()),
            format!("own6={}", address(&self.hostile, true)),
            format!("host4={host4}"),
            format!("host6={host6}"),
            format!("other4={}", self.web.ipv4()),
            format!("other6={}", address(&self.web, true)),
        ]
    }

    /// Runs `hostile-peer` in the hostile container's network to its end.
    pub fn strike(&self, kind: &str) -> String {
        let output = self
            .host
            .command_in_network(self.hostile.network(), "hostile-peer")
            .args([kind, "host0", "1"])
            .args(self.keys())
            .output();
        output.expect_success().stdout
    }
}
