//! Bytes.

use proptest::prelude::*;

use super::*;

/// An advertisement as RFC 4861, section 4.2, and the options' RFCs lay it out.
const BYTES: [u8; 136] = [
    134, 0, 0, 0, 64, 0xc8, 0x07, 0x08, // hop limit, M, O, high, 1800 s
    0, 0, 0, 0, 0, 0, 0, 0, // reachable time, retransmission timer
    1, 1, 2, 0, 0, 0, 0, 1, // source link-layer address
    5, 1, 0, 0, 0, 0, 0x05, 0x8c, // MTU 1420
    3, 4, 64, 0xc0, 0, 0, 0x0e, 0x10, // prefix: on-link, autonomous, 3600 s
    0, 0, 0x07, 0x08, 0, 0, 0, 0, // preferred for 1800 s
    0xfd, 0, 0, 1, 0, 2, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, //
    25, 3, 0, 0, 0, 0, 0, 60, // name server, 60 s
    0xfd, 0, 0, 1, 0, 2, 0, 3, 0, 0, 0, 0, 0, 0, 0, 1, //
    31, 2, 0, 0, 0xff, 0xff, 0xff, 0xff, // search domain, for ever
    1, b'a', 2, b'b', b'c', 0, 0, 0, //
    37, 2, b'h', b't', b't', b'p', b':', b'/', b'/', b'x', 0, 0, 0, 0, 0, 0, // portal
    24, 2, 48, 0x18, 0, 0, 0, 60, // route, low, 60 s
    0xfd, 0, 0, 9, 0, 0, 0, 0, //
];

fn advertisement() -> Advertisement {
    Advertisement {
        hop_limit: 64,
        managed: true,
        other: true,
        preference: Preference::High,
        router_lifetime: 1800,
        options: vec![
            NdOption::SourceLinkLayer(ROUTER),
            NdOption::Mtu(1420),
            NdOption::Prefix(Prefix {
                valid: Lifetime(3600),
                preferred: Lifetime(1800),
                ..Prefix::autonomous(network("fd00:1:2:3::/64"))
            }),
            NdOption::Rdnss(Rdnss {
                lifetime: Lifetime(60),
                servers: vec![address("fd00:1:2:3::1")],
            }),
            NdOption::Dnssl(Dnssl {
                lifetime: Lifetime::INFINITE,
                domains: vec!["a.bc".parse().unwrap()],
            }),
            NdOption::CaptivePortal("http://x".to_owned()),
            NdOption::Route(Route {
                network: network("fd00:9::/48"),
                preference: Preference::Low,
                lifetime: Lifetime(60),
            }),
        ],
        ..Advertisement::default()
    }
}

#[test]
fn an_advertisement_byte_by_byte() {
    assert_eq!(advertisement().emit(), BYTES);
    assert_eq!(Advertisement::parse(&BYTES), Ok(advertisement()));
}

#[test]
fn a_solicitation_byte_by_byte() {
    let bytes = [133, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 0, 0, 0, 0, 2];
    let solicitation = Solicitation {
        source_link_layer: Some(HOST),
    };
    assert_eq!(solicitation.emit(), bytes);
    assert_eq!(Solicitation::parse(&bytes), Ok(solicitation));
    assert_eq!(
        Solicitation::parse(&bytes[..8]),
        Ok(Solicitation::default())
    );
    // "The contents of the Reserved field [...] MUST be ignored." (RFC 4861, 6.1.1.)
    let reserved = [133, 0, 1, 2, 3, 4, 5, 6];
    assert_eq!(Solicitation::parse(&reserved), Ok(Solicitation::default()));
}

#[test]
fn options_of_other_kinds_are_passed_over() {
    let bytes = [
        133, 0, 0, 0, 0, 0, 0, 0, 14, 1, 1, 2, 3, 4, 5, 6, 1, 1, 2, 0, 0, 0, 0, 2,
    ];
    let read = Solicitation::parse(&bytes).unwrap();
    assert_eq!(read.source_link_layer, Some(HOST));
}

/// RFC 4861, section 6.1.1: what makes a solicitation invalid.
#[test]
fn messages_that_are_invalid() {
    let rows: [(&[u8], NdError); 8] = [
        (&[], NdError::Short),
        (&[133, 0, 0, 0, 0, 0, 0], NdError::Short),
        (&[134, 0, 0, 0, 0, 0, 0, 0], NdError::Type(134)),
        (&[133, 1, 0, 0, 0, 0, 0, 0], NdError::Code(1)),
        // "All included options have a length that is greater than zero."
        (&[133, 0, 0, 0, 0, 0, 0, 0, 1, 0], NdError::OptionLength),
        (&[133, 0, 0, 0, 0, 0, 0, 0, 1], NdError::OptionLength),
        (&[133, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2], NdError::OptionLength),
        (
            &[133, 0, 0, 0, 0, 0, 0, 0, 1, 255, 2, 0, 0, 0, 0, 2],
            NdError::OptionLength,
        ),
    ];
    for (bytes, error) in rows {
        assert_eq!(Solicitation::parse(bytes), Err(error), "{bytes:?}");
    }
    for len in 0..BYTES.len() {
        let at_an_option = [16, 24, 32, 64, 88, 104, 120].contains(&len);
        let read = Advertisement::parse(&BYTES[..len]);
        assert_eq!(read.is_ok(), at_an_option, "{len}");
    }
}

/// Each row: an option's bytes that mean nothing, of which the message is none the worse.
#[test]
fn options_that_are_ignored() {
    let prefix = |len: u8, valid: u8, preferred: u8| {
        let mut bytes = BYTES[32..64].to_vec();
        (bytes[2], bytes[7], bytes[11]) = (len, valid, preferred);
        (bytes[6], bytes[10]) = (0, 0);
        bytes
    };
    let rows: [Vec<u8>; 11] = [
        prefix(129, 9, 9),
        prefix(64, 1, 2),
        vec![1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        // No server, and half of one: RFC 8106, section 5.3.1.
        vec![25, 1, 0, 0, 0, 0, 0, 60],
        vec![25, 2, 0, 0, 0, 0, 0, 60, 0, 0, 0, 0, 0, 0, 0, 0],
        // No name, a name without end, a pointer, a name of nothing but a dot.
        vec![31, 2, 0, 0, 0, 0, 0, 60, 0, 0, 0, 0, 0, 0, 0, 0],
        vec![31, 2, 0, 0, 0, 0, 0, 60, 7, 1, 1, 1, 1, 1, 1, 1],
        vec![31, 2, 0, 0, 0, 0, 0, 60, 1, b'a', 0xc0, 0, 0, 0, 0, 0],
        vec![31, 2, 0, 0, 0, 0, 0, 60, 1, b'.', 0, 0, 0, 0, 0, 0],
        // A route with fewer bytes than bits, one with a reserved preference.
        vec![24, 1, 48, 0, 0, 0, 0, 60],
        vec![24, 1, 0, 0x10, 0, 0, 0, 60],
    ];
    for option in rows {
        let mut bytes = BYTES[..16].to_vec();
        bytes.extend(&option);
        let read = Advertisement::parse(&bytes).unwrap();
        assert_eq!(read.options, [], "{option:?}");
    }
}

/// Of a message whose sum can be seen.
#[test]
fn the_checksum_is_over_the_pseudo_header_too() {
    let (source, destination) = (address("::1"), address("::2"));
    let message = [133, 0, 0, 0, 0, 0, 0, 0];
    // 1 + 2 + 8 + 58 + 0x8500.
    assert_eq!(checksum(source, destination, &message), !(0x8500 + 69));
    let whole = with_checksum(source, destination, message.to_vec());
    assert_eq!(checksum(source, destination, &whole), 0);
    assert_eq!(with_checksum(source, destination, whole.clone()), whole);
    assert_eq!(with_checksum(source, destination, vec![1, 2]), [1, 2]);
}

fn some_network() -> impl Strategy<Value = Ipv6Network> {
    (any::<u128>(), 0..=128_u8).prop_map(|(bits, len)| {
        let network = Ipv6Network::new(Ipv6Addr::from(bits), len).unwrap();
        Ipv6Network::new(network.network(), len).unwrap()
    })
}

fn lifetime() -> impl Strategy<Value = Lifetime> {
    any::<u32>().prop_map(Lifetime)
}

fn preference() -> impl Strategy<Value = Preference> {
    prop_oneof![
        Just(Preference::Low),
        Just(Preference::Medium),
        Just(Preference::High)
    ]
}

fn option() -> impl Strategy<Value = NdOption> {
    let prefix = (some_network(), any::<[bool; 2]>(), any::<[u32; 2]>()).prop_map(
        |(network, [on_link, autonomous], [a, b])| {
            NdOption::Prefix(Prefix {
                network,
                on_link,
                autonomous,
                valid: Lifetime(a.max(b)),
                preferred: Lifetime(a.min(b)),
            })
        },
    );
    let route = (some_network(), preference(), lifetime()).prop_map(|(network, preference, l)| {
        NdOption::Route(Route {
            network,
            preference,
            lifetime: l,
        })
    });
    let servers = prop::collection::vec(any::<u128>().prop_map(Ipv6Addr::from), 1..=127);
    let rdnss = (lifetime(), servers)
        .prop_map(|(lifetime, servers)| NdOption::Rdnss(Rdnss { lifetime, servers }));
    let name = "[a-z0-9_-]{1,63}(\\.[a-z0-9_-]{1,20}){0,3}".prop_map(|n| n.parse().unwrap());
    let dnssl = (lifetime(), prop::collection::vec(name, 1..8))
        .prop_map(|(lifetime, domains)| NdOption::Dnssl(Dnssl { lifetime, domains }));
    prop_oneof![
        any::<[u8; 6]>().prop_map(|mac| NdOption::SourceLinkLayer(Mac(mac))),
        any::<u32>().prop_map(NdOption::Mtu),
        prefix,
        route,
        rdnss,
        dnssl,
        "[!-~]{1,254}".prop_map(NdOption::CaptivePortal),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        hop_limit: u8,
        flags: [bool; 2],
        preference in preference(),
        router_lifetime: u16,
        times: [u32; 2],
        options in prop::collection::vec(option(), 0..6),
        addresses: [u128; 2],
    ) {
        let written = Advertisement {
            hop_limit,
            managed: flags[0],
            other: flags[1],
            preference,
            router_lifetime,
            reachable_time: times[0],
            retransmit_timer: times[1],
            options,
        };
        let bytes = written.emit();
        prop_assert_eq!(bytes.len() % 8, 0);
        prop_assert_eq!(&Advertisement::parse(&bytes), &Ok(written));
        let [source, destination] = addresses.map(Ipv6Addr::from);
        let bytes = with_checksum(source, destination, bytes);
        prop_assert_eq!(checksum(source, destination, &bytes), 0);
    }

    #[test]
    fn any_bytes_are_survived(bytes: Vec<u8>) {
        let _ = (Advertisement::parse(&bytes), Solicitation::parse(&bytes));
    }

    /// Beyond the fixed fields, where random bytes alone would never come.
    #[test]
    fn any_options_are_survived(rest: Vec<u8>, at in 16..136_usize, byte: u8) {
        let mut bytes = BYTES[..16].to_vec();
        bytes.extend(rest);
        let _ = Advertisement::parse(&bytes);
        let mut bytes = BYTES;
        bytes[at] = byte;
        if let Ok(read) = Advertisement::parse(&bytes) {
            prop_assert_eq!(Advertisement::parse(&read.emit()), Ok(read));
        }
    }
}
