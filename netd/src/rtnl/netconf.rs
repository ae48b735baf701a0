//! That IPv6 begins anew on a link, with the kernel's own choice of parameters
//! (RTM_NEWNETCONF): as with a new link, so with one whose MTU was too small for IPv6
//! (below 1280 bytes, RFC 8200 section 5) and is not any more.

use crate::netlink::HEADER_LEN;

/// Type of a message about parameters that were set or are new (linux/rtnetlink.h).
const NEW_NETCONF: u16 = 80;
/// Length of its fixed part (struct netconfmsg), with what fills it up.
const FIXED_LEN: usize = 4;
/// AF_INET6.
const INET6: u8 = 10;
/// Attributes (NETCONFA_* of linux/netconf.h).
const IFINDEX: u16 = 1;
const FORWARDING: u16 = 2;
const PROXY_NEIGH: u16 = 5;

/// The link whose IPv6 begins anew, by its interface index. Of a parameter that somebody
/// sets, the kernel tells alone, and of all when there are new ones.
pub(super) fn begun(message: &[u8]) -> Option<u32> {
    let kind = u16::from_ne_bytes(*message.get(4..)?.first_chunk()?);
    if kind != NEW_NETCONF || message.get(HEADER_LEN) != Some(&INET6) {
        return None;
    }
    let (mut index, mut forwarding, mut proxy) = (None, false, false);
    let mut rest = message.get(HEADER_LEN + FIXED_LEN..)?;
    while let Some([l0, l1, k0, k1]) = rest.first_chunk() {
        let length = usize::from(u16::from_ne_bytes([*l0, *l1]));
        let value = rest.get(4..length)?;
        match u16::from_ne_bytes([*k0, *k1]) {
            IFINDEX => index = value.first_chunk().map(|value| i32::from_ne_bytes(*value)),
            FORWARDING => forwarding = true,
            PROXY_NEIGH => proxy = true,
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    // Negative numbers stand for all links, and for those to come.
    let index = index.and_then(|index| u32::try_from(index).ok());
    index.filter(|_| forwarding && proxy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(family: u8, attributes: &[(u16, i32)]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_LEN];
        bytes[4..6].copy_from_slice(&NEW_NETCONF.to_ne_bytes());
        bytes.extend([family, 0, 0, 0]);
        for (kind, value) in attributes {
            bytes.extend(8_u16.to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(value.to_ne_bytes());
        }
        bytes
    }

    #[test]
    fn only_all_of_a_links_parameters_say_that_it_begins() {
        let all = [(IFINDEX, 7), (FORWARDING, 0), (4, 0), (PROXY_NEIGH, 0)];
        assert_eq!(begun(&message(INET6, &all)), Some(7));
        assert_eq!(begun(&message(2, &all)), None, "IPv4");
        for (index, one) in [(7, FORWARDING), (7, PROXY_NEIGH)] {
            assert_eq!(begun(&message(INET6, &[(IFINDEX, index), (one, 1)])), None);
        }
        let every = [(IFINDEX, -1), (FORWARDING, 0), (PROXY_NEIGH, 0)];
        assert_eq!(begun(&message(INET6, &every)), None);
    }

    #[test]
    fn what_is_cut_or_wrong_says_nothing() {
        let whole = message(INET6, &[(IFINDEX, 7), (FORWARDING, 0), (PROXY_NEIGH, 0)]);
        for end in 0..whole.len() {
            assert_eq!(begun(&whole[..end]), None, "{end}");
        }
        for length in [0_u16, 3, 200] {
            let mut wrong = whole.clone();
            wrong[20..22].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(begun(&wrong), None, "{length}");
        }
    }
}
