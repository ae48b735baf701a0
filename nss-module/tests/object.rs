//! The shared object itself: what it asks of a program that loads it.

mod common;

use common::{inspect, module};

#[test]
fn it_exports_the_six_functions_and_nothing_else() {
    let output = inspect(
        "nm",
        &["--dynamic", "--defined-only", "--format=just-symbols"],
    );
    let mut symbols: Vec<_> = output.lines().collect();
    symbols.sort_unstable();
    assert_eq!(
        symbols,
        [
            "_nss_rspawn_gethostbyaddr2_r",
            "_nss_rspawn_gethostbyaddr_r",
            "_nss_rspawn_gethostbyname2_r",
            "_nss_rspawn_gethostbyname3_r",
            "_nss_rspawn_gethostbyname4_r",
            "_nss_rspawn_gethostbyname_r",
        ]
    );
}

/// The panic handler is the one place that calls abort: where the object does not
/// import it, the linker found no way to a panic.
#[test]
fn it_cannot_panic_and_asks_for_no_memory() {
    let output = inspect(
        "nm",
        &["--dynamic", "--undefined-only", "--format=just-symbols"],
    );
    let allowed = [
        "_ITM_deregisterTMCloneTable",
        "_ITM_registerTMCloneTable",
        "__cxa_finalize",
        "__errno_location",
        "__gmon_start__",
        "__h_errno_location",
        "bcmp",
        "close",
        "memcmp",
        "memcpy",
        "memset",
        "open",
        "read",
        "strlen",
    ];
    for symbol in output.lines() {
        let name = symbol.split('@').next().unwrap();
        assert!(allowed.contains(&name), "{symbol} is imported");
    }
}

#[test]
fn it_has_its_name_stays_loaded_and_needs_only_the_c_library() {
    let dynamic = inspect("readelf", &["--dynamic", "--wide"]);
    let of = |tag: &str| {
        dynamic
            .lines()
            .filter(|line| line.contains(tag))
            .collect::<Vec<_>>()
    };
    assert!(
        of("(SONAME)")[0].ends_with("[libnss_rspawn.so.2]"),
        "{dynamic}"
    );
    assert_eq!(of("(NEEDED)").len(), 1, "{dynamic}");
    assert!(of("(NEEDED)")[0].ends_with("[libc.so.6]"), "{dynamic}");
    assert!(of("(FLAGS_1)")[0].contains("NODELETE"), "{dynamic}");
}

#[test]
fn it_is_small_and_has_no_thread_local_storage() {
    let headers = inspect("readelf", &["--program-headers", "--wide"]);
    assert!(headers.contains("LOAD"));
    assert!(!headers.contains("TLS"), "{headers}");
    let size = std::fs::metadata(module()).unwrap().len();
    assert!(size < 32 * 1024, "{size} bytes");
}
