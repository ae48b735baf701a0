//! Names and addresses as every program of the host sees them, by getent(1).

mod common;

use common::World;

#[test]
fn a_name_gives_all_addresses() {
    let world = World::new();
    world.machine("web", &["192.0.2.2", "2001:db8::2"]);
    let lines = world.getent("ahosts", "web").unwrap();
    assert_eq!(
        lines,
        [
            "2001:db8::2 STREAM web",
            "2001:db8::2 DGRAM",
            "2001:db8::2 RAW",
            "192.0.2.2 STREAM",
            "192.0.2.2 DGRAM",
            "192.0.2.2 RAW",
        ]
    );
}

#[test]
fn a_name_gives_the_addresses_of_one_family() {
    let world = World::new();
    world.machine("web", &["192.0.2.2", "192.0.2.3", "2001:db8::2"]);
    let v4 = world.getent("ahostsv4", "web").unwrap();
    assert_eq!(v4[0], "192.0.2.2 STREAM web");
    assert_eq!(v4[3], "192.0.2.3 STREAM");
    assert_eq!(v4.len(), 6);
    let v6 = world.getent("ahostsv6", "web").unwrap();
    assert_eq!(
        v6,
        [
            "2001:db8::2 STREAM web",
            "2001:db8::2 DGRAM",
            "2001:db8::2 RAW"
        ]
    );
    assert_eq!(world.getent("hosts", "web").unwrap(), ["2001:db8::2 web"]);
}

#[test]
fn a_name_without_ipv6_is_found_by_hosts() {
    let world = World::new();
    world.machine("web", &["192.0.2.2"]);
    assert_eq!(world.getent("hosts", "web").unwrap(), ["192.0.2.2 web"]);
}

#[test]
fn addresses_give_the_name() {
    let world = World::new();
    world.machine("web", &["192.0.2.2", "2001:db8::2"]);
    assert_eq!(
        world.getent("hosts", "192.0.2.2").unwrap(),
        ["192.0.2.2 web"]
    );
    assert_eq!(
        world.getent("hosts", "2001:db8:0::2").unwrap(),
        ["2001:db8::2 web"]
    );
    assert_eq!(world.getent("hosts", "192.0.2.3"), None);
    assert_eq!(world.getent("hosts", "2001:db8::3"), None);
}

#[test]
fn an_address_that_moved_on_has_no_name() {
    let world = World::new();
    world.machine("web", &["192.0.2.2"]);
    std::fs::write(
        world.record_path("web"),
        common::record("web", &["192.0.2.3"]),
    )
    .unwrap();
    assert_eq!(world.getent("hosts", "192.0.2.2"), None);
}

#[test]
fn upper_case_and_a_trailing_dot_are_the_same_name() {
    let world = World::new();
    world.machine("web", &["192.0.2.2"]);
    for name in ["WEB", "web.", "wEb."] {
        assert_eq!(
            world.getent("hosts", name).unwrap(),
            ["192.0.2.2 web"],
            "{name}"
        );
        assert_eq!(
            world.getent("ahosts", name).unwrap()[0],
            "192.0.2.2 STREAM web",
            "{name}"
        );
    }
}

#[test]
fn a_name_of_64_bytes_resolves() {
    let world = World::new();
    let name = format!("{}.{}", "a".repeat(31), "b".repeat(32));
    world.machine(&name, &["192.0.2.2"]);
    for query in [name.clone(), format!("{name}."), name.to_uppercase()] {
        assert_eq!(
            world.getent("hosts", &query).unwrap(),
            [format!("192.0.2.2 {name}")]
        );
    }
    assert_eq!(world.getent("hosts", &format!("{name}c")), None);
}

#[test]
fn many_addresses_make_the_buffer_grow() {
    let world = World::new();
    let mut addresses: Vec<String> = (1..=22).map(|i| format!("192.0.2.{i}")).collect();
    addresses.push("2001:db8::2".to_owned());
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    world.machine("web", &addresses);
    // 23 tuples of 40 bytes and the name are more than most first buffers.
    let mut seen: Vec<String> = world
        .getent("ahosts", "web")
        .unwrap()
        .iter()
        .filter(|line| line.contains("STREAM"))
        .map(|line| line.split(' ').next().unwrap().to_owned())
        .collect();
    let mut expected = addresses.clone();
    seen.sort_unstable();
    expected.sort_unstable();
    assert_eq!(seen, expected);
    assert_eq!(world.getent("ahostsv4", "web").unwrap().len(), 3 * 22);
}

#[test]
fn as_many_addresses_as_a_record_holds() {
    let world = World::new();
    let addresses: Vec<String> = (1..=32)
        .map(|i| format!("2001:db8:1:2:3:4:5:{i:x}"))
        .collect();
    world.machine(
        "web",
        &addresses.iter().map(String::as_str).collect::<Vec<_>>(),
    );
    assert_eq!(world.getent("ahosts", "web").unwrap().len(), 3 * 32);
    assert_eq!(world.getent("ahostsv6", "web").unwrap().len(), 3 * 32);
}

#[test]
fn only_a_link_local_address_has_a_scope() {
    let world = World::new();
    world.machine("web", &["fe80::2%1"]);
    world.machine("db", &["2001:db8::2%1"]);
    assert_eq!(
        world.getent("ahosts", "web").unwrap()[0],
        "fe80::2%1 STREAM web"
    );
    assert_eq!(
        world.getent("ahosts", "db").unwrap()[0],
        "2001:db8::2 STREAM db"
    );
}

#[test]
fn unknown_names_are_not_found() {
    let world = World::new();
    world.machine("web", &["192.0.2.2"]);
    for name in [
        "db",
        "web.example",
        "a.web",
        "we",
        "webb",
        "..",
        ".web",
        "w_b",
        "../machines/web",
    ] {
        assert_eq!(world.getent("ahosts", name), None, "{name}");
        assert_eq!(world.getent("hosts", name), None, "{name}");
    }
}

#[test]
fn a_service_behind_is_asked_for_what_is_not_found() {
    let world = World::new();
    std::fs::write(world.path("hosts"), "203.0.113.9 other web\n").unwrap();
    world.nsswitch("hosts: rspawn files\n");
    world.machine("web", &["192.0.2.2"]);
    assert_eq!(
        world.getent("hosts", "other").unwrap(),
        ["203.0.113.9 other web"]
    );
    assert_eq!(world.getent("hosts", "web").unwrap(), ["192.0.2.2 web"]);
    world.nsswitch("hosts: rspawn [NOTFOUND=return] files\n");
    assert_eq!(world.getent("hosts", "other"), None);
}

#[test]
fn a_host_without_a_registry_finds_nothing() {
    let world = World::new();
    std::fs::remove_dir_all(world.path("run/rspawn")).unwrap();
    world.nsswitch("hosts: rspawn [!NOTFOUND=return] files\n");
    assert_eq!(
        world.getent("hosts", "localhost").unwrap(),
        ["127.0.0.1 localhost"]
    );
}
