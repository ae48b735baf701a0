//! Zones of which files say something: before their members come, and while they are there.

use std::net::IpAddr;

use netns_fixtures::{Host, wait_until};
use rspawn_tests::{Container, SOON, ask_as, host, host_address, record, start_in_zone, with_netd};

/// Says something of all zones.
fn say(host: &Host, lines: &str) {
    host.write(
        "/etc/netd/50-zones.network",
        format!("[Match]\nName=vz-*\n{lines}"),
    );
}

fn mac(container: &Container<'_>) -> String {
    container
        .run("cat /sys/class/net/host0/address")
        .trim()
        .to_owned()
}

fn end(host: &Host, mut container: Container<'_>) {
    let name = container.name().to_owned();
    container.end(libc::SIGTERM);
    assert!(wait_until(SOON, || record(host, &name).is_none()));
}

/// Has udhcpc ask, and gives what it said.
fn ask(container: &Container<'_>, times: u32) -> String {
    container.run(&format!(
        "udhcpc -i host0 -f -n -q -t {times} -T 1 -s /bin/true >/dhcp 2>&1 || true; cat /dhcp"
    ))
}

#[test]
fn an_address_that_a_file_keeps_is_no_other_members() {
    with_netd(|host, _netd| {
        let a = start_in_zone(host, "lab", "a");
        let (first, own) = (a.ipv4(), mac(&a));
        end(host, a);
        let client = "02:00:00:00:00:77";
        say(
            host,
            &format!("[DHCPServerStaticLease]\nMACAddress={client}\nAddress={first}\n"),
        );
        host.run("rspawnctl reload");
        let a = start_in_zone(host, "lab", "a");
        assert_ne!(a.ipv4(), first);
        assert_ne!(start_in_zone(host, "lab", "c").ipv4(), first);
        let place = start_in_zone(host, "lab", "place");
        assert_eq!(IpAddr::V4(ask_as(&place, client)), first);
        end(host, a);
        // And one that is kept for the member is the member's.
        let text = first.to_string();
        let (subnet, _) = text.rsplit_once('.').unwrap();
        let kept: IpAddr = format!("{subnet}.77").parse().unwrap();
        say(
            host,
            &format!("[DHCPServerStaticLease]\nMACAddress={own}\nAddress={kept}\n"),
        );
        host.run("rspawnctl reload");
        let a = start_in_zone(host, "lab", "a");
        assert_eq!(a.ipv4(), kept);
        host.run("ping -c1 -W5 a");
    });
}

#[test]
fn a_member_keeps_its_address_where_the_pool_comes_to_be_there() {
    let host = host();
    let netd = host.start_netd();
    let a = start_in_zone(&host, "lab", "a");
    let address = a.ipv4();
    say(&host, "[DHCPServer]\nPoolOffset=2\nPoolSize=200\n");
    drop(netd);
    host.wait_for_no_netd();
    let _netd = host.start_netd();
    assert!(wait_until(SOON, || host
        .run("rspawnctl list")
        .contains('a')));
    assert_eq!(a.ipv4(), address);
    host.run("ping -c1 -W5 a");
    let taken = host.run("nft list set bridge rspawn taken_ipv4");
    assert!(taken.contains(&address.to_string()), "{taken}");
    let place = start_in_zone(&host, "lab", "place");
    assert_ne!(IpAddr::V4(ask_as(&place, "02:00:00:00:00:77")), address);
}

#[test]
fn where_a_relay_comes_to_be_netd_answers_nobody_itself() {
    with_netd(|host, _netd| {
        let a = start_in_zone(host, "lab", "a");
        assert!(ask(&a, 20).contains("obtained"));
        say(host, "[DHCPServer]\nRelayTarget=192.0.2.67\n");
        host.run("rspawnctl reload");
        let told = ask(&a, 3);
        assert!(!told.contains("obtained"), "{told}");
        host.run("rm /etc/netd/50-zones.network; rspawnctl reload");
        assert!(ask(&a, 20).contains("obtained"));
        assert!(!host_address(host, "vz-lab").is_empty());
    });
}

#[test]
fn a_bridge_remembers_no_more_stations_than_it_has_room_for() {
    const MOST: usize = 8192;
    with_netd(|host, _netd| {
        let release = host.run("uname -r");
        let mut numbers = release
            .split('.')
            .map(|part| part.parse::<u32>().unwrap_or(0));
        if (numbers.next(), numbers.next()) < (Some(6), Some(7)) {
            println!("{release} has no such limit");
            return;
        }
        let a = start_in_zone(host, "lab", "a");
        host.write(
            "/tmp/stations.py",
            "import socket, struct\n\
             s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)\n\
             s.bind(('host0', 0))\n\
             for n in range(12000):\n    \
                 s.send(b'\\xff' * 6 + b'\\x02\\x00' + struct.pack('!I', n) + b'\\x88\\xb5' + b'x' * 46)\n",
        );
        host.command_in_network(a.network(), "python3")
            .args(["/tmp/stations.py"])
            .output()
            .expect_success();
        let known: usize = host
            .run("bridge fdb show br vz-lab | wc -l")
            .trim()
            .parse()
            .unwrap();
        // Beside the bridge's own.
        assert!((MOST / 2..MOST + 100).contains(&known), "{known}");
        host.run("ping -c1 -W5 a");
    });
}
