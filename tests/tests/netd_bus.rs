//! What local users can do to netd's bus socket: nothing that keeps others from it.

use std::fs;

use netns_fixtures::{Host, Running};
use rspawn_tests::{SOON, with_netd};

/// Opens so many connections as a user, and keeps those that are not closed.
fn crowd<'a>(host: &'a Host, uid: u32, count: u32, greeting: &str) -> Running<'a> {
    let script = format!(
        "import os, socket, sys
os.setgroups([]); os.setgid({uid}); os.setuid({uid})
kept = []
for n in range({count}):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(10)
    s.connect('/run/rspawn/bus.sock')
    try:
        s.sendall({greeting})
        if s.recv(100): kept.append(s)
    except OSError:
        pass
print('kept', len(kept), flush=True)
while True:
    kept = [s for s in kept if s.recv(1000)]
    if not kept: break
print('all closed', flush=True)
"
    );
    host.command("python3").args(["-c", &script]).spawn("crowd")
}

/// The authentication of a user over D-Bus (D-Bus Specification, "Authentication
/// Protocol"), up to where messages begin.
const AUTHENTICATE: &str =
    "b'\\0AUTH EXTERNAL ' + str(os.getuid()).encode().hex().encode() + b'\\r\\nBEGIN\\r\\n'";

#[test]
fn a_user_with_many_connections_shuts_nobody_out() {
    with_netd(|host, netd| {
        let mut first = crowd(host, 65534, 300, AUTHENTICATE);
        first.wait_for_output("kept 32\n", SOON);
        let mut second = crowd(host, 1, 300, AUTHENTICATE);
        second.wait_for_output("kept 32\n", SOON);
        host.run("rspawnctl list --json");
        host.run("setpriv --reuid=2 --regid=2 --clear-groups rspawnctl list --json");
        let threads = fs::read_dir(format!("/proc/{}/task", netd.pid()))
            .unwrap()
            .count();
        assert!(threads <= 4, "netd has {threads} threads");
    });
}

#[test]
fn a_message_that_is_announced_as_huge_ends_its_connection() {
    with_netd(|host, _netd| {
        // Little endian, a method call, version 1, 100 MiB of body, serial 1, no fields.
        let huge = format!(
            "{AUTHENTICATE} + b'l\\x01\\x00\\x01' + (100 << 20).to_bytes(4, 'little') + \
             b'\\x01\\0\\0\\0' + b'\\0\\0\\0\\0' + bytes(8)"
        );
        let mut crowd = crowd(host, 65534, 4, &huge);
        crowd.wait_for_output("all closed", SOON);
        host.run("rspawnctl list --json");
    });
}
