//! Files of the host that rspawn reads or edits: resolv.conf(5), nsswitch.conf(5),
//! mountinfo.
#![no_main]

use ctl::nss_switch::{Switch, edit, is_enabled};
use libfuzzer_sys::fuzz_target;
use netd::upstream_dns::UpstreamDns;

fuzz_target!(|bytes: &[u8]| {
    let lines = bytes.split(|byte| *byte == b'\n').count();
    assert!(registry::mountinfo::parse(bytes).count() <= lines);
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let dns = UpstreamDns::parse(text);
    assert!(dns.servers.iter().all(|server| !server.is_loopback()));
    assert!(dns.domain.is_none_or(|domain| domain.len() <= 253));

    let on = edit(text, Switch::On);
    let off = edit(text, Switch::Off);
    assert_eq!(edit(&on, Switch::On), on);
    assert_eq!(edit(&off, Switch::Off), off);
    assert!(!is_enabled(&off));
    // Where the word is put in, taking it out gives back the user's file.
    // But for what is left of the line that is put into a file without one.
    if off == text && !text.contains("# added by rspawnctl") {
        let back = edit(&on, Switch::Off);
        assert!(
            back == text || back == format!("{text}\n"),
            "{text:?}: {back:?}"
        );
    }
});
