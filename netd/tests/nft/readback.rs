//! What the program nft reads in the kernel is what was meant.

use std::collections::BTreeSet;

use netd::dhcp_wire::GROUP;
use netd::nft::{Protection, State, Table};
use serde_json::{Value, json};

use crate::world::Netns;

/// The objects of our table by kind, as nft reports them.
fn listed(netns: &Netns, kind: &str) -> Vec<Value> {
    let text = netns.run("nft", &["-j", "list", "table", "inet", "rspawn"]);
    let report: Value = serde_json::from_str(&text).unwrap();
    let objects = report["nftables"].as_array().unwrap();
    objects
        .iter()
        .filter_map(|object| object.get(kind))
        .cloned()
        .collect()
}

fn is(left: Value, right: Value) -> Value {
    json!({"match": {"op": "==", "left": left, "right": right}})
}

fn is_not(left: Value, right: Value) -> Value {
    json!({"match": {"op": "!=", "left": left, "right": right}})
}

fn has(left: Value, right: Value) -> Value {
    json!({"match": {"op": "in", "left": left, "right": right}})
}

fn meta(key: &str) -> Value {
    json!({"meta": {"key": key}})
}

fn field(protocol: &str, field: &str) -> Value {
    json!({"payload": {"protocol": protocol, "field": field}})
}

fn ct(key: &str) -> Value {
    json!({"ct": {"key": key}})
}

fn net8(addr: &str) -> Value {
    json!({"prefix": {"addr": addr, "len": 8}})
}

fn source(protocol: &str) -> Value {
    json!({"concat": [meta("iif"), field(protocol, "saddr")]})
}

fn destination(protocol: &str) -> Value {
    json!({"concat": [meta("oif"), field(protocol, "daddr")]})
}

fn for_5s(element: Value) -> Value {
    json!({"elem": {"val": element, "timeout": 5}})
}

fn add(element: Value, set: &str) -> Value {
    json!({"set": {"op": "add", "elem": element, "set": set}})
}

/// More packets of one link than the rate and the burst allow.
fn over(rate: u32, burst: u32, set: &str) -> Value {
    let limit = json!({"rate": rate, "burst": burst, "per": "second", "inv": true});
    json!({"set": {"op": "update", "elem": meta("iif"), "set": set, "stmt": [{"limit": limit}]}})
}

/// Chain and expressions of each rule as they should be reported.
fn wanted_rules() -> Vec<(&'static str, Vec<Value>)> {
    let group = registry::LINK_GROUP;
    let accept = || json!({"accept": null});
    let drop = || [json!({"counter": null}), json!({"drop": null})];
    let [count, discard] = drop();
    let dropped = |mut parts: Vec<Value>| {
        parts.extend([count.clone(), discard.clone()]);
        parts
    };
    let unspecified = || is(field("ip6", "saddr"), json!("::"));
    let between = || is(meta("iifgroup"), json!(group));
    vec![
        (
            "prerouting",
            vec![is_not(meta("iifgroup"), json!(group)), accept()],
        ),
        (
            "prerouting",
            dropped(vec![
                is(meta("nfproto"), json!("ipv4")),
                is(field("udp", "dport"), json!(67)),
                over(250, 100, "@dhcp_requests"),
            ]),
        ),
        (
            "prerouting",
            dropped(vec![
                is(meta("nfproto"), json!("ipv4")),
                is(field("udp", "dport"), json!(67)),
                json!({"log": {"group": GROUP, "queue-threshold": 1}}),
            ]),
        ),
        (
            "prerouting",
            dropped(vec![
                is(meta("nfproto"), json!("ipv4")),
                is(field("udp", "dport"), json!(68)),
            ]),
        ),
        (
            "prerouting",
            dropped(vec![
                is(meta("nfproto"), json!("ipv6")),
                is(field("udp", "dport"), json!(546)),
            ]),
        ),
        (
            "prerouting",
            dropped(vec![
                is(field("icmpv6", "type"), json!("nd-router-solicit")),
                over(100, 100, "@router_solicitations"),
            ]),
        ),
        (
            "prerouting",
            vec![
                is(field("icmpv6", "type"), json!("nd-router-solicit")),
                json!({"log": {"group": GROUP, "queue-threshold": 1}}),
            ],
        ),
        (
            "prerouting",
            dropped(vec![is(field("ip", "daddr"), net8("127.0.0.0"))]),
        ),
        (
            "prerouting",
            dropped(vec![is(field("icmp", "type"), json!("redirect"))]),
        ),
        (
            "prerouting",
            dropped(vec![is(
                field("icmpv6", "type"),
                json!("@icmpv6_of_routers"),
            )]),
        ),
        (
            "prerouting",
            vec![
                unspecified(),
                is(field("icmpv6", "type"), json!("@icmpv6_from_unspecified")),
                accept(),
            ],
        ),
        ("prerouting", dropped(vec![unspecified()])),
        (
            "prerouting",
            dropped(vec![is(field("ip", "saddr"), net8("0.0.0.0"))]),
        ),
        (
            "prerouting",
            dropped(vec![is(
                json!({"fib": {"result": "oif", "flags": ["saddr", "iif"]}}),
                json!(false),
            )]),
        ),
        (
            "prerouting",
            vec![is(source("ip"), json!("@ipv4_members")), accept()],
        ),
        (
            "prerouting",
            vec![is(source("ip6"), json!("@ipv6_members")), accept()],
        ),
        (
            "prerouting",
            vec![
                is(source("ip"), json!("@ipv4_hosts")),
                json!({"set": {"op": "update", "elem": source("ip"), "set": "@ipv4_hosts"}}),
                accept(),
            ],
        ),
        (
            "prerouting",
            dropped(vec![
                is(meta("nfproto"), json!("ipv4")),
                over(4, 16, "@new_ipv4_sources"),
            ]),
        ),
        ("prerouting", vec![add(source("ip"), "@ipv4_hosts")]),
        (
            "prerouting",
            vec![is(source("ip6"), json!("@ipv6_hosts")), accept()],
        ),
        (
            "prerouting",
            dropped(vec![
                is(meta("nfproto"), json!("ipv6")),
                over(4, 16, "@new_ipv6_sources"),
            ]),
        ),
        ("prerouting", vec![add(source("ip6"), "@ipv6_hosts")]),
        (
            "forward",
            vec![is_not(meta("oifgroup"), json!(group)), accept()],
        ),
        (
            "forward",
            vec![
                has(ct("state"), json!(["established", "related"])),
                accept(),
            ],
        ),
        (
            "forward",
            vec![
                between(),
                is(destination("ip"), json!("@ipv4_members")),
                accept(),
            ],
        ),
        (
            "forward",
            vec![
                between(),
                is(destination("ip6"), json!("@ipv6_members")),
                accept(),
            ],
        ),
        (
            "forward",
            vec![
                between(),
                is(destination("ip"), json!("@ipv4_hosts")),
                accept(),
            ],
        ),
        (
            "forward",
            vec![
                between(),
                is(destination("ip6"), json!("@ipv6_hosts")),
                accept(),
            ],
        ),
        (
            "forward",
            dropped(vec![between(), over(5, 32, "@new_destinations")]),
        ),
        (
            "forward",
            vec![between(), add(for_5s(destination("ip")), "@ipv4_hosts")],
        ),
        (
            "forward",
            vec![between(), add(for_5s(destination("ip6")), "@ipv6_hosts")],
        ),
        ("forward", vec![between(), accept()]),
        ("forward", vec![has(ct("status"), json!("dnat")), accept()]),
        (
            "forward",
            vec![is(meta("oif"), json!("@inbound_open")), accept()],
        ),
        ("forward", dropped(vec![])),
        (
            "postrouting",
            vec![
                is(meta("iifgroup"), json!(group)),
                is_not(meta("oifgroup"), json!(group)),
                json!({"masquerade": null}),
            ],
        ),
    ]
}

#[test]
fn nft_reads_the_rules_that_were_meant() {
    let netns = Netns::new();
    let mut table = netns.enter(|| Table::install(Some(GROUP)).unwrap());

    let mut rules = Vec::new();
    for rule in listed(&netns, "rule") {
        let mut code = rule["expr"].as_array().unwrap().clone();
        for part in &mut code {
            if part.get("counter").is_some() {
                *part = json!({"counter": null});
            }
        }
        assert!(rule["comment"].is_string(), "no comment: {rule}");
        rules.push((rule["chain"].as_str().unwrap().to_owned(), code));
    }
    let wanted: Vec<_> = wanted_rules()
        .into_iter()
        .map(|(chain, code)| (chain.to_owned(), code))
        .collect();
    assert_eq!(rules, wanted);
    assert_eq!(table.verify().unwrap(), State::Intact);
}

#[test]
fn nft_reads_the_chains_and_sets_that_were_meant() {
    let netns = Netns::new();
    let mut table = netns.enter(|| Table::install(None).unwrap());
    let chains: Vec<_> = listed(&netns, "chain")
        .into_iter()
        .map(|c| json!([c["name"], c["type"], c["hook"], c["prio"], c["policy"]]))
        .collect();
    let wanted = vec![
        json!(["prerouting", "filter", "prerouting", -1000, "accept"]),
        json!(["forward", "filter", "forward", 0, "accept"]),
        json!(["postrouting", "nat", "postrouting", 100, "accept"]),
    ];
    assert_eq!(chains, wanted);

    table.set_inbound_open(&BTreeSet::from([1])).unwrap();
    let of_packets = |name: &str, kind: Value| json!([name, kind, json!(["timeout"]), null]);
    let sets: Vec<_> = listed(&netns, "set")
        .into_iter()
        .map(|s| json!([s["name"], s["type"], s["flags"], s["elem"]]))
        .collect();
    let wanted = vec![
        json!([
            "icmpv6_of_routers",
            "icmpv6_type",
            ["constant"],
            ["nd-router-advert", "nd-redirect"]
        ]),
        json!([
            "icmpv6_from_unspecified",
            "icmpv6_type",
            ["constant"],
            [
                "mld-listener-report",
                "mld-listener-done",
                "nd-router-solicit",
                "nd-neighbor-solicit",
                "mld2-listener-report"
            ]
        ]),
        json!(["inbound_open", "iface_index", null, ["lo"]]),
        json!(["ipv4_members", ["iface_index", "ipv4_addr"], null, null]),
        json!(["ipv6_members", ["iface_index", "ipv6_addr"], null, null]),
        of_packets("ipv4_hosts", json!(["iface_index", "ipv4_addr"])),
        of_packets("ipv6_hosts", json!(["iface_index", "ipv6_addr"])),
        of_packets("new_ipv4_sources", json!("iface_index")),
        of_packets("new_ipv6_sources", json!("iface_index")),
        of_packets("new_destinations", json!("iface_index")),
        of_packets("dhcp_requests", json!("iface_index")),
        of_packets("router_solicitations", json!("iface_index")),
    ];
    assert_eq!(sets, wanted);
}

#[test]
fn open_links_are_changed_by_their_difference_and_survive_healing() {
    let netns = Netns::new();
    let mut table = netns.enter(|| Table::install_as(Protection::Watched, None).unwrap());
    let elements = |netns: &Netns| -> BTreeSet<u64> {
        let set = listed(netns, "set")
            .into_iter()
            .find(|set| set["name"] == "inbound_open");
        let elements = set.unwrap()["elem"].clone();
        let elements = elements.as_array().cloned().unwrap_or_default();
        // A link that does not exist is shown by its number.
        elements
            .iter()
            .map(|e| e.as_str().unwrap().parse().unwrap())
            .collect()
    };
    table
        .set_inbound_open(&BTreeSet::from([700, 701, 702]))
        .unwrap();
    assert_eq!(elements(&netns), BTreeSet::from([700, 701, 702]));
    table.set_inbound_open(&BTreeSet::from([702, 703])).unwrap();
    assert_eq!(elements(&netns), BTreeSet::from([702, 703]));
    assert_eq!(table.verify().unwrap(), State::Intact);

    netns.nft("flush ruleset");
    assert_eq!(table.heal().unwrap(), State::Missing);
    assert_eq!(elements(&netns), BTreeSet::from([702, 703]));

    netns.nft("flush ruleset");
    table.set_inbound_open(&BTreeSet::from([704])).unwrap();
    assert_eq!(elements(&netns), BTreeSet::from([704]), "healed by the way");
    table.set_inbound_open(&BTreeSet::new()).unwrap();
    assert_eq!(elements(&netns), BTreeSet::new());
}

#[test]
fn each_foreign_change_is_seen_and_healed() {
    let netns = Netns::new();
    let mut table = netns.enter(|| Table::install_as(Protection::Watched, None).unwrap());
    table.set_inbound_open(&BTreeSet::from([700])).unwrap();
    let last = |netns: &Netns, chain: &str| {
        let rules = listed(netns, "rule");
        let rule = rules.iter().rfind(|rule| rule["chain"] == chain).unwrap();
        rule["handle"].clone()
    };
    type Meddle<'a> = &'a dyn Fn(&Netns);
    let changes: [(&str, Meddle<'_>); 12] = [
        ("rule added", &|n| {
            drop(n.nft("add rule inet rspawn forward accept"))
        }),
        ("rule in front", &|n| {
            drop(n.nft("insert rule inet rspawn forward accept"))
        }),
        ("rule deleted", &|n| {
            n.nft(&format!(
                "delete rule inet rspawn forward handle {}",
                last(n, "forward")
            ));
        }),
        ("verdict replaced", &|n| {
            let handle = last(n, "forward");
            let rest = "counter accept comment \"not published\"";
            n.nft(&format!(
                "replace rule inet rspawn forward handle {handle} {rest}"
            ));
        }),
        ("other group", &|n| {
            let handle = last(n, "postrouting");
            let rest = "iifgroup 29299 oifgroup != 29298 masquerade comment \"from a container to the outside\"";
            n.nft(&format!(
                "replace rule inet rspawn postrouting handle {handle} {rest}"
            ));
        }),
        ("chain flushed", &|n| {
            drop(n.nft("flush chain inet rspawn prerouting"))
        }),
        ("chain added", &|n| {
            drop(n.nft("add chain inet rspawn more"))
        }),
        ("set added", &|n| {
            drop(n.nft("add set inet rspawn more { type ipv4_addr; }"))
        }),
        ("element added", &|n| {
            drop(n.nft("add element inet rspawn inbound_open { 701 }"))
        }),
        ("element deleted", &|n| {
            drop(n.nft("delete element inet rspawn inbound_open { 700 }"))
        }),
        ("policy", &|n| {
            n.nft("add chain inet rspawn forward { policy drop; }");
        }),
        ("dormant", &|n| {
            drop(n.nft("add table inet rspawn { flags dormant; }"))
        }),
    ];
    for (name, change) in changes {
        assert_eq!(table.verify().unwrap(), State::Intact, "before: {name}");
        change(&netns);
        assert_eq!(table.verify().unwrap(), State::Altered, "{name}");
        assert_eq!(table.heal().unwrap(), State::Altered, "{name}");
    }
    assert_eq!(table.verify().unwrap(), State::Intact);
    netns.nft("delete table inet rspawn");
    assert_eq!(table.verify().unwrap(), State::Missing);
    // What others do elsewhere is none of ours.
    assert_eq!(table.heal().unwrap(), State::Missing);
    netns.nft("add table inet other { chain forward { type filter hook forward priority 0; }; }");
    assert_eq!(table.verify().unwrap(), State::Intact);
}
