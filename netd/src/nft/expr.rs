//! Expressions: the instructions that a rule is made of, nf_tables' register machine.
//!
//! Each function gives the instructions of one condition or one statement. All use
//! register 1, which the kernel reports back under the number it was given, and the
//! parts of it that follow.
//! Numbers are those of `linux/netfilter/nf_tables.h`.

use std::time::Duration;

use netlink_packet_core::{DefaultNla, Emitable};
use netlink_packet_netfilter::nftables::{
    Bitwise, Cmp, DataAttribute, Expressions, Immediate, Lookup, Meta, MetaKey, Operator, Payload,
    Register, Verdict, VerdictAttribute,
};

/// The instructions of a condition or statement.
pub(super) type Code = Vec<Expressions>;

const REG: Register = Register::Reg1;
/// Behind a link index in [`REG`].
const NEXT_REG: Register = Register::Reg32_01;
/// Number of register 1, for the expressions that are written attribute by attribute.
const REG_NUMBER: u32 = 1;

/// NFT_LOOKUP_F_INV: true for what is not in the set.
const LOOKUP_INVERTED: u32 = 1;

const PAYLOAD_LINK_HEADER: u32 = 0;
const PAYLOAD_NETWORK_HEADER: u32 = 1;
const PAYLOAD_TRANSPORT_HEADER: u32 = 2;

const NF_DROP: u32 = 0;
const NF_ACCEPT: u32 = 1;

const FIB_RESULT_OIF: u32 = 1;
const FIB_F_SADDR: u32 = 1 << 0;
const FIB_F_IIF: u32 = 1 << 3;
const FIB_F_PRESENT: u32 = 1 << 5;

const CT_STATE: u32 = 0;
const CT_STATUS: u32 = 2;

/// Bits of `ct state`: one of an established flow, or related to one.
pub(super) const CT_ESTABLISHED_OR_RELATED: u32 = (1 << 1) | (1 << 2);
/// Bit of `ct status` of a flow whose destination was translated (IPS_DST_NAT).
pub(super) const CT_DNAT: u32 = 1 << 5;

/// A rate that something may have, and how much of it may come at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    pub per_second: u64,
    pub burst: u32,
}

/// What becomes of the elements of a set.
#[derive(Debug, Clone, Copy)]
enum Operation {
    /// An element that is not there is added.
    Add = 0,
    /// The same, and the time of one that is there begins anew.
    Update = 1,
}

/// One of a packet's two addresses.
#[derive(Debug, Clone, Copy)]
struct AddressField {
    link: MetaKey,
    offset: u32,
    length: u32,
}

const IPV4_SOURCE: AddressField = AddressField {
    link: MetaKey::Iif,
    offset: 12,
    length: 4,
};
const IPV4_DESTINATION: AddressField = AddressField {
    link: MetaKey::Oif,
    offset: 16,
    length: 4,
};
const IPV6_SOURCE: AddressField = AddressField {
    link: MetaKey::Iif,
    offset: 8,
    length: 16,
};
const IPV6_DESTINATION: AddressField = AddressField {
    link: MetaKey::Oif,
    offset: 24,
    length: 16,
};

/// A family of the packet, as `meta nfproto` has it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Family {
    /// NFPROTO_IPV4.
    V4 = 2,
    /// NFPROTO_IPV6.
    V6 = 10,
}

/// A transport protocol by its IANA number.
#[derive(Debug, Clone, Copy)]
pub(super) enum Transport {
    /// ICMP.
    Icmp = 1,
    /// UDP.
    Udp = 17,
    /// ICMPv6.
    Icmpv6 = 58,
}

/// The packet came in by a link of this group.
pub(super) fn from_group(group: u32) -> Code {
    compare_meta(
        MetaKey::Iifgroup,
        Operator::Equal,
        group.to_ne_bytes().to_vec(),
    )
}

/// The packet came in by a link of another group.
pub(super) fn not_from_group(group: u32) -> Code {
    compare_meta(
        MetaKey::Iifgroup,
        Operator::NotEqual,
        group.to_ne_bytes().to_vec(),
    )
}

/// The packet leaves by a link of another group.
pub(super) fn not_to_group(group: u32) -> Code {
    compare_meta(
        MetaKey::Oifgroup,
        Operator::NotEqual,
        group.to_ne_bytes().to_vec(),
    )
}

/// The packet leaves by a link whose index is in the named set.
pub(super) fn to_link_in(set: &str) -> Code {
    vec![load_meta(MetaKey::Oif), look_up(set)]
}

/// The packet is of this family.
pub(super) fn family(family: Family) -> Code {
    compare_meta(MetaKey::Nfproto, Operator::Equal, vec![family as u8])
}

/// The packet carries this transport protocol, extension headers skipped.
pub(super) fn transport(protocol: Transport) -> Code {
    compare_meta(MetaKey::L4Proto, Operator::Equal, vec![protocol as u8])
}

/// The destination port of UDP or TCP is this one.
pub(super) fn destination_port(port: u16) -> Code {
    vec![
        load_payload(PAYLOAD_TRANSPORT_HEADER, 2, 2),
        compare(port.to_be_bytes().to_vec()),
    ]
}

/// The type of the ICMP or ICMPv6 message is this one.
pub(super) fn icmp_type(number: u8) -> Code {
    vec![
        load_payload(PAYLOAD_TRANSPORT_HEADER, 0, 1),
        compare(vec![number]),
    ]
}

/// The type of the ICMP or ICMPv6 message is in the named set.
pub(super) fn icmp_type_in(set: &str) -> Code {
    vec![load_payload(PAYLOAD_TRANSPORT_HEADER, 0, 1), look_up(set)]
}

/// The IPv4 source is in this /8.
pub(super) fn ipv4_source_net8(first: u8) -> Code {
    vec![
        load_payload(PAYLOAD_NETWORK_HEADER, 12, 1),
        compare(vec![first]),
    ]
}

/// The IPv4 destination is in this /8.
pub(super) fn ipv4_destination_net8(first: u8) -> Code {
    vec![
        load_payload(PAYLOAD_NETWORK_HEADER, 16, 1),
        compare(vec![first]),
    ]
}

/// The IPv6 source is the unspecified address.
pub(super) fn ipv6_source_unspecified() -> Code {
    vec![
        load_payload(PAYLOAD_NETWORK_HEADER, 8, 16),
        compare(vec![0; 16]),
    ]
}

/// The source has no route back by the link that the packet came in by
/// (`fib saddr . iif oif missing`).
pub(super) fn source_has_no_route_back() -> Code {
    const DREG: u16 = 1;
    const RESULT: u16 = 2;
    const FLAGS: u16 = 3;
    let fib = other(
        "fib",
        &[
            (DREG, REG_NUMBER),
            (RESULT, FIB_RESULT_OIF),
            (FLAGS, FIB_F_SADDR | FIB_F_IIF | FIB_F_PRESENT),
        ],
    );
    vec![fib, compare(vec![0; 4])]
}

/// The incoming link and the IPv4 source are in the named set.
pub(super) fn ipv4_source_in(set: &str) -> Code {
    known(IPV4_SOURCE, set)
}

/// The incoming link and the IPv6 source are in the named set.
pub(super) fn ipv6_source_in(set: &str) -> Code {
    known(IPV6_SOURCE, set)
}

/// The outgoing link and the IPv4 destination are in the named set.
pub(super) fn ipv4_destination_in(set: &str) -> Code {
    known(IPV4_DESTINATION, set)
}

/// The outgoing link and the IPv6 destination are in the named set.
pub(super) fn ipv6_destination_in(set: &str) -> Code {
    known(IPV6_DESTINATION, set)
}

/// Adds the incoming link and the IPv4 source to the named set, for the set's own time.
/// Ends the rule where the set is full, like all that add.
pub(super) fn add_ipv4_source(set: &str) -> Code {
    remember(IPV4_SOURCE, set, Duration::ZERO)
}

/// Has the incoming link and the IPv4 source, which are in the named set, stay there for
/// the set's own time from now.
pub(super) fn keep_ipv4_source(set: &str) -> Code {
    let mut code = load_with_link(IPV4_SOURCE);
    code.push(change_set(set, Operation::Update, Duration::ZERO, None));
    code
}

/// Adds the incoming link and the IPv6 source to the named set, for the set's own time.
pub(super) fn add_ipv6_source(set: &str) -> Code {
    remember(IPV6_SOURCE, set, Duration::ZERO)
}

/// Adds the outgoing link and the IPv4 destination to the named set for so long.
pub(super) fn add_ipv4_destination(set: &str, time: Duration) -> Code {
    remember(IPV4_DESTINATION, set, time)
}

/// Adds the outgoing link and the IPv6 destination to the named set for so long.
pub(super) fn add_ipv6_destination(set: &str, time: Duration) -> Code {
    remember(IPV6_DESTINATION, set, time)
}

/// The incoming link has used up its limit, which is kept in the named set.
pub(super) fn incoming_link_is_over(limit: Limit, set: &str) -> Code {
    vec![
        load_meta(MetaKey::Iif),
        change_set(set, Operation::Update, Duration::ZERO, Some(over(limit))),
    ]
}

/// The state of the packet's connection has one of these bits.
pub(super) fn ct_state_any(bits: u32) -> Code {
    ct_any(CT_STATE, bits)
}

/// The status of the packet's connection has one of these bits.
pub(super) fn ct_status_any(bits: u32) -> Code {
    ct_any(CT_STATUS, bits)
}

/// The packet came in by a link whose index is not in the named set.
pub(super) fn not_from_link_in(set: &str) -> Code {
    vec![load_meta(MetaKey::Iif), look_up_by(set, LOOKUP_INVERTED)]
}

/// The frame carries this protocol, by its number of IEEE 802.
pub(super) fn ether_type(number: u16) -> Code {
    compare_meta(
        MetaKey::EtherTypeProtocol,
        Operator::Equal,
        number.to_be_bytes().to_vec(),
    )
}

/// A field of a frame that says whose it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim {
    base: u32,
    offset: u32,
    length: u32,
}

/// The Ethernet address that a frame comes from.
pub(super) const ETHERNET_SOURCE: Claim = claim(PAYLOAD_LINK_HEADER, 6, 6);
/// The sender's IPv4 address in ARP (RFC 826).
pub(super) const ARP_SENDER: Claim = claim(PAYLOAD_NETWORK_HEADER, 14, 4);
/// The source of an IPv4 packet.
pub(super) const IPV4_SENDER: Claim = claim(PAYLOAD_NETWORK_HEADER, 12, 4);
/// The source of an IPv6 packet.
pub(super) const IPV6_SENDER: Claim = claim(PAYLOAD_NETWORK_HEADER, 8, 16);
/// The target of a Neighbour Advertisement (RFC 4861, section 4.4).
pub(super) const ADVERTISED: Claim = claim(PAYLOAD_TRANSPORT_HEADER, 8, 16);

const fn claim(base: u32, offset: u32, length: u32) -> Claim {
    Claim {
        base,
        offset,
        length,
    }
}

/// What the frame claims is in the set `taken`, and not with its incoming link in `own`.
pub(super) fn is_anothers(claim: Claim, own: &str, taken: &str) -> Code {
    let load = |register| {
        Expressions::Payload(vec![
            Payload::DestinationRegister(register),
            Payload::Base(claim.base),
            Payload::Offset(claim.offset),
            Payload::Len(claim.length),
        ])
    };
    vec![
        load_meta(MetaKey::Iif),
        load(NEXT_REG),
        look_up_by(own, LOOKUP_INVERTED),
        load(REG),
        look_up(taken),
    ]
}

/// Ends the chain and lets the packet pass on.
pub(super) fn accept() -> Code {
    vec![verdict(NF_ACCEPT)]
}

/// Counts the packet, so that `nft list table inet rspawn` tells what is dropped, and
/// drops it.
pub(super) fn count_and_drop() -> Code {
    vec![other("counter", &[]), verdict(NF_DROP)]
}

/// Hands a copy of the packet, whole and at once, to whoever listens to this group of
/// nfnetlink_log.
pub(super) fn log_to(group: u16) -> Code {
    const GROUP: u16 = 1;
    const QUEUE_THRESHOLD: u16 = 4;
    let number = |kind, value: u16| DefaultNla::new(kind, value.to_be_bytes().to_vec());
    vec![Expressions::Other {
        expression_type: "log".to_owned(),
        attributes: vec![number(GROUP, group), number(QUEUE_THRESHOLD, 1)],
    }]
}

/// Gives the flow the address of the link that it leaves by.
pub(super) fn masquerade() -> Code {
    vec![other("masq", &[])]
}

fn ct_any(key: u32, bits: u32) -> Code {
    const DREG: u16 = 1;
    const KEY: u16 = 2;
    let mask = bits.to_ne_bytes().to_vec();
    vec![
        other("ct", &[(KEY, key), (DREG, REG_NUMBER)]),
        Expressions::Bitwise(vec![
            Bitwise::SourceRegister(REG),
            Bitwise::DestinationRegister(REG),
            Bitwise::Length(4),
            Bitwise::Mask(DataAttribute::Value(mask)),
            Bitwise::Xor(DataAttribute::Value(vec![0; 4])),
        ]),
        compare_by(Operator::NotEqual, vec![0; 4]),
    ]
}

fn compare_meta(key: MetaKey, operator: Operator, value: Vec<u8>) -> Code {
    vec![load_meta(key), compare_by(operator, value)]
}

fn load_meta(key: MetaKey) -> Expressions {
    Expressions::Meta(vec![Meta::Key(key), Meta::DestinationRegister(REG)])
}

fn load_payload(base: u32, offset: u32, length: u32) -> Expressions {
    Expressions::Payload(vec![
        Payload::DestinationRegister(REG),
        Payload::Base(base),
        Payload::Offset(offset),
        Payload::Len(length),
    ])
}

fn compare(value: Vec<u8>) -> Expressions {
    compare_by(Operator::Equal, value)
}

fn compare_by(operator: Operator, value: Vec<u8>) -> Expressions {
    Expressions::Cmp(vec![
        Cmp::SourceRegister(REG),
        Cmp::Op(operator),
        Cmp::Data(DataAttribute::Value(value)),
    ])
}

fn look_up(set: &str) -> Expressions {
    // Said although it is the default: an inverted look-up must not pass for ours.
    look_up_by(set, 0)
}

fn look_up_by(set: &str, flags: u32) -> Expressions {
    Expressions::Lookup(vec![
        Lookup::Set(set.to_owned()),
        Lookup::SourceRegister(REG),
        Lookup::Flags(flags),
    ])
}

fn verdict(code: u32) -> Expressions {
    Expressions::Immediate(vec![
        Immediate::DestinationRegister(Register::Verdict),
        Immediate::Data(DataAttribute::Verdict(vec![VerdictAttribute::Code(
            Verdict::Other(code),
        )])),
    ])
}

fn known(field: AddressField, set: &str) -> Code {
    let mut code = load_with_link(field);
    code.push(look_up(set));
    code
}

fn remember(field: AddressField, set: &str, time: Duration) -> Code {
    let mut code = load_with_link(field);
    code.push(change_set(set, Operation::Add, time, None));
    code
}

/// Loads the index of the link on an address's side, and behind it the address.
fn load_with_link(field: AddressField) -> Code {
    vec![
        load_meta(field.link),
        Expressions::Payload(vec![
            Payload::DestinationRegister(NEXT_REG),
            Payload::Base(PAYLOAD_NETWORK_HEADER),
            Payload::Offset(field.offset),
            Payload::Len(field.length),
        ]),
    ]
}

/// Puts what was loaded into a set (`dynset`), with an instruction of its own for each
/// element if any. A time of zero is the set's own.
fn change_set(
    set: &str,
    operation: Operation,
    time: Duration,
    instruction: Option<Vec<DefaultNla>>,
) -> Expressions {
    const SET_NAME: u16 = 1;
    const OPERATION: u16 = 3;
    const KEY_REGISTER: u16 = 4;
    const TIMEOUT: u16 = 6;
    const EXPRESSION: u16 = 7;
    let mut attributes = vec![
        DefaultNla::new(SET_NAME, [set.as_bytes(), &[0]].concat()),
        number(OPERATION, operation as u32),
        number(KEY_REGISTER, REG_NUMBER),
        long_number(TIMEOUT, u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
    ];
    if let Some(parts) = instruction {
        attributes.push(nest(EXPRESSION, &parts));
    }
    Expressions::Other {
        expression_type: "dynset".to_owned(),
        attributes,
    }
}

/// `limit rate over`: true for each packet beyond the limit.
fn over(limit: Limit) -> Vec<DefaultNla> {
    const NAME: u16 = 1;
    const DATA: u16 = 2;
    const RATE: u16 = 1;
    const UNIT: u16 = 2;
    const BURST: u16 = 3;
    const TYPE: u16 = 4;
    const FLAGS: u16 = 5;
    const PACKETS: u32 = 0;
    const INVERTED: u32 = 1;
    let data = [
        long_number(RATE, limit.per_second),
        long_number(UNIT, 1),
        number(BURST, limit.burst),
        number(TYPE, PACKETS),
        number(FLAGS, INVERTED),
    ];
    vec![
        DefaultNla::new(NAME, b"limit\0".to_vec()),
        nest(DATA, &data),
    ]
}

fn number(kind: u16, value: u32) -> DefaultNla {
    DefaultNla::new(kind, value.to_be_bytes().to_vec())
}

fn long_number(kind: u16, value: u64) -> DefaultNla {
    DefaultNla::new(kind, value.to_be_bytes().to_vec())
}

fn nest(kind: u16, parts: &[DefaultNla]) -> DefaultNla {
    let mut bytes = vec![0; parts.buffer_len()];
    parts.emit(&mut bytes);
    DefaultNla::new(kind, bytes)
}

/// An expression that the packet crate has no type for; all its attributes are 32-bit
/// numbers in network order.
fn other(name: &str, attributes: &[(u16, u32)]) -> Expressions {
    Expressions::Other {
        expression_type: name.to_owned(),
        attributes: attributes
            .iter()
            .map(|&(kind, value)| number(kind, value))
            .collect(),
    }
}
