//! A `.network` file: whatever stands in it, it says something that can be had, and its
//! messages name lines that there are.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use netd::dhcp::server::ServerConfig;
use netd::network_file::{Item, Message, parse, value, words};
use netd::profiles::{HostFacts, LinkFacts, Profiles, Subnet4};
use netd::subnets::Pools;

fuzz_target!(|bytes: &[u8]| {
    let content = parse(bytes);
    for item in &content.items {
        if let Item::Assignment { key, value, .. } = item {
            assert!(!key.is_empty() && !key.contains('\n'));
            values_are_read(value);
        }
    }
    // The one looks for sections that the other passes over.
    let names_pools = content.items.iter().any(|item| match item {
        Item::Section { name, .. } => name == "Subnets",
        Item::Assignment { .. } => false,
    });
    if names_pools {
        its_pools_can_be_had(bytes);
    } else {
        its_profile_can_be_had(bytes);
    }
});

fn values_are_read(text: &str) {
    if let Ok(words) = words(text) {
        assert!(words.iter().map(String::len).sum::<usize>() <= text.len());
    }
    let _ = (value::boolean(text), value::time_span(text));
    if let Ok(network) = value::network(text) {
        assert_eq!(value::network(&network.to_string()), Ok(network));
    }
    if let Ok(bytes) = value::bytes(text, 1280, 65_535) {
        assert!((1280..=65_535).contains(&bytes));
    }
}

fn its_profile_can_be_had(bytes: &[u8]) {
    let host = HostFacts {
        name: "alpha".to_owned(),
        machine_id: None,
    };
    let (profiles, messages) = Profiles::of_file("50-web.network", bytes, host);
    are_of(bytes, &messages);
    let profile = profiles.for_link(&LinkFacts {
        names: vec!["ve-web".to_owned(), "ve-web-of-another-name".to_owned()],
        kind: "veth".to_owned(),
        link_type: "ether".to_owned(),
    });
    let Subnet4::Fixed(subnet) = profile.v4 else {
        return;
    };
    let first = u32::from(subnet.network()) + 1;
    let network = ipnetwork::Ipv4Network::new(first.into(), subnet.prefix()).expect("a prefix");
    let mut config = ServerConfig::new(network).expect("every subnet can be served");
    let _ = profile.dhcp.refine(&mut config);
    assert!(config.lease_time.as_secs() >= 4);
}

fn its_pools_can_be_had(bytes: &[u8]) {
    let mut messages = Vec::new();
    let pools: Pools = netd::profiles::pools_of(Path::new("netd.conf"), bytes, &mut messages);
    are_of(bytes, &messages);
    let name = "web".parse().expect("a name");
    for subnet in pools.candidates_v4(&name, 28).take(4) {
        assert!(pools.v4.iter().any(|pool| pool.contains(subnet.network())));
        assert_eq!(subnet.ip(), subnet.network());
    }
}

fn are_of(bytes: &[u8], messages: &[Message]) {
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count() + 1;
    assert!(messages.len() <= 70);
    for message in messages {
        assert!(message.line.is_none_or(|line| (1..=lines).contains(&line)));
        assert!(!message.to_string().contains(['\n', '\0']));
    }
}
