//! Leases that outlast their client.

use std::time::{SystemTime, UNIX_EPOCH};

use proptest::prelude::*;

use super::*;
use crate::dhcp::client::{LeaseFileError, Limits, Route, Settings, Times};

const WALL: Duration = Duration::from_millis(1_795_359_600_250);

fn wall(after: Duration) -> SystemTime {
    UNIX_EPOCH + WALL + after
}

fn text() -> String {
    let mut bench = Bench::bound();
    bench.pass(secs(60));
    bench.saved().to_text(wall(secs(60)))
}

/// The form is kept by hosts: what an older netd has written is read for ever.
#[test]
fn has_a_known_form() {
    let known = "MAC=02:00:00:00:00:01\n\
        CLIENT_ID=01020000000001\n\
        ADDRESS=192.168.7.2/28\n\
        SERVER=192.168.7.1\n\
        SERVER_MAC=02:00:00:00:09:09\n\
        ACQUIRED=1795359600.250\n\
        LIFETIME=3600.000\n\
        RENEWAL=1800.000\n\
        REBINDING=3150.000\n\
        ROUTE=0.0.0.0/0 192.168.7.1\n\
        ROUTER=192.168.7.1\n\
        END\n";
    assert_eq!(text(), known);
}

#[test]
fn time_passes_for_a_saved_lease() {
    let saved = SavedLease::from_text(&text(), wall(secs(1000))).unwrap();
    assert_eq!(saved.age, Some(secs(1000)));
    assert!(!saved.has_ended());
    let now = Instant::now();
    assert_eq!(
        saved.restore(now).unwrap().expires(),
        Some(now + secs(2600))
    );
    let saved = SavedLease::from_text(&text(), wall(LEASE)).unwrap();
    assert!(saved.has_ended());
    assert_eq!(saved.restore(now), None);
    // The clock was set back.
    let saved = SavedLease::from_text(&text(), UNIX_EPOCH).unwrap();
    assert_eq!((saved.age, saved.has_ended()), (None, false));
    assert_eq!(saved.restore(now), None);
}

#[test]
fn a_damaged_file_is_refused_with_the_line() {
    let read = |text: &str| SavedLease::from_text(text, wall(secs(0)));
    let replaced = |from: &str, to: &str| {
        let text = text();
        assert!(text.contains(from));
        read(&text.replacen(from, to, 1)).unwrap_err()
    };
    assert_eq!(read("").unwrap_err(), LeaseFileError::End { line: 1 });
    assert_eq!(replaced("END\n", ""), LeaseFileError::End { line: 11 });
    assert_eq!(
        replaced("END\n", "EN"),
        LeaseFileError::Unknown { line: 12 }
    );
    assert_eq!(
        replaced("END\n", "END\n\n"),
        LeaseFileError::End { line: 13 }
    );
    assert_eq!(
        replaced("SERVER=", "SURVER="),
        LeaseFileError::Unknown { line: 4 }
    );
    assert_eq!(
        replaced("SERVER=", "\0\0\0\0\0\0"),
        LeaseFileError::Unknown { line: 4 }
    );
    let missing = LeaseFileError::Missing {
        line: 11,
        key: "SERVER",
    };
    assert_eq!(replaced("SERVER=192.168.7.1\n", ""), missing);
    let twice = LeaseFileError::Twice {
        line: 2,
        key: "MAC",
    };
    assert_eq!(
        replaced(
            "MAC=02:00:00:00:00:01\n",
            "MAC=02:00:00:00:00:01\nMAC=02:00:00:00:00:01\n"
        ),
        twice
    );
    let values = [
        ("MAC=02:00:00:00:00:01", "MAC=02:00:00:00:00", 1, "MAC"),
        ("CLIENT_ID=01", "CLIENT_ID=0", 2, "CLIENT_ID"),
        ("CLIENT_ID=01", "CLIENT_ID=0g", 2, "CLIENT_ID"),
        ("192.168.7.2/28", "192.168.7.2/33", 3, "ADDRESS"),
        ("192.168.7.2/28", "192.168.7.15/28", 3, "ADDRESS"),
        ("192.168.7.2/28", "192.168.7.2", 3, "ADDRESS"),
        ("SERVER=192.168.7.1", "SERVER=0.0.0.0", 4, "SERVER"),
        ("1795359600.250", "1795359600", 6, "ACQUIRED"),
        ("1795359600.250", "-795359600.250", 6, "ACQUIRED"),
        ("1795359600.250", "99999999999999999999.250", 6, "ACQUIRED"),
        ("LIFETIME=3600.000", "LIFETIME=never", 7, "LIFETIME"),
        // Damage between lines shows at the end.
        ("LIFETIME=3600.000", "LIFETIME=3000.000", 12, "LIFETIME"),
        (
            "ROUTE=0.0.0.0/0 192.168.7.1",
            "ROUTE=0.0.0.0/0 ",
            10,
            "ROUTE",
        ),
    ];
    for (from, to, line, key) in values {
        assert_eq!(replaced(from, to), LeaseFileError::Value { line, key });
    }
    let error = replaced("SERVER=192.168.7.1", "SERVER=none").to_string();
    assert_eq!(error, "line 4: this is no SERVER: the file is damaged");
}

fn host() -> impl Strategy<Value = Ipv4Addr> {
    (1..=223_u8, any::<[u8; 3]>())
        .prop_filter("no loopback", |(first, _)| *first != 127)
        .prop_map(|(a, [b, c, d])| Ipv4Addr::new(a, b, c, d))
}

fn hosts() -> impl Strategy<Value = Vec<Ipv4Addr>> {
    prop::collection::vec(host(), 0..4)
}

fn name() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9-]{0,10}(\\.[a-z][a-z0-9]{0,5}){0,3}"
}

prop_compose! {
    fn route()(address: u32, prefix in 0..=32_u8, gateway in proptest::option::of(host())) -> Route {
        let any = ipnetwork::Ipv4Network::new(address.into(), prefix).unwrap();
        let destination = ipnetwork::Ipv4Network::new(any.network(), prefix).unwrap();
        Route { destination, gateway }
    }
}

prop_compose! {
    fn settings()(
        (routes, routers, dns, ntp) in
            (prop::collection::vec(route(), 0..4), hosts(), hosts(), hosts()),
        domain in proptest::option::of(name()),
        search in prop::collection::vec(name(), 0..4),
        mtu in proptest::option::of(68..9000_u16),
        broadcast in proptest::option::of(any::<u32>().prop_map(Ipv4Addr::from)),
        hostname in proptest::option::of(name()),
        timezone in proptest::option::of("[A-Z][a-z]{2,5}/[A-Z][a-z_]{2,9}"),
        posix_timezone in proptest::option::of("[!-~]{1,20}"),
        captive_portal in proptest::option::of("[!-~]{1,20}"),
    ) -> Settings {
        Settings {
            routes, routers, dns, domain, search, ntp, mtu, broadcast, hostname, timezone,
            posix_timezone, captive_portal,
        }
    }
}

fn times() -> impl Strategy<Value = Times> {
    let limited = (1..10_000_u64, 1..10_000_u64, 1..10_000_000_u64).prop_map(|(a, b, c)| {
        let at = Duration::from_millis;
        Times::Limited(Limits {
            renewal: at(a),
            rebinding: at(a + b),
            lifetime: at(a + b + c),
        })
    });
    prop_oneof![1 => Just(Times::Forever), 4 => limited]
}

prop_compose! {
    fn saved()(
        mac: [u8; 6],
        client_id in prop::collection::vec(any::<u8>(), 1..40),
        last in 1..255_u8,
        server in host(),
        server_mac in proptest::option::of(any::<[u8; 6]>().prop_map(Mac)),
        age in proptest::option::of((0..10_000_000_u64).prop_map(Duration::from_millis)),
        times in times(),
        settings in settings(),
    ) -> SavedLease {
        let address = ipnetwork::Ipv4Network::new(Ipv4Addr::new(10, 1, 2, last), 24).unwrap();
        SavedLease { mac: Mac(mac), client_id, address, server, server_mac, age, times, settings }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(saved in saved()) {
        let text = saved.to_text(wall(secs(0)));
        prop_assert_eq!(SavedLease::from_text(&text, wall(secs(0))).unwrap(), saved);
    }

    /// Whatever part of a file the disk has lost, the rest is no lease.
    #[test]
    fn a_file_that_is_cut_off_is_refused(saved in saved(), keep in 0..1000_usize) {
        let text = saved.to_text(wall(secs(0)));
        let keep = keep % (text.len() - 1);
        prop_assert!(SavedLease::from_text(&text[..keep], wall(secs(0))).is_err());
    }

    #[test]
    fn any_text_is_survived(text: String) {
        let _ = SavedLease::from_text(&text, wall(secs(0)));
    }

    /// What is read is what is written again, also where a byte has changed.
    #[test]
    fn a_changed_byte_is_survived(saved in saved(), at in 0..1000_usize, byte in 0..128_u8) {
        let mut bytes = saved.to_text(wall(secs(0))).into_bytes();
        let at = at % bytes.len();
        bytes[at] = byte;
        let text = String::from_utf8(bytes).unwrap();
        if let Ok(read) = SavedLease::from_text(&text, wall(secs(0))) {
            let again = read.to_text(wall(secs(0)));
            prop_assert_eq!(SavedLease::from_text(&again, wall(secs(0))).unwrap(), read);
        }
    }
}
