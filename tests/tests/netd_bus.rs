//! What local users can do to netd's bus socket: nothing that keeps others from it.

use std::fs;
use std::time::{Duration, Instant};

use netns_fixtures::{Host, Running, wait_until};
use rspawn_tests::{SOON, Start, record, with_netd};

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

/// What an intruder or a broken program may send once it is let in, or before.
const RUBBISH: &str = r#"
import os, socket, struct
def connect():
    s = socket.socket(socket.AF_UNIX)
    s.connect('/run/rspawn/bus.sock')
    s.settimeout(20)
    return s
hello = b'\0AUTH EXTERNAL ' + str(os.getuid()).encode().hex().encode() + b'\r\n'
def closed(case, data, end=True):
    s = connect()
    try:
        s.sendall(data)
        if end: s.shutdown(socket.SHUT_WR)
        while s.recv(65536): pass
    except ConnectionError:
        pass
    except TimeoutError:
        print(case, 'is not closed', flush=True)
        return
    print(case, 'is closed', flush=True)
def call(signature, body):
    fields = b''
    for code, sig, value in ((1, b'o', b'/org/rspawn/Netd1'), (2, b's', b'org.rspawn.Netd1'), (3, b's', b'Status')):
        fields += bytes(-len(fields) % 8) + bytes([code, 1]) + sig + b'\0' + struct.pack('<I', len(value)) + value + b'\0'
    fields += bytes(-len(fields) % 8) + bytes([8, 1]) + b'g\0' + bytes([len(signature)]) + signature + b'\0'
    head = b'l\1\0\1' + struct.pack('<III', len(body), 1, len(fields))
    return head + fields + bytes(-len(fields) % 8) + body
begin = hello + b'BEGIN\r\n'
closed('nothing', b'')
closed('half a greeting', hello[:9])
closed('no greeting', b'GET / HTTP/1.1\r\n\r\n')
closed('a long greeting', b'\0' + b'A' * 200000, end=False)
closed('many greetings', b'\0' + b'AUTH\r\n' * 50000, end=False)
closed('half a message', begin + call(b's', b'\3\0\0\0web\0')[:40])
closed('rubbish', begin + bytes(range(256)) * 10, end=False)
closed('another byte order', begin + b'B' + bytes(15), end=False)
closed('deep variants', begin + call(b'v', b'\1v\0' * 10000))
closed('deep arrays', begin + call(b'a' * 250 + b's', bytes(2000)))
closed('a body that lies', begin + call(b's', b'\xff\xff\xff\x7fweb\0'))
for n in range(5000):
    connect().close()
for n in range(1000):
    with connect() as s:
        s.sendall(begin)
print('done', flush=True)
"#;

#[test]
fn rubbish_and_connections_that_come_and_go_leave_nothing() {
    with_netd(|host, netd| {
        assert!(wait_until(SOON, || host.exists("/run/rspawn/bus.sock")));
        host.run("rspawnctl list --json");
        let descriptors = || {
            fs::read_dir(format!("/proc/{}/fd", netd.pid()))
                .unwrap()
                .count()
        };
        let before = descriptors();
        for user in ["65534", "0"] {
            let mut peer = host
                .command("setpriv")
                .args(["--reuid", user, "--clear-groups", "python3", "-c", RUBBISH])
                .spawn("peer");
            let status = peer.wait(SOON * 4);
            assert!(status.success(), "{}\n{}", peer.stdout(), peer.stderr());
            assert!(!peer.stdout().contains("not closed"), "{}", peer.stdout());
            host.run("rspawnctl list --json");
        }
        assert!(
            wait_until(SOON, || descriptors() <= before),
            "{before} descriptors before, now {}",
            descriptors()
        );
        assert!(netd.stderr().lines().count() < 20, "{}", netd.stderr());
    });
}

/// Asks without end over many connections, and reads no answer faster than it must.
const ASK_WITHOUT_END: &str = r#"
import os, select, socket, struct, sys
interface, member = sys.argv[1].rsplit('.', 1)
def call(serial):
    fields = b''
    for code, sig, value in ((1, b'o', b'/org/rspawn/Netd1'), (2, b's', interface.encode()), (3, b's', member.encode())):
        fields += bytes(-len(fields) % 8) + bytes([code, 1]) + sig + b'\0' + struct.pack('<I', len(value)) + value + b'\0'
    head = b'l\1\0\1' + struct.pack('<III', 0, serial, len(fields))
    return head + fields + bytes(-len(fields) % 8)
calls = b''.join(call(serial) for serial in range(1, 2001))
peers = {}
for n in range(30):
    s = socket.socket(socket.AF_UNIX)
    s.connect('/run/rspawn/bus.sock')
    s.sendall(b'\0AUTH EXTERNAL ' + str(os.getuid()).encode().hex().encode() + b'\r\n')
    s.recv(100)
    s.setblocking(False)
    peers[s] = b'BEGIN\r\n' + calls
taken, read, told = 0, 0, False
while True:
    readable, writable, _ = select.select(peers, peers, [], 10)
    for s in writable:
        if not peers[s]: peers[s] = calls
        try: sent = s.send(peers[s])
        except BlockingIOError: continue
        taken += sent
        peers[s] = peers[s][sent:]
    # A little of the answers, so that none waits for too long.
    for s in readable:
        try: read += len(s.recv(SLOWLY))
        except BlockingIOError: pass
    if read > 100000 and not told:
        told = True
        print('asking', flush=True)
"#;

fn one_who_asks_without_end(call: &str, slowly: u32) {
    with_netd(|host, netd| {
        let start = |name: &str| {
            Start::without_network(host, name, &host.busybox_tree())
                .args(["-n", "-a", "/bin/sleep", "1000"])
                .start()
        };
        let _first = start("first");
        assert!(wait_until(SOON, || record(host, "first").is_some()));
        let comes_and_is_known = |name: &str| {
            let began = Instant::now();
            let new = start(name);
            assert!(wait_until(SOON, || record(host, name).is_some()));
            host.run(&format!("getent -s rspawn ahosts {name}"));
            let as_another = "setpriv --reuid=2 --regid=2 --clear-groups rspawnctl";
            let status = host.run(&format!("{as_another} status {name}; {as_another} list"));
            assert!(status.contains(name), "{status}");
            let took = began.elapsed();
            drop(new);
            took
        };
        // On a machine that has other work as well everything takes its time.
        let longest = Duration::from_secs(5) + comes_and_is_known("usual") * 3;
        let memory = || {
            let status = fs::read_to_string(format!("/proc/{}/status", netd.pid())).unwrap();
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("RssAnon:"));
            let kib = line.unwrap().trim_end_matches("kB").trim();
            kib.parse::<u64>().unwrap()
        };
        let before = memory();
        let script = ASK_WITHOUT_END.replace("SLOWLY", &slowly.to_string());
        let mut asking = host
            .command("setpriv")
            .args(["--reuid=65534", "--clear-groups", "python3", "-c", &script])
            .args([call])
            .spawn("asking");
        asking.wait_for_output("asking", SOON);
        for n in 0..5 {
            let took = comes_and_is_known(&format!("new-{n}"));
            assert!(took < longest, "{took:?}, {longest:?} at most");
        }
        assert!(asking.ended().is_none(), "{}", asking.stderr());
        let grown = memory().saturating_sub(before);
        println!("{call}: {grown} KiB more");
        assert!(grown < 8 * 1024, "{grown} KiB more");
    });
}

#[test]
fn one_who_lists_without_end_stalls_nobody() {
    one_who_asks_without_end("org.rspawn.Netd1.List", 65536);
}

#[test]
fn one_who_lists_without_end_and_hardly_reads_costs_no_memory() {
    one_who_asks_without_end("org.rspawn.Netd1.List", 64);
}

#[test]
fn one_who_asks_for_what_every_object_has_costs_no_memory() {
    one_who_asks_without_end("org.freedesktop.DBus.Introspectable.Introspect", 64);
}
