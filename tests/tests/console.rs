//! rspawn in front of a person.

use netns_fixtures::wait_until;
use rspawn_tests::{SOON, Start, host};

#[test]
fn a_shell_on_a_terminal_is_used_resized_and_left() {
    let host = host();
    let tree = host.busybox_tree();
    let (mut running, terminal) = Start::without_network(&host, "web", &tree)
        .args(["-a", "/bin/sh"])
        .command()
        .spawn_on_terminal("shell");
    let before = terminal.settings_at_first().to_owned();
    terminal.resize(31, 97);
    terminal.type_in("stty size; echo $((40 + 2)); tty\n");
    terminal.wait_for("31 97", SOON);
    terminal.wait_for("\n42", SOON);
    assert_ne!(
        terminal.settings(),
        before,
        "raw while the container has it"
    );
    terminal.resize(55, 133);
    terminal.type_in("sleep 0.1; stty size\n");
    terminal.wait_for("55 133", SOON);
    // Control characters go to the container.
    terminal.type_in("sleep 1000\n");
    let sleeps = || host.sh("pgrep -f '^sleep 1000'").success();
    assert!(wait_until(SOON, sleeps), "{}", terminal.seen());
    terminal.type_in("\x03");
    terminal.type_in("echo still $((1 + 1)) here\n");
    terminal.wait_for("still 2 here", SOON);
    terminal.type_in("exit 6\n");
    assert_eq!(running.wait(SOON).code(), Some(6));
    assert_eq!(terminal.settings(), before, "restored");
}

#[test]
fn three_escapes_end_it_and_the_terminal_is_restored() {
    let host = host();
    let tree = host.busybox_tree();
    let (mut running, terminal) = Start::without_network(&host, "web", &tree)
        .args(["-a", "/bin/sh", "-c", "echo ready; exec sleep 1000"])
        .command()
        .spawn_on_terminal("shell");
    let before = terminal.settings_at_first().to_owned();
    terminal.wait_for("ready", SOON);
    terminal.type_in("\x1d\x1dx\x1d");
    terminal.type_in("\x1d");
    assert!(running.ended().is_none(), "not three in a row");
    terminal.type_in("x\x1d\x1d\x1d");
    running.wait(SOON);
    assert_eq!(terminal.settings(), before, "restored");
    assert!(host.processes_in("web.service").is_empty());
}

#[test]
fn three_escapes_end_it_also_when_nothing_is_read_inside() {
    let host = host();
    let tree = host.busybox_tree();
    let (mut running, terminal) = Start::without_network(&host, "web", &tree)
        .args([
            "-a",
            "/bin/sh",
            "-c",
            "stty raw -echo; echo ready; exec sleep 1000",
        ])
        .command()
        .spawn_on_terminal("shell");
    terminal.wait_for("ready", SOON);
    terminal.type_much(&"x".repeat(300_000));
    terminal.type_in("\x1d\x1d\x1d");
    running.wait(SOON);
}

#[test]
fn a_signal_leaves_the_terminal_as_it_was() {
    let host = host();
    let tree = host.busybox_tree();
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let (mut running, terminal) = Start::without_network(&host, "web", &tree)
            .args(["-a", "/bin/sh", "-c", "echo ready; exec sleep 1000"])
            .command()
            .spawn_on_terminal("shell");
        let before = terminal.settings_at_first().to_owned();
        terminal.wait_for("ready", SOON);
        running.signal(signal);
        running.wait(SOON);
        assert_eq!(terminal.settings(), before, "restored after {signal}");
    }
}

#[test]
fn a_read_only_console_shows_and_takes_nothing() {
    let host = host();
    let tree = host.busybox_tree();
    let output = Start::without_network(&host, "web", &tree)
        .args([
            "--console=read-only",
            "/bin/sh",
            "-c",
            "test -t 1 && echo on a terminal",
        ])
        .output()
        .expect_success();
    assert_eq!(output.stdout.trim_end(), "on a terminal");
}
