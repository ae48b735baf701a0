//! netd as a service of systemd's, with all that its unit takes from it.

use std::path::{Path, PathBuf};

use netns_fixtures::{Host, nss_module, program, tree_cache, wait_until};
use rspawn_tests::{BOOT, Container, SOON, Start, with_netd};

/// The most that `systemd-analyze security` may find, in tenths.
const EXPOSURE_MAX: u32 = 20;

/// Installs rspawn into a directory as a package does.
fn install(host: &Host, directory: &Path) {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let built = ["rspawn", "rspawnctl", "netd"]
        .map(program)
        .into_iter()
        .chain([nss_module()])
        .map(|path| path.display().to_string())
        .collect::<Vec<_>>()
        .join(" ");
    host.run(&format!(
        "mkdir -p /tmp/built; cp {built} /tmp/built
         make -C {root} install DESTDIR={} PREFIX=/usr OPENRC=no BIN_DIR=/tmp/built </dev/null",
        directory.display()
    ));
}

#[test]
fn the_unit_exposes_little_to_either_systemd() {
    let host = Host::new();
    let package = PathBuf::from("/tmp/package");
    install(&host, &package);
    host.run("mkdir -p /usr/lib/rspawn; cp /tmp/built/netd /usr/lib/rspawn/");
    let unit = "/tmp/package/usr/lib/systemd/system/netd.service";
    let verified = host
        .sh(&format!("systemd-analyze verify {unit}"))
        .expect_success();
    assert_eq!(verified.stderr, "", "{verified}");
    let analyze = format!(
        "systemd-analyze security --no-pager --offline=yes --threshold={EXPOSURE_MAX} {unit}"
    );
    for root in [None, Some("bookworm"), Some("trixie")] {
        let script = match root.map(|suite| tree_cache().join(suite)) {
            None => analyze.clone(),
            Some(tree) => format!(
                "mount --bind /tmp {0}/tmp; mount -t proc proc {0}/proc; chroot {0} {analyze}",
                host.overlay(&tree, "analyze").display()
            ),
        };
        let output = host.sh(&script);
        assert!(output.success(), "{root:?}: {output}");
        assert!(output.stdout.contains("Overall exposure level"), "{output}");
    }
}

/// A Debian tree with rspawn and, in it, a tree for a container in the container.
fn nesting_tree(host: &Host, suite: &str) -> PathBuf {
    let tree = host.tree(suite);
    install(host, &tree);
    let inner = host.busybox_tree();
    host.run(&format!(
        "mkdir -p {0}/var/lib/machines; mv {1} {0}/var/lib/machines/inner",
        tree.display(),
        inner.display()
    ));
    tree
}

/// Starts netd and a container inside a container.
fn start_inner(outer: &Container<'_>) {
    outer.run(
        "systemctl start netd.service rspawn@inner.service
         rspawnctl nss enable
         ping -c1 -W5 inner
         systemctl reload netd.service
         systemctl is-active netd.service
         journalctl -u netd.service | grep 'configuration read anew'
         ping -c1 -W5 inner",
    );
}

fn serves_by_its_unit(suite: &str) {
    with_netd(|host, _netd| {
        let tree = nesting_tree(host, suite);
        // The unit boots its container: a program that stays is enough of an init.
        host.run(&format!(
            "echo null::respawn:/bin/sleep 1000 >{}/var/lib/machines/inner/etc/inittab",
            tree.display()
        ));
        let outer = Start::new(host, "outer", &tree).boot();
        start_inner(&outer);

        let status = outer.run("cat /proc/$(pgrep -x netd)/status");
        for line in [
            "CapPrm:\t0000000000003400",
            "CapBnd:\t0000000000003400",
            "NoNewPrivs:\t1",
            "Seccomp:\t2",
        ] {
            assert!(status.contains(line), "{status}");
        }
        let log = || outer.run("journalctl -b -u netd --no-pager -o cat");
        let inner = outer.run("getent -s rspawn ahostsv4 inner | head -n1 | cut -d' ' -f1");
        assert!(
            outer.run("rspawnctl status inner").contains(&inner),
            "{}",
            log()
        );
        let kernel = outer.run("cat /proc/sys/net/ipv4/conf/ve-inner/forwarding");
        assert_eq!(kernel, "1", "{}", log());
        let network = outer.run("sed -n s/^LEADER=//p /run/rspawn/machines/inner");
        let lease = outer.run(&format!(
            "nsenter -t {network} -m -n -r -w -- /bin/udhcpc -i host0 -n -q -f -t 5 -T 1 2>&1"
        ));
        assert!(
            lease.contains(&format!("lease of {inner} obtained")),
            "{lease}\n{}",
            log()
        );
        let table = host
            .command_in_network(outer.network(), "nft")
            .args(["list", "table", "inet", "rspawn"])
            .output()
            .expect_success();
        assert!(table.stdout.contains("masquerade"), "{table}");
        outlives_a_restart(&outer, &inner);
        clears_up_after_a_crash(&outer);
        // Neither did the system end netd nor did netd complain.
        assert_eq!(outer.run("systemctl show netd -p NRestarts --value"), "0");
        for word in [
            "ERROR",
            "cannot",
            "Permission",
            "Read-only",
            "not permitted",
        ] {
            assert!(!log().contains(word), "{}", log());
        }
        outlives_its_slice(&outer);
        comes_back_to_what_was_removed(&outer);
        let _ = outer.sh("systemctl poweroff");
    });
}

fn outlives_a_restart(outer: &Container<'_>, inner: &str) {
    outer.run("systemctl restart netd");
    assert!(wait_until(SOON, || outer
        .run("rspawnctl status inner")
        .contains(inner)));
    outer.run("ping -c1 -W5 inner");
    assert_eq!(
        outer.run("getent -s rspawn ahostsv4 inner | head -n1 | cut -d' ' -f1"),
        inner
    );
}

/// Somebody stops the slice in which containers are.
fn outlives_its_slice(outer: &Container<'_>) {
    outer.run("systemctl stop machine.slice; systemctl is-active netd");
}

/// Somebody removes what netd keeps, directories and all: they were mounts of netd's, and
/// a restart makes them anew.
fn comes_back_to_what_was_removed(outer: &Container<'_>) {
    outer.run("rm -r /run/rspawn /var/lib/rspawn; systemctl restart netd");
    let back = wait_until(SOON, || {
        outer
            .sh("test -S /run/rspawn/supervisor.sock && test -d /var/lib/rspawn/subnets")
            .success()
    });
    assert!(
        back,
        "{}",
        outer.sh("journalctl -b -u netd --no-pager").stdout
    );
    outer.run("systemctl start rspawn@inner.service; ping -c1 -W5 inner");
    clears_up_after_a_crash(outer);
}

fn clears_up_after_a_crash(outer: &Container<'_>) {
    outer.run("systemctl kill -s KILL rspawn@inner.service");
    let gone = wait_until(BOOT, || {
        outer
            .sh("! test -e /sys/fs/cgroup/machine.slice/machine-inner.scope
                 ! test -e /run/rspawn/machines/inner
                 ! ip link show ve-inner 2>/dev/null
                 ! test -e /var/lib/machines/inner/proc")
            .success()
    });
    assert!(
        gone,
        "{}",
        outer
            .sh("ls -a /sys/fs/cgroup/machine.slice /var/lib/machines/inner /run/rspawn/*; ip link; journalctl -b -u netd --no-pager")
            .stdout
    );
}

#[test]
fn netd_serves_by_its_unit_on_debian_12() {
    serves_by_its_unit("bookworm");
}

#[test]
fn netd_serves_by_its_unit_on_debian_13() {
    serves_by_its_unit("trixie");
}
