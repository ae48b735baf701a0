//! A container that sends what it can, as fast as it can: nobody else notices.

mod hostile_support;

use hostile_support::alone;
use hostile_support::netd::Use;
use hostile_support::stage::on_stage;
use hostile_support::usual::{REGISTRATIONS, stays_usual};

/// By how much netd may grow, in KiB: its buffers have had their size from the start.
const GROWTH_MAX: i64 = 2048;
/// Lines of the log, whatever comes: what is said of each registration, and of the
/// attack, a line of each kind in ten seconds.
const LINES_A_REGISTRATION: usize = 3;
const LINES_OF_ATTACK: usize = 6;

/// Of one processor, in percent, with the registrations.
const SHARE_MAX: f64 = 30.0;

fn bounded(used: &Use) {
    assert!(used.growth <= GROWTH_MAX, "memory: {used}");
    let lines = LINES_OF_ATTACK + REGISTRATIONS * LINES_A_REGISTRATION;
    assert!(used.lines <= lines, "log: {used}");
    assert!(used.share() <= SHARE_MAX, "processor: {used}");
}

fn flood(kind: &str) {
    let _alone = alone();
    on_stage(|stage| {
        let used = stays_usual(stage, kind);
        bounded(&used);
    });
}

#[test]
fn dhcp_by_clients_that_are_not_there() {
    flood("dhcp");
}

#[test]
fn dhcp_that_is_broken() {
    flood("dhcp-broken");
}

#[test]
fn dhcp_answers_by_who_is_no_server() {
    flood("dhcp-server");
}

#[test]
fn arp_by_anybody_for_anything() {
    flood("arp");
}

#[test]
fn neighbour_discovery_by_anybody_for_anything() {
    flood("nd");
}

#[test]
fn packets_from_and_to_anywhere() {
    flood("spoof");
}

#[test]
fn frames_of_no_kind() {
    flood("garbage");
}

#[test]
fn all_of_it_at_once() {
    flood("all");
}
