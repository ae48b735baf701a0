//! rspawnctl and the bus without a bus daemon.

use rspawn_tests::{Start, host, with_netd};
use serde_json::Value;

#[test]
fn list_and_status_say_what_runs() {
    with_netd(|host, _netd| {
        let empty: Value = serde_json::from_str(&host.run("rspawnctl list --json")).unwrap();
        assert!(empty.as_array().is_some_and(Vec::is_empty), "{empty}");
        let tree = host.busybox_tree();
        let web = Start::new(host, "web", &tree)
            .args(["-a", "/bin/sleep", "1000"])
            .start();
        let address = web.ipv4().to_string();
        let list = host.run("rspawnctl list");
        assert!(list.contains("web") && list.contains(&address), "{list}");
        let json: Value = serde_json::from_str(&host.run("rspawnctl list --json")).unwrap();
        assert_eq!(json.as_array().map(Vec::len), Some(1), "{json}");
        assert!(
            json.to_string().contains(&address) && json.to_string().contains("\"web\""),
            "{json}"
        );
        let status = host.run("rspawnctl status web");
        for word in ["web", address.as_str(), "ve-web", &web.leader().to_string()] {
            assert!(status.contains(word), "{word} is missing: {status}");
        }
        let json: Value = serde_json::from_str(&host.run("rspawnctl status web --json")).unwrap();
        assert!(
            json.is_object() && json.to_string().contains(&address),
            "{json}"
        );
        let unknown = host.sh("rspawnctl status db").expect_failure();
        assert!(
            unknown.stderr.contains("db") && unknown.stderr.lines().count() == 1,
            "{unknown}"
        );
    });
}

#[test]
fn what_can_be_read_is_told_while_netd_is_down() {
    let host = host();
    assert_eq!(host.run("rspawnctl list"), "No machines.");
    assert_eq!(host.run("rspawnctl --no-legend list"), "");
    let netd = host.start_netd();
    let tree = host.busybox_tree();
    let web = Start::new(&host, "web", &tree)
        .args(["-a", "/bin/sleep", "1000"])
        .start();
    drop(netd);
    host.wait_for_no_netd();
    let address = web.ipv4().to_string();
    let list = host.run("rspawnctl list");
    assert!(list.contains("web") && list.contains(&address), "{list}");
    let status = host.run("rspawnctl status web");
    assert!(
        status.contains(&address) && status.contains("netd: not reached"),
        "{status}"
    );
}

#[test]
fn busctl_speaks_to_the_socket_without_a_bus() {
    with_netd(|host, _netd| {
        let tree = host.busybox_tree();
        let web = Start::new(host, "web", &tree)
            .args(["-a", "/bin/sleep", "1000"])
            .start();
        let busctl = |rest: &str| {
            host.run(&format!(
                "busctl --address=unix:path=/run/rspawn/bus.sock {rest}"
            ))
        };
        let interface =
            busctl("introspect org.rspawn.Netd1 /org/rspawn/Netd1 org.rspawn.Netd1 --no-pager");
        assert!(
            interface.contains(".List") && interface.contains(".Status"),
            "{interface}"
        );
        let listed = busctl("call org.rspawn.Netd1 /org/rspawn/Netd1 org.rspawn.Netd1 List");
        assert!(listed.contains("\"web\""), "{listed}");
        let status =
            busctl("call org.rspawn.Netd1 /org/rspawn/Netd1 org.rspawn.Netd1 Status s web");
        assert!(status.contains(&web.ipv4().to_string()), "{status}");
        assert!(busctl("list --no-pager").contains("org.rspawn.Netd1"));
        let refused = host.sh("busctl --address=unix:path=/run/rspawn/bus.sock call org.rspawn.Netd1 /org/rspawn/Netd1 org.rspawn.Netd1 Status s nobody");
        assert!(
            !refused.success() && refused.stderr.contains("nobody"),
            "{refused}"
        );
    });
}

#[test]
fn anybody_may_read_and_nobody_but_root_registers() {
    with_netd(|host, _netd| {
        let tree = host.busybox_tree();
        let _web = Start::new(host, "web", &tree)
            .args(["-a", "/bin/sleep", "1000"])
            .start();
        let nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups";
        assert!(
            host.run(&format!("{nobody} rspawnctl list"))
                .contains("web")
        );
        assert!(
            host.run(&format!("{nobody} getent hosts web"))
                .contains("web")
        );
        host.run("command -v python3");
        let registers = host.sh(&format!(
            "{nobody} python3 -c 'import socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.connect(\"/run/rspawn/supervisor.sock\"); s.send(b\"{{}}\"); print(s.recv(100))'"
        ));
        assert!(
            !registers.success()
                || registers.stdout.contains("b''")
                || registers.stdout.contains("refused"),
            "{registers}"
        );
        assert!(
            host.sh("touch /run/rspawn/machines/x").success(),
            "only root may write there"
        );
        assert!(
            !host
                .sh(&format!("{nobody} touch /run/rspawn/machines/y"))
                .success()
        );
    });
}
