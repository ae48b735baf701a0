//! Every answer, in buffers of every size and at every alignment.

#![allow(unsafe_code)]

use std::ffi::CStr;
use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;

const GUARD: u8 = 0xa5;
const GUARD_LEN: usize = 16;

/// Bytes with a guard on both sides, of which the middle is given away.
struct Guarded {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl Guarded {
    /// `len` bytes at an address that is `offset` more than a multiple of 16.
    fn new(offset: usize, len: usize) -> Self {
        let mut bytes = vec![GUARD; len + 4 * GUARD_LEN];
        let base = bytes.as_mut_ptr().addr().wrapping_neg() % 16;
        Self {
            bytes,
            start: base + GUARD_LEN + offset,
            len,
        }
    }

    fn buffer(&mut self) -> Buffer<'_> {
        // SAFETY: the range lies inside the vector.
        unsafe { Buffer::new(self.bytes.as_mut_ptr().wrapping_add(self.start), self.len) }
    }

    fn contains<T>(&self, piece: *const T) -> bool {
        let start = self.bytes.as_ptr().addr() + self.start;
        (start..start + self.len).contains(&piece.addr())
            && piece.addr() + size_of::<T>() <= start + self.len
    }

    fn is_whole(&self) -> bool {
        let guards = self.bytes.iter().take(self.start);
        guards
            .chain(self.bytes.iter().skip(self.start + self.len))
            .all(|byte| *byte == GUARD)
    }
}

fn machine(text: &str) -> MachineName {
    text.parse().unwrap()
}

/// Reads a hostent as a C program would.
fn read_host(host: &hostent, guarded: &Guarded) -> (String, Vec<IpAddr>) {
    assert!(host.h_aliases.is_aligned() && host.h_addr_list.is_aligned());
    assert!(guarded.contains(host.h_aliases) && guarded.contains(host.h_name));
    // SAFETY: the alias list lies in the buffer.
    assert!(unsafe { *host.h_aliases }.is_null());
    let mut ips = Vec::new();
    for i in 0.. {
        let slot = host.h_addr_list.wrapping_add(i);
        assert!(guarded.contains(slot));
        // SAFETY: the list lies in the buffer up to its null.
        let at = unsafe { *slot };
        if at.is_null() {
            break;
        }
        assert_eq!(at.addr() % 4, 0);
        ips.push(match (host.h_addrtype, host.h_length) {
            (libc::AF_INET, 4) => {
                assert!(guarded.contains(at.cast::<[u8; 4]>()));
                // SAFETY: four bytes in the buffer.
                IpAddr::from(unsafe { *at.cast::<[u8; 4]>() })
            }
            (libc::AF_INET6, 16) => {
                assert!(guarded.contains(at.cast::<[u8; 16]>()));
                // SAFETY: sixteen bytes in the buffer.
                IpAddr::from(unsafe { *at.cast::<[u8; 16]>() })
            }
            other => panic!("family and length {other:?}"),
        });
    }
    // SAFETY: the name ends with a NUL byte inside the buffer.
    let name = unsafe { CStr::from_ptr(host.h_name) }
        .to_str()
        .unwrap()
        .to_owned();
    assert!(guarded.contains(host.h_name.wrapping_add(name.len())));
    (name, ips)
}

/// Reads a chain as a C program would.
fn read_chain(first: *mut AddressTuple, guarded: &Guarded) -> (String, Vec<Address>) {
    let mut name = String::new();
    let mut addresses = Vec::new();
    let mut at = first;
    while !at.is_null() {
        assert!(at.is_aligned() && guarded.contains(at));
        // SAFETY: a whole tuple, aligned, in the buffer.
        let tuple = unsafe { *at };
        // SAFETY: the name ends with a NUL byte inside the buffer.
        name = unsafe { CStr::from_ptr(tuple.name) }
            .to_str()
            .unwrap()
            .to_owned();
        assert!(guarded.contains(tuple.name.wrapping_add(name.len())));
        let bytes: Vec<u8> = tuple
            .addr
            .iter()
            .flat_map(|word| word.to_ne_bytes())
            .collect();
        let ip = match tuple.family {
            libc::AF_INET => IpAddr::V4(<[u8; 4]>::try_from(&bytes[..4]).unwrap().into()),
            libc::AF_INET6 => IpAddr::V6(<[u8; 16]>::try_from(&bytes[..]).unwrap().into()),
            other => panic!("family {other}"),
        };
        addresses.push(Address {
            ip,
            scope: tuple.scope,
        });
        at = tuple.next;
    }
    (name, addresses)
}

#[test]
fn a_tuple_is_laid_out_as_in_nss_h() {
    assert_eq!(size_of::<AddressTuple>(), 40);
    assert_eq!(core::mem::offset_of!(AddressTuple, family), 16);
    assert_eq!(core::mem::offset_of!(AddressTuple, addr), 20);
    assert_eq!(core::mem::offset_of!(AddressTuple, scope), 36);
}

#[test]
fn a_host_needs_just_its_size_at_every_alignment() {
    let ips = [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)].map(IpAddr::V4);
    // Three pointers of the list, one of the aliases, two addresses, "web".
    let size = 4 * 8 + 2 * 4 + 4;
    for offset in 0usize..16 {
        let padding = offset.next_multiple_of(8) - offset;
        for len in 0..size + 32 {
            let mut guarded = Guarded::new(offset, len);
            let host = host(
                &mut guarded.buffer(),
                &machine("web"),
                Family::V4,
                ips.into_iter(),
            );
            assert!(guarded.is_whole());
            match host {
                Ok(host) => {
                    assert!(len >= size + padding, "{len} bytes at {offset}");
                    assert_eq!(read_host(&host, &guarded), ("web".to_owned(), ips.to_vec()));
                }
                Err(failure) => {
                    assert_eq!(failure, Failure::BufferTooSmall);
                    assert!(len < size + padding, "{len} bytes at {offset}");
                }
            }
        }
    }
}

#[test]
fn a_chain_needs_just_its_size_at_every_alignment() {
    let addresses = [
        Address {
            ip: IpAddr::from([192, 0, 2, 1]),
            scope: 0,
        },
        Address {
            ip: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1).into(),
            scope: 7,
        },
    ];
    let size = 2 * 40 + 4;
    for offset in 0usize..16 {
        let padding = offset.next_multiple_of(8) - offset;
        for len in 0..size + 32 {
            let mut guarded = Guarded::new(offset, len);
            let first = chain(
                &mut guarded.buffer(),
                &machine("web"),
                addresses.into_iter(),
            );
            assert!(guarded.is_whole());
            match first {
                Ok(first) => {
                    assert!(len >= size + padding, "{len} bytes at {offset}");
                    let read = read_chain(first, &guarded);
                    assert_eq!(read, ("web".to_owned(), addresses.to_vec()));
                }
                Err(failure) => {
                    assert_eq!(failure, Failure::BufferTooSmall);
                    assert!(len < size + padding, "{len} bytes at {offset}");
                }
            }
        }
    }
}

#[test]
fn without_an_address_the_size_of_the_buffer_does_not_matter() {
    let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let mut guarded = Guarded::new(0, 0);
    let v6 = host(
        &mut guarded.buffer(),
        &machine("web"),
        Family::V6,
        core::iter::once(ip),
    );
    assert_eq!(v6.err(), Some(Failure::NoAddress));
    let none = chain(&mut guarded.buffer(), &machine("web"), core::iter::empty());
    assert_eq!(none.err(), Some(Failure::NoAddress));
}

#[test]
fn only_link_local_addresses_carry_a_scope() {
    let cases = [
        ("192.0.2.1%3", 0),
        ("169.254.1.1%3", 0),
        ("2001:db8::1%3", 0),
        ("fd00::1%3", 0),
        ("fe80::1%3", 3),
        ("fe80::1", 0),
        ("febf::1%4294967295", u32::MAX),
    ];
    for (text, expected) in cases {
        let address = Address::parse(text.as_bytes()).unwrap();
        assert_eq!(scope(address), expected, "{text}");
    }
}

proptest! {
    #[test]
    fn what_is_packed_reads_back(
        name in "[a-z0-9]{1,30}(\\.[a-z0-9]{1,30})?",
        ips in proptest::collection::vec(any::<IpAddr>(), 0..33),
        scope in any::<u32>(),
        offset in 0usize..16,
        len in 0usize..2000,
    ) {
        let name = machine(&name);
        for family in [Family::V4, Family::V6] {
            let mut guarded = Guarded::new(offset, len);
            let host = host(&mut guarded.buffer(), &name, family, ips.iter().copied());
            prop_assert!(guarded.is_whole());
            let asked: Vec<_> = ips.iter().copied().filter(|ip| Family::of(*ip) == family).collect();
            match host {
                Ok(host) => {
                    prop_assert_eq!(read_host(&host, &guarded), (name.to_string(), asked));
                }
                Err(Failure::NoAddress) => prop_assert!(asked.is_empty()),
                Err(failure) => {
                    prop_assert_eq!(failure, Failure::BufferTooSmall);
                    prop_assert!(len < 7 + 8 * (asked.len() + 2) + 16 * asked.len() + 65);
                }
            }
        }
        let addresses = ips.iter().map(|ip| Address { ip: *ip, scope });
        let mut guarded = Guarded::new(offset, len);
        let first = chain(&mut guarded.buffer(), &name, addresses.clone());
        prop_assert!(guarded.is_whole());
        match first {
            Ok(first) => {
                let expected = addresses
                    .map(|address| Address { scope: super::scope(address), ..address })
                    .collect::<Vec<_>>();
                prop_assert_eq!(read_chain(first, &guarded), (name.to_string(), expected));
            }
            Err(Failure::NoAddress) => prop_assert!(ips.is_empty()),
            Err(failure) => {
                prop_assert_eq!(failure, Failure::BufferTooSmall);
                prop_assert!(len < 7 + 40 * ips.len() + 65);
            }
        }
    }
}
