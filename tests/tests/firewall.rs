//! The host's own firewall must not break ours, nor ours the host's.

use netns_fixtures::wait_until;
use rspawn_tests::{SOON, Start, with_netd};

const DROP_ALL: &str = "
table inet dropping {
    chain early { type filter hook prerouting priority -400; policy drop; }
    chain input { type filter hook input priority 0; policy drop; }
}";

#[test]
fn a_lease_is_given_where_everything_is_dropped() {
    with_netd(|host, _netd| {
        host.write("/tmp/drop.nft", DROP_ALL);
        host.run("nft -f /tmp/drop.nft");
        let tree = host.busybox_tree();
        let web = Start::new(host, "web", &tree)
            .args([
                "-a",
                "/bin/sh",
                "-c",
                "udhcpc -i host0 -f -n -q -O mtu -O domain; exec sleep 1000",
            ])
            .start();
        let lease = || host.read(tree.join("lease"));
        assert!(wait_until(SOON, || lease().is_some()), "no lease");
        let lease = lease().unwrap();
        assert!(lease.contains(&format!("ip='{}'", web.ipv4())), "{lease}");
        for option in [
            "subnet='255.255.255.240'",
            "router='",
            "dns='198.51.100.53'",
            "lease='",
        ] {
            assert!(lease.contains(option), "{option} is missing: {lease}");
        }
    });
}

#[test]
fn our_table_comes_back_after_a_flush_and_the_hosts_rules_stay() {
    with_netd(|host, _netd| {
        let tree = host.busybox_tree();
        host.run("nft add table inet theirs; nft add chain inet theirs c");
        let _web = Start::new(host, "web", &tree)
            .args(["-a", "/bin/sleep", "1000"])
            .start();
        let ours = || host.sh("nft -s list table inet rspawn").stdout;
        let before = ours();
        assert!(before.contains("masquerade"), "{before}");
        assert!(host.run("nft list tables").contains("inet theirs"));
        // Whoever owns the table cannot be flushed by others; where the kernel does
        // not know owners, it heals.
        host.run("nft flush ruleset || true");
        assert!(wait_until(SOON, || ours() == before), "{}", ours());
    });
}

#[test]
fn one_more_container_costs_no_rule() {
    with_netd(|host, _netd| {
        let tree = host.busybox_tree();
        let _web = Start::new(host, "web", &tree)
            .args(["-a", "/bin/sleep", "1000"])
            .start();
        let before = host.run("nft -s list table inet rspawn");
        let other = host.overlay(&tree, "other");
        let _db = Start::new(host, "db", &other)
            .args(["-a", "/bin/sleep", "1000"])
            .start();
        assert_eq!(host.run("nft -s list table inet rspawn"), before);
    });
}
