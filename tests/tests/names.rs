//! Names and addresses through the NSS module, with the host's own programs.

use netns_fixtures::{NETD, NETD_CGROUP, wait_until};
use rspawn_tests::{SOON, Start, host, with_netd};

#[test]
fn names_are_answered_while_netd_is_stopped() {
    let host = host();
    let tree = host.busybox_tree();
    let mut netd = host.start_netd();
    let web = Start::new(&host, "web", &tree)
        .args(["-a", "/bin/sleep", "1000"])
        .start();
    let (address, addresses) = (web.ipv4(), web.addresses());
    let asks = || {
        let found = host.run("getent ahosts web");
        assert!(
            addresses.iter().all(|one| found.contains(&one.to_string())),
            "{found}"
        );
        assert!(host.run(&format!("getent hosts {address}")).contains("web"));
        host.run("ping -c1 -W5 web");
    };
    asks();
    // Stopped, as by a debugger: nothing may wait for it.
    netd.signal(libc::SIGSTOP);
    asks();
    netd.signal(libc::SIGCONT);
    // Ended in order.
    netd.signal(libc::SIGTERM);
    assert!(netd.wait(SOON).success());
    asks();
    // And killed.
    let mut netd = host.start_netd();
    asks();
    netd.signal(libc::SIGKILL);
    netd.wait(SOON);
    asks();
    assert_eq!(web.ipv4(), address);
}

#[test]
fn queries_are_folded_and_only_names_of_machines_are_answered() {
    with_netd(|host, _netd| {
        let tree = host.busybox_tree();
        let web = Start::new(host, "web", &tree)
            .args(["-a", "/bin/sleep", "1000"])
            .start();
        let address = web.ipv4().to_string();
        for query in ["web", "WEB", "Web.", "web."] {
            let found = host.run(&format!("getent -s rspawn ahostsv4 {query}"));
            assert!(found.contains(&address), "{query}: {found}");
        }
        for query in [
            "we",
            "webb",
            "web..",
            "www.web",
            "web.example",
            "..",
            "web/",
            "../machines/web",
            "_web",
        ] {
            let output = host
                .command("getent")
                .args(["-s", "rspawn", "hosts", query])
                .output();
            assert_eq!(output.code(), Some(2), "{query}: {output}");
        }
        let gateway = web
            .run_in_network("ip -4 route show default")
            .split_whitespace()
            .nth(2)
            .unwrap()
            .to_owned();
        assert_eq!(
            host.sh(&format!("getent -s rspawn hosts {gateway}")).code(),
            Some(2),
            "the host's own address"
        );
    });
}

#[test]
fn what_a_container_adds_to_host0_does_not_become_its_name() {
    with_netd(|host, _netd| {
        let tree = host.busybox_tree();
        let web = Start::new(host, "web", &tree)
            .args(["-a", "/bin/sleep", "1000"])
            .start();
        let before = host.run("getent ahosts web");
        web.run_in_network("ip address add 203.0.113.66/24 dev host0; ip link add inner type bridge; ip address add 172.17.0.1/16 dev inner; ip link set inner up");
        // Another container's registration is an event that comes later.
        let other = host.overlay(&tree, "other");
        let _other = Start::new(host, "other", &other)
            .args(["-a", "/bin/sleep", "1000"])
            .start();
        assert_eq!(host.run("getent ahosts web"), before);
        // Nor does it lose the name by removing what it was given.
        web.run_in_network("ip address flush dev host0");
        let third = host.overlay(&tree, "third");
        let _third = Start::new(host, "third", &third)
            .args(["-a", "/bin/sleep", "1000"])
            .start();
        assert_eq!(host.run("getent ahosts web"), before);
    });
}

#[test]
fn a_name_ends_with_its_container() {
    with_netd(|host, _netd| {
        let tree = host.busybox_tree();
        let mut web = Start::new(host, "web", &tree)
            .args(["-a", "/bin/sleep", "1000"])
            .start();
        let address = web.ipv4();
        web.end(libc::SIGTERM);
        let unknown = |query: &str| {
            host.command("getent")
                .args(["-s", "rspawn", "hosts", query])
                .output()
                .code()
                == Some(2)
        };
        assert!(wait_until(SOON, || unknown("web")), "the name is left");
        assert!(unknown(&address.to_string()), "the address is left");
        assert!(
            host.run("ls /run/rspawn/machines /run/rspawn/addresses")
                .lines()
                .all(|line| line.starts_with('/') || line.is_empty())
        );
    });
}

#[test]
fn who_waits_for_the_machine_to_be_ready_can_use_its_name() {
    let host = host();
    let tree = host.busybox_tree();
    // A netd whose records come late.
    let inject = "inject=rename,renameat,renameat2:delay_enter=500000";
    let _netd = host
        .command("strace")
        .args([
            "-f",
            "-q",
            "-e",
            "trace=rename,renameat,renameat2",
            "-e",
            inject,
        ])
        .args(["-o", "/dev/null", NETD])
        .cgroup(NETD_CGROUP)
        .spawn("netd");
    assert!(wait_until(SOON, || host.netd_serves()));
    host.write(
        "/tmp/manager.py",
        "import socket\n\
         s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n\
         s.bind('/run/manager')\n\
         while b'READY=1' not in s.recv(4096): pass\n",
    );
    let mut manager = host
        .command("python3")
        .args(["/tmp/manager.py"])
        .spawn("manager");
    assert!(wait_until(SOON, || host
        .sh("test -S /run/manager")
        .success()));
    let _web = host
        .command("rspawn")
        .args(["-q", "-M", "web", "--network-veth", "-a", "-D"])
        .args([&tree.display().to_string(), "/bin/sleep", "1000"])
        .env("NOTIFY_SOCKET", "/run/manager")
        .cgroup("web.service")
        .spawn("web");
    assert!(manager.wait(SOON).success());
    host.run("getent -s rspawn hosts web");
    host.kill_cgroup(NETD_CGROUP);
}
