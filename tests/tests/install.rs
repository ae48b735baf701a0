//! `make install` and `rspawnctl nss`, run for real in a host.

use netns_fixtures::{Host, nss_module, program};

fn make(host: &Host, arguments: &str) -> netns_fixtures::Output {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    // What is built already; the host has no network to build it with.
    if !host.exists("/tmp/built") {
        let paths = ["rspawn", "rspawnctl", "netd"]
            .map(program)
            .into_iter()
            .chain([nss_module()]);
        let paths: Vec<_> = paths.map(|path| path.display().to_string()).collect();
        host.run(&format!(
            "mkdir /tmp/built; cp {} /tmp/built",
            paths.join(" ")
        ));
    }
    host.sh(&format!(
        "make -C {root} {arguments} BIN_DIR=/tmp/built </dev/null"
    ))
}

#[test]
fn installing_and_uninstalling_leaves_the_host_as_it_was() {
    let host = Host::new();
    host.run("sed -i 's/^hosts:.*/hosts: files mymachines resolve [!UNAVAIL=return] dns # mine/' /etc/nsswitch.conf");
    let before = host.run("cat /etc/nsswitch.conf");
    make(&host, "install").expect_success();
    let hosts = host.run("grep ^hosts: /etc/nsswitch.conf");
    assert_eq!(
        hosts,
        "hosts: files mymachines rspawn resolve [!UNAVAIL=return] dns # mine"
    );
    host.run("rspawn --version; rspawnctl --version; getent hosts localhost");
    assert!(
        host.run("ls /usr/lib/*/libnss_rspawn.so.2")
            .contains("/usr/lib/")
    );
    // The module is found and asked: a record that is there is answered.
    host.write(
        "/run/rspawn/machines/web",
        "VERSION=1\nNAME=web\nADDRESS=192.0.2.7\nEND=1\n",
    );
    assert!(host.run("getent hosts web").contains("192.0.2.7"));
    make(&host, "install").expect_success();
    assert_eq!(
        host.run("grep ^hosts: /etc/nsswitch.conf"),
        hosts,
        "it can be repeated"
    );
    make(&host, "uninstall").expect_success();
    assert_eq!(host.run("cat /etc/nsswitch.conf"), before);
    assert_eq!(host.run("command -v rspawn rspawnctl || true"), "");
    make(&host, "uninstall").expect_success();
}

#[test]
fn installing_to_a_directory_touches_nothing_else() {
    let host = Host::new();
    let before = host.run("cat /etc/nsswitch.conf; ls /usr/bin");
    make(&host, "install DESTDIR=/tmp/package PREFIX=/usr").expect_success();
    assert_eq!(host.run("cat /etc/nsswitch.conf; ls /usr/bin"), before);
    host.run("test -x /tmp/package/usr/bin/rspawn; test -n \"$(find /tmp/package -name libnss_rspawn.so.2)\"");
    make(&host, "uninstall DESTDIR=/tmp/package PREFIX=/usr").expect_success();
    assert_eq!(
        host.run("find /tmp/package -type f"),
        "",
        "everything is gone"
    );
}

#[test]
fn a_hosts_line_is_changed_in_its_one_place() {
    let host = Host::new();
    host.install();
    let line = |hosts: &str, verb: &str| {
        host.write(
            "/etc/nsswitch.conf",
            format!("passwd: files\n{hosts}\n# hosts: comment\nnetworks: files\n"),
        );
        host.run(&format!("rspawnctl nss {verb}"));
        let text = host.run("cat /etc/nsswitch.conf");
        assert!(
            text.starts_with("passwd: files\n")
                && text.ends_with("# hosts: comment\nnetworks: files"),
            "{text}"
        );
        text.lines().nth(1).unwrap().to_owned()
    };
    for (before, enabled) in [
        ("hosts: files dns", "hosts: files rspawn dns"),
        (
            "hosts:          files dns",
            "hosts:          files rspawn dns",
        ),
        ("hosts: dns files", "hosts: rspawn dns files"),
        ("hosts: files", "hosts: files rspawn"),
        ("hosts: files rspawn dns", "hosts: files rspawn dns"),
        (
            "hosts: files resolve [!UNAVAIL=return] dns",
            "hosts: files rspawn resolve [!UNAVAIL=return] dns",
        ),
    ] {
        assert_eq!(line(before, "enable"), enabled);
        assert_eq!(line(enabled, "enable"), enabled, "it can be repeated");
    }
    assert_eq!(
        line("hosts: files rspawn dns", "disable"),
        "hosts: files dns"
    );
    assert_eq!(line("hosts: files dns", "disable"), "hosts: files dns");
}
