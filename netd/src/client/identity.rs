//! Who a client says it is, and what it calls itself.

use registry::Mac;

use crate::dhcp::client::{ClientId, Interface};
use crate::profiles::{ClientProfile, Identity};
use crate::rtnl::{Link, LinkType};

/// The machine id (machine-id(5)), if there is one yet.
pub(super) fn machine_id() -> Option<[u8; 16]> {
    parse(&std::fs::read_to_string("/etc/machine-id").ok()?)
}

fn parse(text: &str) -> Option<[u8; 16]> {
    let text = text.trim();
    let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u128::from_str_radix(text, 16).ok().filter(|_| is_hex)?;
    Some(number.to_be_bytes()).filter(|_| number != 0)
}

/// The client's identifier on a link. A container's Ethernet address is made of its name,
/// and tells it from one whose tree is a copy, with the machine id in it.
pub(super) fn client_id(
    profile: &ClientProfile,
    machine_id: Option<&[u8; 16]>,
    link: &Link,
    mac: Mac,
) -> ClientId {
    match (profile.identity, machine_id) {
        (Identity::Duid, Some(id)) if link.kind == LinkType::Veth => {
            ClientId::of_machine(id, Interface::Mac(mac))
        }
        (Identity::Duid, Some(id)) => ClientId::of_machine(id, Interface::Name(&link.name)),
        (Identity::Mac, _) | (Identity::Duid, None) => ClientId::Mac,
    }
}

/// What the client calls itself.
pub(super) fn hostname(profile: &ClientProfile) -> Option<String> {
    if !profile.send_hostname {
        return None;
    }
    if let Some(name) = &profile.hostname {
        return Some(name.clone());
    }
    let system = rustix::system::uname();
    let name = system.nodename().to_str().ok()?;
    let says_nothing = matches!(name, "" | "localhost" | "(none)" | "localhost.localdomain");
    (!says_nothing).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_id_is_32_digits_and_not_zero() {
        let id = parse("0123456789abcdef0123456789abcdef\n").unwrap();
        assert_eq!(id[..4], [0x01, 0x23, 0x45, 0x67]);
        for wrong in [
            "",
            "uninitialized",
            "0123456789abcdef0123456789abcde",
            "0123456789abcdef0123456789abcdef0",
            "+123456789abcdef0123456789abcdef",
            "00000000000000000000000000000000",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
