//! What has happened to others, and does not happen here: the rows of docs/security.md
//! that no other test shows.

mod hostile_support;

use hostile_support::alone;
use hostile_support::attack::Attack;
use hostile_support::stage::{SLEEP, Stage, after, on_stage};
use netns_fixtures::wait_until;
use rspawn_tests::{SOON, Start, host};

/// A link that nobody guards must not be up: the container could be the host's router.
#[test]
fn a_link_that_netd_has_not_guarded_is_not_up() {
    let host = host();
    // A host that believes what it is told on every link.
    host.run("sysctl -qw net.ipv6.conf.default.accept_ra=2 net.ipv6.conf.all.accept_ra=2");
    let tree = host.busybox_tree();
    let _web = Start::new(&host, "web", &tree)
        .args(SLEEP)
        .unregistered()
        .start();
    let flags = || {
        let link = host.run("ip -o link show ve-web");
        let flags = link.split(['<', '>']).nth(1).unwrap().to_owned();
        flags.split(',').any(|flag| flag == "UP")
    };
    assert!(wait_until(SOON, || host
        .sh("ip link show ve-web")
        .success()));
    assert!(!flags(), "up without netd");
    let _netd = host.start_netd();
    assert!(wait_until(SOON, flags), "{}", host.run("ip -d link"));
    assert_eq!(host.run("sysctl -n net.ipv6.conf.ve-web.accept_ra"), "0");
}

/// A family that the host has switched off is off on a container's link, too.
#[test]
fn where_ipv6_is_off_nothing_is_heard_by_it() {
    let host = host();
    host.run("sysctl -qw net.ipv6.conf.default.disable_ipv6=1 net.ipv6.conf.all.disable_ipv6=1");
    let _netd = host.start_netd();
    let web = Start::new(&host, "web", &host.busybox_tree())
        .args(SLEEP)
        .start();
    assert!(web.addresses().iter().all(std::net::IpAddr::is_ipv4));
    assert_eq!(host.run("sysctl -n net.ipv6.conf.ve-web.disable_ipv6"), "1");
    assert_eq!(host.run("ip -6 address show dev ve-web"), "");
    let global = web.run_in_network("ip -6 address show dev host0 scope global");
    assert_eq!(global, "", "an address that leads nowhere");
    let said = web.run_in_network("ping -6 -c1 -W1 ff02::1%host0 2>&1 || true");
    assert!(
        !said.contains("bytes from fe80"),
        "the host answers: {said}"
    );
    host.run("ping -4 -c1 -W5 web");
}

/// The kernel answers all pings of a processor by one socket, whose buffer is held by answers
/// that wait for neighbours which are not there.
#[test]
fn pings_from_invented_addresses_silence_nobody_elses() {
    let _alone = alone();
    on_stage(|stage| {
        let keys = stage.keys();
        stage.host.run("ping -c1 -W5 web");
        // It has this processor.
        let attack = Attack::begin(stage, "spoof", &keys);
        let pings = "taskset -c 0 ping -6 -q -i0.1 -c30 -W2 web";
        let said = stage.host.sh(pings);
        attack.end();
        // One is lost at times to the flood itself.
        let received = said.stdout.split(", ").find_map(|part| {
            let (count, _) = part.split_once(" received")?;
            count.parse::<u32>().ok()
        });
        assert!(received.is_some_and(|count| count >= 28), "{said}");
    });
}

fn forged_packets_dropped(stage: &Stage<'_>) -> u64 {
    let rules = stage.host.run("nft list chain inet rspawn prerouting");
    let rule = rules.lines().find(|line| line.contains("forged source"));
    after(rule.unwrap(), "packets").parse().unwrap()
}

/// What an administrator allows elsewhere is no way past the check of sources, neither
/// before nor behind it, and neither is an address that was heard of on another link.
#[test]
fn no_other_table_opens_a_way_for_forged_sources() {
    on_stage(|stage| {
        for priority in [-500, -300, -299, 0] {
            stage.host.run(&format!(
                "nft 'add table inet acl; delete table inet acl; add table inet acl
                     add chain inet acl pre {{ type filter hook prerouting priority {priority}; policy accept; }}
                     add rule inet acl pre iifname \"ve-*\" accept'"
            ));
            stage
                .web
                .run_in_network("ping -c1 -W5 $(ip -4 route show default | cut -d' ' -f3)");
            for kind in ["udp4-as-other", "udp6-as-other"] {
                let before = forged_packets_dropped(stage);
                stage.strike(kind);
                let dropped = wait_until(SOON, || forged_packets_dropped(stage) > before);
                assert!(dropped, "{kind} passed at priority {priority}");
            }
        }
    });
}

/// What is only formatted where all is logged must not be what ends netd.
#[test]
fn what_is_broken_ends_nothing_where_everything_is_logged() {
    let _alone = alone();
    on_stage(|stage| {
        stage.netd.signal(libc::SIGTERM);
        stage.netd.wait(SOON);
        stage.netd = stage.host.start_netd_with(&["-vv"]);
        let keys = stage.keys();
        for kind in ["dhcp-broken", "dhcp", "all"] {
            let before = stage.netd.stderr().len();
            let attack = Attack::begin(stage, kind, &keys);
            let told = wait_until(SOON, || stage.netd.stderr().len() > before + 20_000);
            attack.end();
            assert!(told, "{kind} was not logged:\n{}", stage.netd.stderr());
        }
        assert!(stage.netd.ended().is_none(), "{}", stage.netd.stderr());
        let script = "busybox udhcpc -i host0 -f -q -n -t 5 -T 1 -s /bin/true 2>&1";
        stage.web.run_in_network(script);
    });
}

/// Of what runs, others may know names and addresses.
#[test]
fn a_user_sees_names_and_addresses_and_can_write_and_register_nothing() {
    on_stage(|stage| {
        let as_user = |script: &str| {
            let wrapped = ["-u", "nobody", "--", "sh", "-euc", script];
            stage.host.command("runuser").args(wrapped).output()
        };
        let found = as_user("getent ahosts web").expect_success();
        assert!(found.stdout.contains(&stage.web.ipv4().to_string()));
        let record = as_user("cat /run/rspawn/machines/web").expect_success();
        // Where its tree is and how it was started is nobody's business.
        for secret in ["/trees", "/bin/sleep", "ROOT"] {
            assert!(!record.stdout.contains(secret), "{record}");
        }
        as_user("cat /run/rspawn/names/web").expect_failure();
        let writable =
            as_user("find /run/rspawn /var/lib/rspawn ! -type l -writable ! -name bus.sock");
        assert_eq!(writable.stdout, "", "{writable}");
        let register = as_user("busybox nc local:/run/rspawn/supervisor.sock </dev/null");
        register.expect_failure();
    });
}

/// A socket without a path would be open to every container that shares the host's
/// network.
#[test]
fn no_socket_is_without_a_path() {
    on_stage(|stage| {
        let sockets = stage.host.run("cat /proc/net/unix");
        assert!(sockets.contains("/run/rspawn/"), "{sockets}");
        let abstract_ones = sockets.lines().filter(|line| line.contains('@'));
        assert_eq!(abstract_ones.count(), 0, "{sockets}");
    });
}

/// Whoever made the tree says nothing of the host's network.
#[test]
fn a_file_beside_the_tree_gives_no_way_into_the_host() {
    let host = host();
    let _netd = host.start_netd();
    host.run("ip link add br0 type bridge; ip link set br0 up");
    let tree = host.busybox_tree();
    host.write(
        format!("{}.nspawn", tree.display()),
        "[Exec]\nPrivateUsers=no\nCapability=all\nBoot=no\nParameters=/bin/false\nPivotRoot=/etc\n\
         [Files]\nBind=/:/host\nBindUser=root\n\
         [Network]\nPrivate=no\nVirtualEthernet=no\nBridge=br0\nPort=tcp:22:22\nInterface=br0\n",
    );
    let web = Start::new(&host, "web", &tree).args(SLEEP).start();
    let own = web.run_in_network("ip -o link");
    assert!(own.contains("host0") && !own.contains("br0"), "{own}");
    assert!(host.run("ip -o link show master br0").is_empty());
    assert!(!web.sh("ls /host").success());
    let status = web.run("cat /proc/1/status");
    let bounding = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    assert_ne!(bounding.map(str::trim), Some("000001ffffffffff"));
    assert!(web.ipv4().is_ipv4());
    let rules = host.run("nft list ruleset");
    assert!(!rules.contains("dnat to"), "{rules}");
}
