//! What rspawn and netd say to each other, with a stand-in for netd.

mod common;

use common::{Netd, SOON, host, rspawn, wait_for_line};
use registry::protocol::{
    Configured, FromSupervisor, Network, Refusal, RefusalReason, Registered, ToSupervisor,
};

const SHOW: &str = "ip -4 addr show host0; ip -6 addr show host0; ip route; ip -6 route; cat /etc/resolv.conf; cat /sys/class/net/host0/mtu";

#[test]
fn the_address_is_there_before_the_payloads_first_instruction() {
    let host = host();
    let tree = host.busybox_tree();
    let netd = Netd::new(&host);
    let mut web = rspawn(&host, &tree, &["-n", "/bin/sh", "-c", SHOW]).spawn("web");
    let supervisor = netd.accept();
    let (registration, descriptors) = supervisor.hear_registration();
    assert_eq!(registration.name.as_str(), "web");
    assert_eq!(registration.root, tree.to_str().unwrap());
    assert!(
        registration
            .cgroup
            .ends_with("/machine.slice/machine-web.scope")
    );
    assert!(matches!(registration.network, Network::Veth { ifindex } if ifindex > 1));
    assert!(!registration.running);
    assert_eq!(descriptors.len(), 2);
    assert!(matches!(
        registry::leader::pid_of(&descriptors[0]),
        Ok(Some(_))
    ));
    supervisor.configure();
    assert_eq!(
        supervisor.hear().0,
        FromSupervisor::Configured(Configured::default())
    );
    assert_eq!(web.wait(SOON).code(), Some(0), "{}", web.stderr());
    let shown = web.stdout();
    for part in [
        "inet 192.0.2.2/28 brd 192.0.2.15",
        "inet6 2001:db8::2/64",
        "default via 192.0.2.1 dev host0",
        "src 192.0.2.2",
        "default via 2001:db8::1 dev host0",
        "nameserver 198.51.100.53\nsearch example.net\n1400\n",
    ] {
        assert!(shown.contains(part), "{part} is missing:\n{shown}");
    }
    assert!(!shown.contains("tentative"), "{shown}");
    let (last, _) = supervisor.hear();
    assert_eq!(last, FromSupervisor::Goodbye);
}

#[test]
fn a_refusal_is_told_and_leaves_nothing() {
    let host = host();
    let tree = host.busybox_tree();
    let netd = Netd::new(&host);
    let mut web = rspawn(&host, &tree, &["-n", "/bin/true"]).spawn("web");
    let supervisor = netd.accept();
    let (_, descriptors) = supervisor.hear_registration();
    // What netd holds would keep the link.
    drop(descriptors);
    supervisor.say(&ToSupervisor::Refused(Refusal {
        reason: RefusalReason::NameInUse,
        message: "web is taken".into(),
    }));
    drop(supervisor);
    assert_eq!(web.wait(SOON).code(), Some(1));
    assert_eq!(
        web.stderr(),
        "rspawn: netd refuses the container: web is taken\n"
    );
    assert!(!host.sh("ip link show ve-web").success());
    assert!(!host.exists(tree.join("proc")));
    let lock = host.path("/run/rspawn/names/web");
    assert!(!lock.exists());
}

#[test]
fn a_netd_that_comes_later_gives_the_network_and_one_that_restarts_takes_over() {
    let host = host();
    let tree = host.busybox_tree();
    let script = "echo up; until ip -4 addr show host0 | grep -q 192.0.2.2; do :; done; echo configured; sleep 100";
    let options = ["-n", "-a", "/bin/sh", "-c", script];
    let mut web = rspawn(&host, &tree, &options).spawn("web");
    wait_for_line(&web, "up");
    assert!(
        web.stderr().contains("netd is not running"),
        "{}",
        web.stderr()
    );
    let netd = Netd::new(&host);
    let supervisor = netd.accept();
    let (registration, descriptors) = supervisor.hear_registration();
    assert!(registration.running);
    assert_eq!(descriptors.len(), 2);
    supervisor.configure();
    wait_for_line(&web, "configured");
    drop((netd, supervisor));
    let netd = Netd::new(&host);
    let supervisor = netd.accept();
    let (again, _) = supervisor.hear_registration();
    assert_eq!(again, registration);
    supervisor.say(&ToSupervisor::Registered(Registered::default()));
    web.signal(libc::SIGTERM);
    web.wait(SOON);
}

#[test]
fn a_dead_link_of_ours_is_taken_over_and_a_foreign_one_is_not() {
    let host = host();
    let tree = host.busybox_tree();
    let name = "a-name-that-is-forty-characters-long-000";
    let start = |program: &[&str]| {
        host.command("rspawn")
            .args(["-q", "-n", "-M", name, "-D"])
            .arg(&tree)
            .args(program)
            .cgroup("web.service")
    };
    let netd = Netd::new(&host);
    let mut first = start(&["-a", "/bin/sleep", "100"]).spawn("first");
    let supervisor = netd.accept();
    // The namespace lives as long as a socket of it.
    let (registration, _held) = supervisor.hear_registration();
    supervisor.configure();
    let Network::Veth { ifindex } = registration.network else {
        panic!("{registration:?}");
    };
    first.signal(libc::SIGKILL);
    first.wait(SOON);
    drop((supervisor, netd));
    host.run("rm /run/rspawn/supervisor.sock");
    assert!(host.sh(&format!("ip link show ve-{name}")).success());
    let again = start(&["/bin/ip", "link", "show", "host0"]).output();
    assert!(again.expect_success().stdout.contains("host0"));
    assert!(host.sh(&format!("ip link show x{ifindex}")).success());

    host.run("ip link add ve-web type veth peer name other");
    let foreign = rspawn(&host, &tree, &["-n", "/bin/true"]).output();
    assert_eq!(foreign.code(), Some(1));
    assert!(
        foreign.stderr.contains("ve-web is there already"),
        "{foreign}"
    );
    assert!(host.sh("ip link show ve-web").success());
}

#[test]
fn a_refusal_while_it_runs_is_not_the_last_word() {
    let host = host();
    let tree = host.busybox_tree();
    let script = "echo up; sleep 100";
    let mut web = rspawn(&host, &tree, &["-n", "-a", "/bin/sh", "-c", script]).spawn("web");
    wait_for_line(&web, "up");
    let netd = Netd::new(&host);
    let supervisor = netd.accept();
    let (first, _) = supervisor.hear_registration();
    supervisor.say(&ToSupervisor::Refused(Refusal {
        reason: RefusalReason::NameInUse,
        message: "web is taken".into(),
    }));
    let again = netd.accept();
    let (second, _) = again.hear_registration();
    assert_eq!(first, second);
    again.say(&ToSupervisor::Registered(Registered::default()));
    assert!(web.stderr().contains("refuses web: web is taken"));
    // One that does not even listen to the registration.
    drop(again);
    drop(netd.accept());
    let (third, _) = netd.accept().hear_registration();
    assert_eq!(first, third);
    web.signal(libc::SIGTERM);
    web.wait(SOON);
}
