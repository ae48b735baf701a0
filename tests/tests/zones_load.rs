//! A zone whose members ask for more than their share, and for much.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Instant;

use netns_fixtures::{Host, wait_until};
use rspawn_tests::{Container, SOON, ask_as, host, host_address, start_in_zone};

/// The addresses that clients which netd does not know have by the zone's lease file.
fn leased(host: &Host, zone: &str) -> BTreeSet<Ipv4Addr> {
    let text = host
        .read(format!("/var/lib/rspawn/leases/{zone}"))
        .unwrap_or_default();
    let mut leased = BTreeSet::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        let (kind, address) = (words.next(), words.next());
        let Some(address) = address.and_then(|word| word.parse().ok()) else {
            continue;
        };
        match kind {
            Some("lease") => drop(leased.insert(address)),
            Some("free") => drop(leased.remove(&address)),
            _ => {}
        }
    }
    leased
}

/// Clients without number behind a member: each asks for an address, and takes it. What
/// perfdhcp says of it.
fn many_clients(host: &Host, member: &Container<'_>, rate: u32, seconds: u32) -> String {
    let (rate, seconds) = (rate.to_string(), seconds.to_string());
    let output = host
        .command_in_network(member.network(), "perfdhcp")
        .args([
            "-4", "-l", "host0", "-r", &rate, "-R", "60000", "-p", &seconds,
        ])
        // Nobody is late on a machine with much to do; what is lost never comes.
        .args(["-d", "20", "-W", "20000000"])
        .output();
    output.stdout
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

#[test]
fn a_wide_zone_answers_every_client() {
    let host = host();
    host.write(
        "/etc/netd/50-lab.network",
        "[Match]\nName=vz-lab\n\n[Network]\nAddress=10.50.0.1/16\n\n\
         [DHCPServer]\nMaxLeasesPerPort=16000\n",
    );
    let _netd = host.start_netd();
    let member = start_in_zone(&host, "lab", "a");
    let report = many_clients(&host, &member, 100, 5);
    let (sent, received) = (
        reported(&report, "sent packets"),
        reported(&report, "received packets"),
    );
    assert_eq!(sent.len(), 2, "{report}");
    assert!(sent[0] > 100, "{report}");
    assert_eq!(sent, received, "{report}");
    assert_eq!(reported(&report, "drops"), [0, 0], "{report}");
    // Each acknowledged one is on disk, and no two are the same.
    assert_eq!(leased(&host, "lab").len() as u64, received[1], "{report}");
}

#[test]
fn one_member_cannot_drain_the_pool() {
    let host = host();
    let _netd = host.start_netd();
    host.write_program(
        "/usr/bin/hostile-peer",
        std::fs::read(env!("CARGO_BIN_EXE_hostile-peer")).unwrap(),
    );
    let (greedy, other) = (
        start_in_zone(&host, "lab", "greedy"),
        start_in_zone(&host, "lab", "other"),
    );
    // By as many clients as it likes, which take what they are offered.
    let report = many_clients(&host, &greedy, 100, 4);
    assert!(reported(&report, "sent packets")[0] > 100, "{report}");
    let taken = leased(&host, "lab");
    assert!((1..=16).contains(&taken.len()), "{taken:?}");
    // By as many Ethernet addresses as it likes.
    let gateway = host_address(&host, "vz-lab").replace("/24", "");
    host.command_in_network(greedy.network(), "hostile-peer")
        .args(["dhcp", "host0", "3"])
        .args([
            format!("own4={}", greedy.ipv4()),
            format!("host4={gateway}"),
        ])
        .output()
        .expect_success();
    let macs = (0x70..0x78).map(|last| format!("02:00:00:00:00:{last:02x}"));
    let others: BTreeSet<_> = macs.map(|mac| ask_as(&other, &mac)).collect();
    assert_eq!(others.len(), 8);
    assert!(others.is_disjoint(&taken), "{others:?} {taken:?}");
}

#[test]
fn a_flood_by_one_port_delays_no_client_at_another() {
    let host = host();
    let mut netd = host.start_netd();
    host.write_program(
        "/usr/bin/hostile-peer",
        std::fs::read(env!("CARGO_BIN_EXE_hostile-peer")).unwrap(),
    );
    let (hostile, other) = (
        start_in_zone(&host, "lab", "hostile"),
        start_in_zone(&host, "lab", "other"),
    );
    let gateway = host_address(&host, "vz-lab").replace("/24", "");
    let mut flood = host
        .command_in_network(hostile.network(), "hostile-peer")
        .args(["dhcp", "host0", "100", "cpu=0"])
        .args([
            format!("own4={}", hostile.ipv4()),
            format!("host4={gateway}"),
        ])
        .spawn("hostile-peer");
    netd.wait_for_output("came faster than they are read", SOON);
    let begun = Instant::now();
    // udhcpc waits three seconds for an answer before it asks again.
    let own = other.ipv4();
    for _ in 0..3 {
        let asked = Instant::now();
        other.run("udhcpc -i host0 -f -n -q -t 3 -T 3 -s /bin/true >/dhcp 2>&1");
        let told = other.run("cat /dhcp");
        assert!(told.contains(&format!("lease of {own} obtained")), "{told}");
        println!("a lease after {:?} of a flood", asked.elapsed());
    }
    let new = ask_as(&other, "02:00:00:00:00:77");
    println!("{new}, {:?}", begun.elapsed());
    assert!(flood.ended().is_none(), "{}", flood.stderr());
    flood.signal(libc::SIGTERM);
    flood.wait(SOON);
    assert!(flood.stdout().contains(" sent"), "{}", flood.stdout());
    // How many lines of it there are is not for others to say.
    let lines = netd
        .stderr()
        .matches("came faster than they are read")
        .count();
    assert!(lines <= 20, "{lines} lines");
}

#[test]
fn a_damaged_lease_file_is_set_aside_and_all_else_goes_on() {
    let host = host();
    let netd = host.start_netd();
    let member = start_in_zone(&host, "lab", "a");
    let own = member.ipv4();
    let macs = [
        "02:00:00:00:00:71",
        "02:00:00:00:00:72",
        "02:00:00:00:00:73",
    ];
    let before = macs.map(|mac| ask_as(&member, mac));
    drop(netd);
    host.wait_for_no_netd();
    let file = "/var/lib/rspawn/leases/lab";
    let text = host.read(file).unwrap();
    // One line's address is another's now, and behind them there is anything.
    let damaged =
        text.replacen(&format!("lease {} ", before[1]), "lease 10.9.8.7 ", 1) + "\u{1}\u{2}junk\n";
    assert_ne!(damaged, text);
    host.write(file, &damaged);
    let mut netd = host.start_netd();
    netd.wait_for_output("is set aside as", SOON);
    assert!(wait_until(SOON, || host.exists(format!("{file}~corrupt"))));
    assert_eq!(host.read(format!("{file}~corrupt")).unwrap(), damaged);
    assert_eq!(member.ipv4(), own);
    // Backwards: who has nothing kept would get another one's.
    assert_eq!(ask_as(&member, macs[2]), before[2]);
    assert_eq!(ask_as(&member, macs[0]), before[0]);
    let again = ask_as(&member, macs[1]);
    assert!(![before[0], before[2]].contains(&again));
    host.run("ping -c1 -W5 a || true");
}

/// The addresses that were acknowledged, and to which clients, as tcpdump shows it.
fn acknowledged(shown: &str) -> Vec<(Ipv4Addr, String)> {
    let mut acknowledged = Vec::new();
    let (mut address, mut client) = (None, None);
    for line in shown.lines().map(str::trim) {
        if let Some(ip) = line.strip_prefix("Your-IP ") {
            address = ip.parse().ok();
        } else if let Some(mac) = line.strip_prefix("Client-Ethernet-Address ") {
            client = mac.split(' ').next().map(str::to_owned);
        } else if line.starts_with("DHCP-Message") && line.ends_with(": ACK") {
            acknowledged.extend(address.take().zip(client.take()));
        }
    }
    acknowledged
}

/// What a client was told before netd was killed holds after it, and for nobody else.
#[test]
fn no_acknowledged_lease_is_forgotten_when_netd_is_killed() {
    let host = host();
    host.write(
        "/etc/netd/50-lab.network",
        "[Match]\nName=vz-lab\n\n[Network]\nAddress=10.50.0.1/16\n\n\
         [DHCPServer]\nMaxLeasesPerPort=16000\n",
    );
    let mut netd = host.start_netd();
    let member = start_in_zone(&host, "lab", "a");
    let mut heard = host
        .command_in_network(member.network(), "tcpdump")
        .args([
            "-i",
            "host0",
            "-p",
            "-l",
            "-n",
            "-v",
            "-Q",
            "in",
            "udp src port 67",
        ])
        .spawn("tcpdump");
    heard.wait_for_output("listening on", SOON);
    let mut clients = host
        .command_in_network(member.network(), "perfdhcp")
        .args(["-4", "-l", "host0", "-r", "40", "-R", "60000", "-p", "600"])
        .spawn("perfdhcp");
    for round in 1..=8_usize {
        let before = acknowledged(&heard.stdout()).len();
        // Another moment of its work each time.
        let more = || acknowledged(&heard.stdout()).len() >= before + 3 + round * 5 % 11;
        assert!(wait_until(SOON, more), "round {round}: {}", netd.stderr());
        netd.signal(libc::SIGKILL);
        netd.wait(SOON);
        netd = host.start_netd();
    }
    let before = acknowledged(&heard.stdout()).len();
    let more = || acknowledged(&heard.stdout()).len() > before;
    assert!(wait_until(SOON, more), "{}", netd.stderr());
    clients.signal(libc::SIGINT);
    clients.wait(SOON);
    heard.signal(libc::SIGTERM);
    heard.wait(SOON);
    let acknowledged = acknowledged(&heard.stdout());
    assert!(acknowledged.len() > 40, "{acknowledged:?}");
    let kept = host.read("/var/lib/rspawn/leases/lab").unwrap();
    let mut holders = std::collections::BTreeMap::new();
    for (address, client) in acknowledged {
        let line = format!("lease {address} {client} ");
        assert!(kept.contains(&line), "{line}: {kept}");
        let other = holders.insert(address, client.clone());
        assert!(
            other.is_none_or(|other| other == client),
            "{address} has two holders"
        );
    }
    assert!(!host.exists("/var/lib/rspawn/leases/lab~corrupt"));
}

/// Of the addresses that are to be given out, somebody whom netd does not know uses all but
/// one.
#[test]
fn an_address_that_somebody_uses_is_offered_to_nobody() {
    let host = host();
    host.write(
        "/etc/netd/50-lab.network",
        "[Match]\nName=vz-lab\n\n[Network]\nAddress=10.50.0.1/24\n\n\
         [DHCPServer]\nPoolOffset=200\nPoolSize=8\n",
    );
    let unknown = host.peer("unknown");
    host.run(
        "ip link add vz-lab group 29299 type bridge
         ip link add unknown type veth peer name eth0 netns unknown
         ip link set unknown master vz-lab
         ip link set unknown up; ip link set vz-lab up",
    );
    unknown.run(
        "ip link set eth0 up
         for last in 200 201 202 203 204 205 206; do ip address add 10.50.0.$last/24 dev eth0; done",
    );
    let mut netd = host.start_netd();
    let member = start_in_zone(&host, "lab", "a");
    let given = ask_as(&member, "02:00:00:00:00:71");
    assert_eq!(given, Ipv4Addr::new(10, 50, 0, 207), "{}", netd.stderr());
    netd.wait_for_output("is in use on the link by somebody", SOON);
}
