//! A container that changes its own network as fast as it can, which netd is told of.

mod hostile_support;

use std::time::Duration;

use hostile_support::alone;
use hostile_support::stage::{SLEEP, on_stage, on_stage_with};
use hostile_support::usual::stays_usual;
use netns_fixtures::{eventually, wait_until};
use rspawn_tests::{SOON, Start};

/// By how much netd may grow, in KiB.
const GROWTH_MAX: i64 = 4096;
/// Of one processor, in percent, with the registrations.
const SHARE_MAX: f64 = 40.0;
/// What a record takes (32 addresses), with its other lines.
const RECORD_MAX: usize = 4096;

/// On a bridge of the host, with an address of its own.
fn on_bridge(kind: &str) {
    let _alone = alone();
    on_stage_with(
        |host, tree| {
            host.run(
                "ip link add br0 type bridge; ip address add 10.77.0.1/24 dev br0; ip link set br0 up",
            );
            let hostile = Start::new(host, "hostile", tree)
                .args(["--network-bridge=br0"])
                .args(SLEEP)
                .start();
            hostile.run_in_network(
                "ip address add 10.77.0.66/24 dev host0; ip link set host0 up
                 ip route add default via 10.77.0.1",
            );
            let known = eventually(SOON, || {
                hostile
                    .addresses()
                    .first()
                    .filter(|ip| ip.is_ipv4())
                    .copied()
            });
            assert!(known.is_some(), "{:?}", hostile.record());
            hostile
        },
        |stage| {
            if kind == "addresses" {
                // All of them are there from the start, and then they come and go.
                assert!(stage.strike("fill").contains("10000 addresses added"));
                let full = wait_until(SOON, || stage.hostile.addresses().len() == 32);
                assert!(full, "{:?}", stage.hostile.record());
            }
            let used = stays_usual(stage, kind);
            assert!(used.growth <= GROWTH_MAX, "memory: {used}");
            assert!(used.share() <= SHARE_MAX, "processor: {used}");
            let record = stage.host.read("/run/rspawn/machines/hostile").unwrap();
            assert!(record.len() <= RECORD_MAX, "{record}");
            assert!(!record.contains("10.98.76.54"), "a lie: {record}");
            // And what is so in the end is known.
            stage.hostile.run_in_network(
                "ip address flush dev host0; ip link set host0 up; ip address add 10.77.0.67/24 dev host0",
            );
            let last = wait_until(Duration::from_secs(30), || {
                let addresses = stage.hostile.addresses();
                addresses.iter().any(|ip| ip.to_string() == "10.77.0.67")
            });
            assert!(
                last,
                "{:?}\n{}",
                stage.hostile.record(),
                stage.netd.stderr()
            );
        },
    );
}

#[test]
fn ten_thousand_addresses_that_come_and_go() {
    on_bridge("addresses");
}

#[test]
fn a_bridged_link_that_goes_up_and_down() {
    on_bridge("flap");
}

#[test]
fn lies_written_into_the_socket_that_netd_reads() {
    on_bridge("netlink");
}

fn on_own_link(kind: &str) {
    let _alone = alone();
    on_stage(|stage| {
        let used = stays_usual(stage, kind);
        assert!(used.growth <= GROWTH_MAX, "memory: {used}");
        assert!(used.share() <= SHARE_MAX, "processor: {used}");
        stage.hostile.run_in_network("ip link set host0 up");
        let ip = stage.hostile.ipv4();
        stage
            .hostile
            .run_in_network(&format!("ip address replace {ip}/28 dev host0"));
        stage.host.run(&format!("ping -c1 -W10 {ip}"));
    });
}

#[test]
fn a_link_that_goes_up_and_down() {
    on_own_link("flap");
}

#[test]
fn a_link_whose_ethernet_address_changes() {
    on_own_link("mac");
}

#[test]
fn ten_thousand_addresses_on_a_link_of_its_own() {
    on_own_link("addresses");
}
