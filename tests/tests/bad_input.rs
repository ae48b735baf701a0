//! What a user gets wrong, and what he is told: one line that says what to do.

use netns_fixtures::{Host, Output};
use rspawn_tests::{SOON, Start, host, with_netd};

/// One line, that holds each of `words`, and a code that is not 0.
#[track_caller]
fn one_line(output: Output, words: &[&str]) {
    let output = output.expect_failure();
    assert_eq!(output.stderr.lines().count(), 1, "one line: {output}");
    assert!(output.stdout.is_empty(), "{output}");
    let line = output.stderr.to_lowercase();
    for word in words {
        assert!(
            line.contains(&word.to_lowercase()),
            "{word:?} is missing: {output}"
        );
    }
    for noise in ["panicked", "Error {", "Os {"] {
        assert!(!output.stderr.contains(noise), "{output}");
    }
}

fn rspawn(host: &Host, arguments: &[&str]) -> Output {
    host.command("rspawn").args(arguments).output()
}

#[test]
fn trees_that_are_none() {
    let host = host();
    one_line(
        rspawn(&host, &["-D", "/no/such", "/bin/true"]),
        &["/no/such"],
    );
    host.run("mkdir /srv/empty; echo x >/srv/file");
    one_line(
        rspawn(&host, &["-D", "/srv/file", "/bin/true"]),
        &["/srv/file", "directory"],
    );
    one_line(
        rspawn(&host, &["-b", "-D", "/srv/empty"]),
        &["/srv/empty", "os-release"],
    );
    one_line(
        rspawn(&host, &["-D", "/srv/empty", "/bin/true"]),
        &["/bin/true"],
    );
    // The host's own root is no tree to boot.
    one_line(rspawn(&host, &["-b", "-D", "/"]), &["/"]);
    let tree = host.busybox_tree();
    one_line(
        rspawn(
            &host,
            &["-D", tree.to_str().unwrap(), "/bin/no-such-program"],
        ),
        &["/bin/no-such-program"],
    );
    // An OS, as it says, but with nothing to boot.
    host.run("mkdir -p /srv/hollow/etc; echo ID=hollow >/srv/hollow/etc/os-release");
    one_line(
        rspawn(&host, &["-b", "-D", "/srv/hollow"]),
        &["/srv/hollow", "init"],
    );
}

#[test]
fn names_that_are_none() {
    let host = host();
    let tree = host.busybox_tree();
    for name in ["-a", "a_b", "", ".", "a..b", "ü", "a/b", &"a".repeat(65)] {
        let output = host
            .command("rspawn")
            .arg(format!("--machine={name}"))
            .arg("-D")
            .arg(&tree)
            .arg("/bin/true")
            .output();
        one_line(output, &["name"]);
    }
}

#[test]
fn a_name_or_a_tree_that_is_in_use() {
    with_netd(|host, _netd| {
        let tree = host.busybox_tree();
        let other = host.overlay(&tree, "other");
        let mut web = Start::new(host, "web", &tree)
            .args(["-a", "/bin/sleep", "1000"])
            .start();
        one_line(
            Start::new(host, "web", &other).args(["/bin/true"]).output(),
            &["web", "running"],
        );
        one_line(
            Start::new(host, "db", &tree).args(["/bin/true"]).output(),
            &["in use"],
        );
        // Two that only read may share a tree, but not with one that writes.
        one_line(
            Start::new(host, "db", &tree)
                .args(["--read-only", "/bin/true"])
                .output(),
            &["in use"],
        );
        host.run("ping -c1 -W5 web");
        web.end(libc::SIGTERM);
        let _first = Start::new(host, "web", &tree)
            .args(["--read-only", "-a", "/bin/sleep", "1000"])
            .start();
        Start::new(host, "db", &tree)
            .args(["--read-only", "/bin/true"])
            .output()
            .expect_success();
    });
}

#[test]
fn a_name_that_is_running_is_refused_without_netd_as_well() {
    let host = host();
    let tree = host.busybox_tree();
    let other = host.overlay(&tree, "other");
    let _web = Start::without_network(&host, "web", &tree)
        .args(["-a", "/bin/sleep", "1000"])
        .start();
    one_line(
        Start::without_network(&host, "web", &other)
            .args(["/bin/true"])
            .output(),
        &["web", "running"],
    );
}

#[test]
fn bridges_that_are_none() {
    let host = host();
    let tree = host.busybox_tree();
    let attach = |bridge: &str| {
        Start::without_network(&host, "web", &tree)
            .args([&format!("--network-bridge={bridge}"), "/bin/true"])
            .output()
    };
    one_line(attach("br9"), &["br9"]);
    host.run("ip link add plain0 type veth peer name plain1");
    one_line(attach("plain0"), &["plain0", "bridge"]);
    one_line(
        attach("a-name-of-more-than-15-bytes"),
        &["a-name-of-more-than-15-bytes"],
    );
    one_line(attach("a/b"), &["a/b"]);
    assert_eq!(
        host.run("ip -o link | grep -c vb- || true"),
        "0",
        "nothing is left of the attempt"
    );
}

#[test]
fn command_lines_that_say_nothing_sensible() {
    let host = host();
    let tree = host.busybox_tree();
    let tree = tree.to_str().unwrap();
    let cases: [(&[&str], &[&str]); 12] = [
        (&["-D", tree, "--no-such-option"], &["--no-such-option"]),
        (&["-D", tree, "-b", "-a"], &["boot", "as-pid2"]),
        (
            &["-D", tree, "--console=loud", "/bin/true"],
            &["loud", "interactive"],
        ),
        (
            &["-D", tree, "--kill-signal=SIGNO", "/bin/true"],
            &["SIGNO"],
        ),
        (
            &["-D", tree, "--capability=CAP_NO", "/bin/true"],
            &["CAP_NO"],
        ),
        (
            &["-D", tree, "--resolv-conf=maybe", "/bin/true"],
            &["maybe", "auto"],
        ),
        (
            &["-D", tree, "--bind=relative", "/bin/true"],
            &["relative", "absolute"],
        ),
        (
            &["-D", tree, "--bind=/no/such:/x", "/bin/true"],
            &["/no/such"],
        ),
        (&["-D", tree, "--tmpfs=", "/bin/true"], &["tmpfs"]),
        (
            &["-D", tree, "-u", "nobody-of-that-name", "/bin/true"],
            &["nobody-of-that-name"],
        ),
        (&["-D", tree, "-E", "=value", "/bin/true"], &["=value"]),
        (
            &["-D", tree, "--chdir=relative", "/bin/true"],
            &["relative", "absolute"],
        ),
    ];
    for (arguments, words) in cases {
        one_line(rspawn(&host, arguments), words);
    }
}

#[test]
fn a_user_who_is_not_root() {
    let host = host();
    let tree = host.busybox_tree();
    let output = host
        .command("setpriv")
        .args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "rspawn",
            "-D",
        ])
        .arg(&tree)
        .arg("/bin/true")
        .output();
    one_line(output, &["root"]);
    let output = host
        .command("setpriv")
        .args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            netns_fixtures::NETD,
        ])
        .output();
    one_line(output, &["root"]);
}

#[test]
fn a_second_netd_and_a_wrong_command_line_of_netd() {
    with_netd(|host, _netd| {
        one_line(
            host.command(netns_fixtures::NETD).output(),
            &["netd", "already"],
        );
        let unknown = host.command(netns_fixtures::NETD).arg("--no-such").output();
        assert!(
            unknown.stderr.contains("--no-such") && unknown.code() != Some(0),
            "{unknown}"
        );
        let tree = host.busybox_tree();
        let _web = Start::new(host, "web", &tree)
            .args(["-a", "/bin/sleep", "1000"])
            .start();
        let named = netns_fixtures::wait_until(SOON, || host.sh("getent hosts web").success());
        assert!(named, "the first goes on");
    });
}
