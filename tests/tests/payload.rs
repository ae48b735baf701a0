//! What a payload finds, by rspawn's options.

use netns_fixtures::{Host, Output, wait_until};
use rspawn_tests::{SOON, Start, host};
use std::path::{Path, PathBuf};

/// Runs `script` by the tree's shell with further options.
fn sh(host: &Host, tree: &Path, options: &[&str], script: &str) -> Output {
    Start::without_network(host, "web", tree)
        .args(options)
        .args(["--console=pipe", "/bin/sh", "-c", script])
        .output()
}

#[track_caller]
fn run(host: &Host, tree: &Path, options: &[&str], script: &str) -> String {
    sh(host, tree, options, script)
        .expect_success()
        .stdout
        .trim_end()
        .to_owned()
}

#[test]
fn the_exit_code_and_the_streams_are_the_payloads() {
    let host = host();
    let tree = host.busybox_tree();
    for code in [0, 1, 7, 42, 255] {
        let output = sh(&host, &tree, &[], &format!("exit {code}"));
        assert_eq!(output.code(), Some(code), "{output}");
    }
    let output = Start::without_network(&host, "web", &tree)
        .args(["--console=pipe", "/bin/sh", "-c", "cat; echo bad >&2; tty"])
        .command()
        .input("given\n")
        .output();
    assert!(output.stdout.starts_with("given\nnot a tty"), "{output}");
    assert_eq!(output.stderr, "bad\n", "{output}");
    let output = sh(&host, &tree, &["-a"], "kill -9 $$; sleep 100");
    assert!(output.code().is_some_and(|code| code != 0), "{output}");
    // Without being told: pipes stay pipes, byte by byte, where input is none of a terminal.
    let output = Start::without_network(&host, "web", &tree)
        .args(["/bin/cat"])
        .command()
        .input("a\0b\n\x03\x1d\x1d\x1d")
        .output()
        .expect_success();
    assert_eq!(output.stdout, "a\0b\n\x03\x1d\x1d\x1d", "{output}");
}

#[test]
fn the_payload_is_process_1_or_with_a_stub_process_2() {
    let host = host();
    let tree = host.busybox_tree();
    assert_eq!(run(&host, &tree, &[], "echo $$"), "1");
    assert_eq!(run(&host, &tree, &["-a"], "echo $$"), "2");
    assert_eq!(sh(&host, &tree, &["-a"], "exit 9").code(), Some(9));
    // The stub reaps.
    let orphan = "(true & exec sleep 0.2) & sleep 0.5; for s in /proc/[0-9]*/stat; do read p c state r <$s; echo $state; done 2>/dev/null";
    assert!(!run(&host, &tree, &["-a"], orphan).contains('Z'));
    // Nothing of the host's is seen.
    assert!(
        run(&host, &tree, &["-a"], "ls -d /proc/[0-9]*")
            .lines()
            .count()
            <= 4
    );
}

#[test]
fn identity_environment_and_directory_are_as_asked() {
    let host = host();
    let tree = host.busybox_tree();
    let show = "hostname; id -u; pwd; echo $GREETING; echo $EMPTY.";
    host.run(&format!("echo 'joe:x:1234:1234::/home/joe:/bin/sh' >>{0}/etc/passwd; echo 'joe:x:1234:' >>{0}/etc/group; mkdir -p {0}/home/joe {0}/srv", tree.display()));
    assert_eq!(run(&host, &tree, &[], show), "web\n0\n/\n\n.");
    let options = [
        "--hostname=other.example",
        "-u",
        "joe",
        "--chdir=/srv",
        "-E",
        "GREETING=hello you",
        "--setenv=EMPTY=",
    ];
    assert_eq!(
        run(&host, &tree, &options, show),
        "other.example\n1234\n/srv\nhello you\n."
    );
    let joe = run(&host, &tree, &["-u", "joe"], "echo $HOME $USER $LOGNAME");
    assert_eq!(joe, "/home/joe joe joe");
    // What is said last counts, as it does for systemd-nspawn.
    let twice = ["--hostname=one", "--hostname=two"];
    assert_eq!(run(&host, &tree, &twice, "hostname"), "two");
    let environment = run(&host, &tree, &[], "tr '\\0' '\\n' </proc/1/environ; true");
    for line in [
        "container=rspawn",
        "HOME=/root",
        "USER=root",
        "LOGNAME=root",
        "NOTIFY_SOCKET=/run/host/notify",
    ] {
        assert!(
            environment.lines().any(|found| found == line),
            "{line} is missing:\n{environment}"
        );
    }
    assert!(
        environment
            .lines()
            .any(|line| line.starts_with("container_uuid=")),
        "{environment}"
    );
    let output = Start::without_network(&host, "web", &tree)
        .args(["--console=pipe", "/bin/sh", "-c", "echo $SECRET"])
        .command()
        .env("SECRET", "of the host")
        .output();
    assert_eq!(
        output.expect_success().stdout,
        "\n",
        "the host's environment stays there"
    );
}

#[test]
fn mounts_are_as_asked_and_nothing_is_left_in_the_tree() {
    let host = host();
    let tree = host.busybox_tree();
    host.run("mkdir -p /srv/data/sub; echo of the host >/srv/data/file; echo single >/srv/file; mount -t tmpfs tmpfs /srv/data/sub; touch /srv/data/sub/inner");
    let listing = || host.run(&format!("cd {} && find . | sort", tree.display()));
    let before = listing();
    let bind = [
        "--bind=/srv/data:/in/side",
        "--bind=/srv/file:/single",
        "--tmpfs=/scratch",
    ];
    let script = "cat /in/side/file /single; echo changed >/in/side/new; ls /in/side/sub; echo x >/scratch/x; grep ' /scratch ' /proc/mounts";
    let output = run(&host, &tree, &bind, script);
    assert!(
        output.starts_with("of the host\nsingle\ninner\n"),
        "{output}"
    );
    assert!(output.contains("tmpfs"), "{output}");
    assert_eq!(host.read("/srv/data/new").as_deref(), Some("changed\n"));
    let read_only = ["--bind-ro=/srv/data"];
    assert_eq!(
        run(
            &host,
            &tree,
            &read_only,
            "cat /srv/data/file; echo x 2>/dev/null >/srv/data/y || echo refused; touch /srv/data/sub/x 2>/dev/null || echo refused too"
        ),
        "of the host\nrefused\nrefused too"
    );
    assert!(
        host.run("cat /proc/self/mountinfo")
            .lines()
            .all(|line| !line.contains("/in/side")),
        "the host sees the container's mounts"
    );
    // With --read-only nothing can be written, mount points that are missing are there all the same.
    let output = sh(
        &host,
        &tree,
        &["--read-only", "--bind=/srv/data:/absent/point"],
        "cat /absent/point/file; touch /new",
    );
    assert!(
        !output.success() && output.stdout == "of the host\n",
        "{output}"
    );
    assert_eq!(
        run(
            &host,
            &tree,
            &["--read-only"],
            "touch /tmp/x /run/x /dev/shm/x && echo can"
        ),
        "can"
    );
    // Mount points made on the way are the only thing that may stay, and stay empty.
    let left: Vec<_> = listing()
        .lines()
        .filter(|path| !before.lines().any(|known| known == *path))
        .map(str::to_owned)
        .collect();
    assert!(left.is_empty(), "left in the tree: {left:?}");
}

#[test]
fn the_kernels_files_are_masked_and_the_usual_devices_are_there() {
    let host = host();
    let tree = host.busybox_tree();
    let private = ["--private-network"];
    assert_eq!(
        run(
            &host,
            &tree,
            &private,
            "cat /proc/kcore /proc/keys /proc/sysrq-trigger /proc/timer_list 2>/dev/null | wc -c"
        ),
        "0"
    );
    assert!(!sh(&host, &tree, &private, "echo 1 >/proc/sys/kernel/panic").success());
    assert!(
        run(
            &host,
            &tree,
            &private,
            "echo 1 >/proc/sys/net/ipv4/ip_forward; cat /proc/sys/net/ipv4/ip_forward"
        ) == "1"
    );
    assert!(
        !sh(&host, &tree, &[], "echo 1 >/proc/sys/net/ipv4/ip_forward").success(),
        "the host's network is the host's"
    );
    for device in [
        "null", "zero", "full", "random", "urandom", "tty", "ptmx", "net/tun",
    ] {
        run(&host, &tree, &private, &format!("test -c /dev/{device}"));
    }
    assert!(!sh(&host, &tree, &private, "test -e /dev/kmsg").success());
    assert_eq!(
        run(
            &host,
            &tree,
            &private,
            "head -c4 /dev/zero | wc -c; echo x >/dev/null; cat /proc/self/cgroup | grep ^0:"
        ),
        "4\n0::/"
    );
    assert_eq!(
        run(&host, &tree, &private, "grep cgroup /proc/mounts"),
        run(
            &host,
            &tree,
            &private,
            "grep ' /sys/fs/cgroup cgroup2 ' /proc/mounts"
        ),
        "one cgroup2 and nothing else"
    );
    assert_eq!(run(&host, &tree, &private, "ls /sys/class/net"), "lo");
    assert!(run(&host, &tree, &[], "cat /run/host/container-manager").contains("rspawn"));
    assert!(run(&host, &tree, &[], "cat /run/host/os-release").contains("ID=debian"));
    assert_eq!(
        run(
            &host,
            &tree,
            &[],
            "test -S /run/host/notify && mount | grep -c ' on / '"
        ),
        "1"
    );
    assert_ne!(
        run(&host, &tree, &[], "cat /proc/sys/kernel/random/boot_id"),
        host.run("cat /proc/sys/kernel/random/boot_id")
    );
}

#[test]
fn capabilities_are_the_usual_ones_or_as_asked() {
    let host = host();
    let tree = host.busybox_tree();
    let bounding = |options: &[&str]| {
        u64::from_str_radix(
            &run(
                &host,
                &tree,
                options,
                "grep CapBnd /proc/self/status | cut -f2",
            ),
            16,
        )
        .unwrap()
    };
    const NET_ADMIN: u64 = 1 << 12;
    const SYS_MODULE: u64 = 1 << 16;
    const SYS_TIME: u64 = 1 << 25;
    const MKNOD: u64 = 1 << 27;
    let shared = bounding(&[]);
    assert_eq!(
        shared & (NET_ADMIN | SYS_MODULE | SYS_TIME),
        0,
        "{shared:x}"
    );
    assert_ne!(shared & MKNOD, 0, "{shared:x}");
    assert_eq!(bounding(&["--private-network"]), shared | NET_ADMIN);
    assert_eq!(
        bounding(&["--private-network", "--drop-capability=CAP_NET_ADMIN"]),
        shared
    );
    assert_eq!(
        bounding(&["--capability=CAP_SYS_TIME", "--drop-capability=CAP_MKNOD"]),
        (shared | SYS_TIME) & !MKNOD
    );
    let privileges = |options: &[&str]| {
        run(
            &host,
            &tree,
            options,
            "grep NoNewPrivs /proc/self/status | cut -f2",
        )
    };
    assert_eq!(
        (privileges(&[]), privileges(&["--no-new-privileges=yes"])),
        ("0".into(), "1".into())
    );
}

#[test]
fn nothing_of_the_hosts_leaks_in() {
    let host = host();
    let tree = host.busybox_tree();
    for options in [&[][..], &["-a"], &["--private-network"]] {
        let open = run(
            &host,
            &tree,
            options,
            "for fd in /proc/1/fd/* /proc/$$/fd/*; do echo ${fd##*/} $(readlink $fd); done",
        );
        let leaked: Vec<_> = open
            .lines()
            .filter(|line| {
                line.contains("/trees")
                    || line.contains("netlink")
                    || line.contains("pidfd")
                    || line.contains("/proc/")
            })
            .collect();
        assert!(leaked.is_empty(), "{options:?}: {open}");
        let highest = open
            .lines()
            .filter_map(|line| line.split(' ').next()?.parse::<u32>().ok())
            .max();
        assert!(highest < Some(12), "{options:?}: {open}");
    }
    // A descriptor that rspawn itself was started with does not reach the payload.
    let output = host.sh(&format!(
        "exec 7</etc/passwd; rspawn -q -D {} --console=pipe /bin/sh -c 'readlink /proc/self/fd/7 || echo closed'",
        tree.display()
    ));
    assert_eq!(output.expect_success().stdout, "closed\n");
    assert_eq!(
        run(
            &host,
            &tree,
            &[],
            "cut -d' ' -f5 /proc/self/mountinfo | grep -c ^/trees || true"
        ),
        "0"
    );
}

#[test]
fn the_name_is_the_trees_where_none_is_given_and_the_working_directory_the_tree_where_that_is_not()
{
    let host = host();
    let tree: PathBuf = host.busybox_tree();
    let name = tree.file_name().unwrap().to_str().unwrap();
    let output = host.sh(&format!(
        "cd {} && rspawn -q -D . --console=pipe /bin/hostname; rspawn -q -D {0} --console=pipe hostname",
        tree.display()
    ));
    assert_eq!(output.expect_success().stdout, format!("{name}\n{name}\n"));
}

#[test]
fn help_and_version_need_no_root_and_name_every_option() {
    let host = host();
    let help = host.run("setpriv --reuid=65534 --clear-groups rspawn --help");
    for option in [
        "--directory",
        "--machine",
        "--boot",
        "--as-pid2",
        "-u,",
        "--quiet",
        "--setenv",
        "--chdir",
        "--hostname",
        "--read-only",
        "--bind",
        "--bind-ro",
        "--tmpfs",
        "--private-network",
        "--network-veth",
        "--network-bridge",
        "--capability",
        "--drop-capability",
        "--no-new-privileges",
        "--kill-signal",
        "--resolv-conf",
        "--console",
    ] {
        assert!(help.contains(option), "{option} is missing:\n{help}");
    }
    assert!(host.run("rspawn --version").contains("0.1.0"));
    assert!(host.run("rspawnctl --help").contains("list"));
    assert!(host.run("/usr/lib/rspawn/netd --help").contains("netd"));
}

#[test]
fn a_container_that_has_ended_leaves_no_cgroup() {
    let host = host();
    let tree = host.busybox_tree();
    let before = host.run("find /sys/fs/cgroup -type d | sort | grep -v web.service");
    run(&host, &tree, &[], "true");
    let after = || host.run("find /sys/fs/cgroup -type d | sort | grep -v web.service");
    let gone = wait_until(SOON, || !after().contains("machine-web"));
    assert!(gone, "before:\n{before}\nafter:\n{}", after());
}

#[test]
fn what_nobody_reads_ends_nothing() {
    let host = host();
    let tree = host.busybox_tree();
    // Without netd there is something to say at the start.
    for nowhere in [
        "2>/dev/full",
        "2>&-",
        "2>&1 >/dev/null | true; exit ${PIPESTATUS[0]}",
    ] {
        let output = host.sh(&format!(
            "exec bash -c 'rspawn -n -M web -D {} -a /bin/sh -c \"sleep 0.2; exit 7\" {nowhere}'",
            tree.display()
        ));
        assert_eq!(output.code(), Some(7), "{nowhere}: {output}");
        assert_eq!(
            host.run("ls /run/rspawn/names; find /sys/fs/cgroup -name '*web*'"),
            ""
        );
    }
}
