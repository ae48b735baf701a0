//! The contract with the C library, seen from a C program. An answer begins with
//! the status, errno (1234 before the call), h_errno and the number of system calls.

mod common;

use common::{INET, INET6, UNSPEC, World};

fn world() -> World {
    let world = World::new();
    world.machine(
        "web",
        &["192.0.2.2", "192.0.2.3", "2001:db8::2", "fe80::2%7"],
    );
    world.machine("mute", &[]);
    world
}

#[test]
fn each_function_answers_with_three_system_calls() {
    let world = world();
    for (function, what, family, answer) in [
        ("gethostbyname", "web", INET, "web 192.0.2.2 192.0.2.3"),
        ("gethostbyname2", "WEB.", INET, "web 192.0.2.2 192.0.2.3"),
        ("gethostbyname2", "web", INET6, "web 2001:db8::2 fe80::2"),
        ("gethostbyname3", "web", INET, "web 192.0.2.2 192.0.2.3"),
        ("gethostbyname3", "web", UNSPEC, "web 192.0.2.2 192.0.2.3"),
        ("gethostbyname3", "web", INET6, "web 2001:db8::2 fe80::2"),
        (
            "gethostbyname4",
            "Web",
            UNSPEC,
            "web 192.0.2.2 192.0.2.3 2001:db8::2 fe80::2%7",
        ),
        (
            "gethostbyname4-given",
            "web",
            UNSPEC,
            "web 192.0.2.2 192.0.2.3 2001:db8::2 fe80::2%7",
        ),
        ("gethostbyaddr", "192.0.2.3", INET, "web 192.0.2.3"),
        ("gethostbyaddr2", "2001:db8::2", INET6, "web 2001:db8::2"),
        ("gethostbyaddr2", "fe80::2", INET6, "web fe80::2"),
        (
            "gethostbyaddr2",
            "::ffff:192.0.2.2",
            INET6,
            "web ::ffff:192.0.2.2",
        ),
    ] {
        let expected = format!("1 1234 0 3 {answer}");
        assert_eq!(
            world.call(function, what, family),
            expected,
            "{function} {what}"
        );
    }
}

#[test]
fn what_cannot_be_a_name_costs_no_system_call() {
    let world = world();
    let long = "a".repeat(10_000);
    let label = "a".repeat(64);
    for name in [
        "", ".", "a_b", "-web", "web..", "../web", "a b", "*", &long, &label,
    ] {
        for function in ["gethostbyname", "gethostbyname3", "gethostbyname4"] {
            assert_eq!(
                world.call(function, name, INET),
                "0 2 1 0",
                "{function} {name:.20}"
            );
        }
    }
}

#[test]
fn what_is_unknown_costs_one() {
    let world = world();
    assert_eq!(world.call("gethostbyname4", "db", UNSPEC), "0 2 1 1");
    assert_eq!(world.call("gethostbyname2", "db", INET6), "0 2 1 1");
    assert_eq!(world.call("gethostbyaddr2", "192.0.2.9", INET), "0 2 1 1");
}

#[test]
fn a_machine_without_such_an_address_is_there_all_the_same() {
    let world = world();
    world.machine("old", &["198.51.100.7"]);
    // NOTFOUND with NO_DATA, against HOST_NOT_FOUND of an unknown one.
    assert_eq!(world.call("gethostbyname3", "old", INET6), "0 2 4 3");
    assert_eq!(world.call("gethostbyname4", "mute", UNSPEC), "0 2 4 3");
    assert_eq!(world.call("gethostbyname", "mute", INET), "0 2 4 3");
}

#[test]
fn a_family_that_does_not_exist() {
    let world = world();
    // 97 is EAFNOSUPPORT.
    assert_eq!(world.call("gethostbyname2", "web", "99"), "-1 97 4 0");
    assert_eq!(world.call("gethostbyname3", "web", "-1"), "-1 97 4 0");
}

/// glibc comes again with a larger buffer if, and only if, it reads TRYAGAIN,
/// ERANGE (34) and NETDB_INTERNAL (-1).
#[test]
fn too_small_buffers_at_all_alignments_are_asked_for_again() {
    let world = world();
    let asks = [
        ("gethostbyname3", "web", INET, 4 * 8 + 2 * 4 + 4),
        ("gethostbyname3", "web", INET6, 4 * 8 + 2 * 16 + 4),
        ("gethostbyname4", "web", UNSPEC, 4 * 40 + 4),
        ("gethostbyaddr2", "192.0.2.2", INET, 3 * 8 + 4 + 4),
    ];
    for (function, what, family, needed) in asks {
        for offset in [0usize, 1, 3, 4, 7] {
            let needed = needed + (offset.next_multiple_of(8) - offset);
            for len in [0, 1, needed / 2, needed - 1] {
                let (len, offset) = (len.to_string(), offset.to_string());
                let answer = world.caller(&["call", function, what, family, &len, &offset]);
                assert_eq!(answer, "-2 34 -1 3", "{function} {len} bytes at {offset}");
            }
            let (len, offset) = (needed.to_string(), offset.to_string());
            let answer = world.caller(&["call", function, what, family, &len, &offset]);
            assert!(
                answer.starts_with("1 1234 0 3 web "),
                "{function} at {offset}: {answer}"
            );
        }
    }
}

/// The shape of CVE-2023-4806: a canonical name, asked for with AF_INET6, AI_ALL
/// and AI_V4MAPPED, after which glibc looks once more.
#[test]
fn canonical_names_live_as_long_as_the_answer() {
    let world = world();
    for (name, family, expected) in [
        (
            "WEB",
            INET6,
            "2001:db8::2 ::ffff:192.0.2.2 ::ffff:192.0.2.3 fe80::2 web",
        ),
        ("Web.", INET, "192.0.2.2 192.0.2.3 web"),
        (
            "web",
            UNSPEC,
            "192.0.2.2 192.0.2.3 2001:db8::2 fe80::2%7 web",
        ),
    ] {
        let answer = world.caller(&["canon", name, family]);
        assert!(answer.starts_with("web "), "{answer}");
        // The C library puts the addresses into an order of its own.
        let mut words: Vec<_> = answer.split(' ').collect();
        words.sort_unstable();
        assert_eq!(words.join(" "), expected);
    }
    // Where nobody is asked after us, the outcome is ours.
    world.nsswitch("hosts: rspawn\n");
    let many: Vec<String> = (1..=32).map(|i| format!("203.0.113.{i}")).collect();
    world.machine("many", &many.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(
        world.caller(&["canon", "MANY", INET6]).split(' ').count(),
        33
    );
    assert_eq!(
        world.caller(&["canon", "mute", INET6]),
        "No address associated with hostname"
    );
    assert_eq!(
        world.caller(&["canon", "db", INET6]),
        "Name or service not known"
    );
}

#[test]
fn threads_resolve_at_the_same_time() {
    assert_eq!(world().caller(&["threads", "web", "8", "500"]), "ok");
}

#[test]
fn children_resolve_that_were_forked_during_look_ups() {
    // The C library's own locks are not made for that, but the module has none.
    assert_eq!(world().caller(&["fork", "web", "50"]), "ok");
}
