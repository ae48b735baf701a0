//! netd as a DHCP client inside of containers.

use std::path::PathBuf;

use netns_fixtures::{Host, NETD as PROGRAM, Running, program, tree_cache, wait_until};
use rspawn_tests::{BOOT, Capture, Container, SOON, Start, start_dnsmasq, with_netd};

const LINK: &str = "host0";

/// A Debian tree with netd in it.
fn tree(host: &Host) -> PathBuf {
    let tree = host.tree("bookworm");
    let netd = std::fs::read(program("netd")).unwrap();
    let inside = PROGRAM.strip_prefix('/').unwrap();
    host.write_program(tree.join(inside), netd);
    tree
}

fn monitor<'a>(host: &'a Host, container: &Container<'_>) -> Running<'a> {
    let network = container.network();
    let mut monitor = host
        .command_in_network(network, "stdbuf")
        .args(["-oL", "ip", "-o", "monitor", "address"])
        .spawn("monitor");
    let hears = wait_until(SOON, || {
        container.run_in_network("ip address replace 192.0.2.254/32 dev lo");
        monitor.stdout().contains("192.0.2.254")
    });
    assert!(hears && monitor.ended().is_none());
    monitor
}

fn addresses(container: &Container<'_>) -> String {
    container.run_in_network(&format!("ip -4 address show dev {LINK}"))
}

#[track_caller]
fn wait_for_lease(container: &Container<'_>) {
    let leased = wait_until(BOOT, || addresses(container).contains(" dynamic "));
    assert!(leased, "{}", addresses(container));
}

/// Nothing that was leased was removed. A link-local address goes once there is a lease.
#[track_caller]
fn is_never_gone(monitor: &Running<'_>) {
    let heard = monitor.stdout();
    let is_gone = |line: &str| line.contains("Deleted") && !line.contains("169.254.");
    assert!(!heard.lines().any(is_gone), "{heard}");
}

/// Killed, netd is started anew inside, and nothing is gone meanwhile.
#[track_caller]
fn outlives_a_kill(host: &Host, web: &Container<'_>) {
    let monitor = monitor(host, web);
    web.run("kill -KILL $(pidof netd)");
    let again = || monitor.stdout().contains("10.77.0.5");
    assert!(
        wait_until(SOON, again),
        "{}",
        web.run("cat /var/log/netd.log")
    );
    is_never_gone(&monitor);
}

#[test]
fn an_address_that_rspawn_has_set_is_taken_over_without_a_gap() {
    with_netd(|host, _netd| {
        let tree = tree(host);
        let web = Start::new(host, "web", &tree)
            .args(["-a", "/bin/sleep", "1000"])
            .start();
        let monitor = monitor(host, &web);
        let address = web.ipv4();
        assert!(!addresses(&web).contains("dynamic"), "{}", addresses(&web));
        for _ in 0..2 {
            let mut inside = web.command(PROGRAM).arg("-vv").spawn("inside");
            inside.wait_for_output("leased", SOON);
            wait_for_lease(&web);
            assert!(addresses(&web).contains(&format!("inet {address}/28")));
            let routes = web.run_in_network("ip -4 route show default");
            assert_eq!(routes.lines().count(), 1, "{routes}");
            assert!(routes.contains("metric 1024"), "{routes}");
            web.run_in_network("ping -c1 -W5 $(ip -4 route show default | cut -d' ' -f3)");
            web.run("kill -TERM $(pidof netd)");
            inside.wait(SOON);
            // It is as rspawn has set it: nobody will renew a lease.
            let left = addresses(&web);
            assert!(left.contains(&format!("inet {address}/28")), "{left}");
            assert!(
                !left.contains("dynamic") && left.contains("valid_lft forever"),
                "{left}"
            );
        }
        is_never_gone(&monitor);
        host.run("ping -c1 -W5 web");
    });
}

#[test]
fn under_an_init_of_busybox_on_a_bridge() {
    with_netd(|host, _netd| {
        host.run(
            "ip link add br0 type bridge; ip address add 10.77.0.1/24 dev br0; ip link set br0 up",
        );
        let _dnsmasq = start_dnsmasq(host);
        let tree = tree(host);
        host.run(&format!("cp /bin/busybox {}/bin/busybox", tree.display()));
        host.write(
            tree.join("etc/inittab"),
            format!("::respawn:{PROGRAM} -vv >>/var/log/netd.log 2>&1\n::ctrlaltdel:/bin/busybox poweroff\n"),
        );
        let web = Start::without_network(host, "web", &tree)
            .args([
                "--network-bridge=br0",
                "--console=pipe",
                "/bin/busybox",
                "init",
            ])
            .start();
        wait_for_lease(&web);
        assert!(addresses(&web).contains("10.77.0.5"), "{}", addresses(&web));
        outlives_a_kill(host, &web);
    });
}

#[test]
fn under_openrc_on_a_bridge() {
    with_netd(|host, _netd| {
        host.run(
            "ip link add br0 type bridge; ip address add 10.77.0.1/24 dev br0; ip link set br0 up",
        );
        let _dnsmasq = start_dnsmasq(host);
        let tree = tree(host);
        let openrc = tree_cache().join("openrc");
        assert!(
            openrc.join("sbin/openrc-init").exists(),
            "{} is missing: run tests/setup/openrc.sh",
            openrc.display()
        );
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/openrc/netd");
        host.run(&format!(
            "for part in etc bin sbin lib usr; do cp -a {1}/$part/. $(readlink -f {0}/$part)/; done
             sed 's|@PREFIX@|/usr|' {script} >{0}/etc/init.d/netd
             chmod 755 {0}/etc/init.d/netd
             mkdir -p {0}/etc/runlevels/sysinit {0}/etc/runlevels/boot {0}/etc/runlevels/default
             ln -s /etc/init.d/netd {0}/etc/runlevels/default/",
            tree.display(),
            openrc.display()
        ));
        let web = Start::without_network(host, "web", &tree)
            .args([
                "--network-bridge=br0",
                "--console=pipe",
                "/sbin/openrc-init",
            ])
            .start();
        wait_for_lease(&web);
        assert!(addresses(&web).contains("10.77.0.5"), "{}", addresses(&web));
        let started = || web.sh("rc-service netd status").stdout;
        assert!(
            wait_until(SOON, || started().contains("started")),
            "{}",
            started()
        );
        outlives_a_kill(host, &web);
        web.run("rc-service netd stop");
        assert!(addresses(&web).contains("10.77.0.5"), "{}", addresses(&web));
    });
}

/// A tree of Debian in which netd is a unit of systemd's, and nobody else is a client; no
/// resolver is named.
fn tree_with_unit(host: &Host) -> PathBuf {
    let tree = tree(host);
    let unit = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../packaging/systemd/netd.service"
    );
    host.run(&format!(
        "sed 's|@PREFIX@|/usr|' {unit} >{0}/etc/systemd/system/netd.service
         ln -s ../netd.service {0}/etc/systemd/system/multi-user.target.wants/
         ln -sf /dev/null {0}/etc/systemd/system/systemd-networkd.service
         rm -f {0}/etc/resolv.conf",
        tree.display()
    ));
    tree
}

/// The unit takes from netd what it does not need on a host: it is enough for a client.
#[test]
fn as_a_unit_of_systemd_on_a_bridge() {
    with_netd(|host, _netd| {
        host.run(
            "ip link add br0 type bridge; ip address add 10.77.0.1/24 dev br0; ip link set br0 up",
        );
        let _dnsmasq = start_dnsmasq(host);
        let tree = tree_with_unit(host);
        let web = Start::without_network(host, "web", &tree)
            .args(["--network-bridge=br0", "--resolv-conf=off"])
            .boot();
        wait_for_lease(&web);
        let active = wait_until(BOOT, || web.sh("systemctl is-active netd").success());
        assert!(active, "{}", web.run("journalctl -u netd"));
        assert_eq!(
            web.run("readlink /etc/resolv.conf"),
            "../run/netd/resolv.conf"
        );
        let monitor = monitor(host, &web);
        web.run("systemctl restart netd");
        let again = || monitor.stdout().contains("10.77.0.5");
        assert!(wait_until(SOON, again), "{}", web.run("journalctl -u netd"));
        is_never_gone(&monitor);
    });
}

/// RFC 2131, section 4.4.5: a client renews at its server itself, also where that is on
/// another link and its messages came by a relay.
#[test]
fn as_a_unit_it_renews_at_a_server_on_another_link() {
    with_netd(|host, _netd| {
        let far = host
            .peer("far")
            .joined("up0", "10.88.0.1/24", "10.88.0.2/24");
        far.run("ip route add default via 10.88.0.1");
        host.run(
            "ip link add br0 type bridge; ip address add 10.77.0.1/24 dev br0; ip link set br0 up
             sysctl -qw net.ipv4.ip_forward=1",
        );
        let mut server = far
            .command("dnsmasq")
            .args(["-k", "-C", "/dev/null", "-p0", "-u", "root", "--no-ping"])
            .args(["-F", "10.77.0.50,10.77.0.59,255.255.255.0,10m"])
            .args(["-O", "option:router,10.77.0.1", "-O", "option:T1,6"])
            .args(["-O", "option:T2,500", "--dhcp-leasefile=/tmp/far.leases"])
            .args(["--log-dhcp", "--log-facility=-"])
            .spawn("server");
        server.wait_for_output("DHCP, IP range", SOON);
        let mut relay = host
            .command("dhcrelay")
            .args(["-4", "-d", "-id", "br0", "-iu", "up0", "10.88.0.2"])
            .spawn("relay");
        relay.wait_for_output("Sending on   Socket/fallback", SOON);
        let capture = Capture::start(host, host.command("tcpdump"), "br0");
        let tree = tree_with_unit(host);
        let web = Start::without_network(host, "web", &tree)
            .args(["--network-bridge=br0", "--resolv-conf=off"])
            .boot();
        wait_for_lease(&web);
        // To the server itself, by way of the router.
        capture.wait_for(
            "dhcp.option.dhcp == 3 && ip.dst == 10.88.0.2 && dhcp.ip.client != 0.0.0.0",
            1,
        );
        // The relay passes it on once more, or the server's answer comes by the router.
        capture.wait_for("dhcp.option.dhcp == 5 && dhcp.ip.client != 0.0.0.0", 1);
    });
}
