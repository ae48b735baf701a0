//! Records that are none. The module says UNAVAIL, so that `[!UNAVAIL=return]`
//! behind it lets the next service answer.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::process::Command;

use common::{INET, INET6, World, record};

const UNAVAILABLE: &str = "-1";
const NO_RECOVERY: &str = "3";

/// Both ways to the record say that it cannot be used, by every function.
fn assert_unavailable(world: &World) {
    for function in [
        "gethostbyname",
        "gethostbyname2",
        "gethostbyname3",
        "gethostbyname4",
    ] {
        is_unavailable(&world.call(function, "web", INET));
    }
    symlink(
        "../machines/web",
        world.path("run/rspawn/addresses/192.0.2.2"),
    )
    .unwrap();
    for function in ["gethostbyaddr", "gethostbyaddr2"] {
        is_unavailable(&world.call(function, "192.0.2.2", INET));
    }
}

fn is_unavailable(answer: &str) {
    let words: Vec<_> = answer.split(' ').collect();
    assert_eq!(
        (words[0], words[2], words.len()),
        (UNAVAILABLE, NO_RECOVERY, 4),
        "{answer}"
    );
}

#[test]
fn a_record_that_is_cut_short() {
    let whole = record("web", &["192.0.2.2"]);
    for len in [0, 1, whole.len() / 2, whole.len() - 1] {
        let world = World::new();
        fs::write(world.record_path("web"), &whole[..len]).unwrap();
        assert_unavailable(&world);
    }
}

#[test]
fn a_record_that_is_huge() {
    let world = World::new();
    let text = record("web", &["192.0.2.2"]).replace("END=1", &"X=1\n".repeat(2000));
    fs::write(world.record_path("web"), text + "END=1\n").unwrap();
    assert_unavailable(&world);
    // What has no end at all is not read to its end.
    let file = fs::File::options()
        .write(true)
        .open(world.record_path("web"))
        .unwrap();
    file.set_len(1 << 40).unwrap();
    is_unavailable(&world.call("gethostbyname4", "web", INET));
}

#[test]
fn a_record_of_another_version_or_machine() {
    for text in [
        record("web", &["192.0.2.2"]).replace("VERSION=1", "VERSION=2"),
        record("web", &["192.0.2.2", "nonsense"]),
        record("web", &["192.0.2.2"; 33]),
    ] {
        let world = World::new();
        fs::write(world.record_path("web"), text).unwrap();
        assert_unavailable(&world);
    }
    let world = World::new();
    fs::write(world.record_path("web"), record("other", &["192.0.2.2"])).unwrap();
    is_unavailable(&world.call("gethostbyname4", "web", INET));
}

#[test]
fn a_directory_a_pipe_a_socket_a_loop() {
    let world = World::new();
    fs::create_dir(world.record_path("web")).unwrap();
    assert_unavailable(&world);

    let world = World::new();
    assert!(
        Command::new("mkfifo")
            .arg(world.record_path("web"))
            .status()
            .unwrap()
            .success()
    );
    assert_unavailable(&world);

    let world = World::new();
    let _socket = UnixListener::bind(world.record_path("web")).unwrap();
    assert_unavailable(&world);

    let world = World::new();
    symlink("web", world.record_path("web")).unwrap();
    assert_unavailable(&world);
}

#[test]
fn a_link_to_nowhere_is_no_machine() {
    let world = World::new();
    symlink(
        "../machines/gone",
        world.path("run/rspawn/addresses/192.0.2.2"),
    )
    .unwrap();
    assert_eq!(world.call("gethostbyaddr2", "192.0.2.2", INET), "0 2 1 1");
}

#[test]
fn the_next_service_answers_in_its_place() {
    let world = World::new();
    fs::write(world.path("hosts"), "203.0.113.9 web\n").unwrap();
    fs::write(world.record_path("web"), "VERSION=1\n").unwrap();
    world.nsswitch("hosts: rspawn [!UNAVAIL=return] files\n");
    assert_eq!(world.getent("hosts", "web").unwrap(), ["203.0.113.9 web"]);
    assert_eq!(
        world.getent("ahosts", "web").unwrap()[0],
        "203.0.113.9 STREAM web"
    );
}

#[test]
fn a_registry_that_one_may_not_read() {
    let world = World::new();
    world.machine("web", &["192.0.2.2", "2001:db8::2"]);
    fs::set_permissions(world.path("."), fs::Permissions::from_mode(0o755)).unwrap();
    let machines = world.path("run/rspawn/machines");
    fs::set_permissions(&machines, fs::Permissions::from_mode(0o700)).unwrap();
    let drop = [
        "--clear-groups",
        "--reuid=65534",
        "--regid=65534",
        "--inh-caps=-all",
    ];
    let caller = |what: &[&str]| {
        world.call("gethostbyname", "web", INET);
        let program = world.path("caller").to_str().unwrap().to_owned();
        let arguments = [&drop[..], &["--", &program], what].concat();
        world.run("setpriv", &arguments).0.trim_end().to_owned()
    };
    // 13 is EACCES.
    let call = ["call", "gethostbyname4", "web", INET6, "1024", "0"];
    assert_eq!(caller(&call), "-1 13 3 1");
    fs::set_permissions(&machines, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(caller(&call), "1 1234 0 3 web 192.0.2.2 2001:db8::2");
}
