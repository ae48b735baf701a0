//! Messages about our table: the bodies of what is sent to nf_tables.

use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, DataAttribute, GenMessage, Hook, HookNumber, ListAttribute,
    NfTablesMessage, RuleAttribute, RuleMessage, SetAttribute, SetDescription, SetElementAttribute,
    SetElementList, SetElementMessage, SetFlags, SetMessage, TableAttribute, TableFlags,
    TableMessage,
};

use netlink_packet_core::{DefaultNla, Nla};

use super::rules::{Chain, Rule};
use super::sets::{ByteOrder, Elements, Kind, Set};
use super::table::TABLE_NAME;

const NF_ACCEPT: u32 = 1;
/// Type of a comment in the user data of a rule; nft reads it.
const USERDATA_COMMENT: u8 = 0;

/// The table, with these flags if any.
pub(super) fn table(flags: Option<TableFlags>) -> TableMessage {
    let mut attributes = vec![TableAttribute::Name(TABLE_NAME.to_owned())];
    attributes.extend(flags.map(TableAttribute::Flags));
    TableMessage { attributes }
}

/// The name of a chain.
pub(super) fn chain_name(name: &str) -> ChainMessage {
    ChainMessage {
        attributes: vec![
            ChainAttribute::Table(TABLE_NAME.to_owned()),
            ChainAttribute::Name(name.to_owned()),
        ],
    }
}

/// A base chain without its rules.
pub(super) fn chain(chain: &Chain) -> ChainMessage {
    let mut message = chain_name(chain.name);
    message.attributes.extend([
        ChainAttribute::Hook(vec![
            Hook::Number(HookNumber::Inet(chain.hook)),
            Hook::Priority(chain.priority.cast_unsigned()),
        ]),
        ChainAttribute::Policy(NF_ACCEPT),
        ChainAttribute::Type(chain.chain_type.name().to_owned()),
    ]);
    message
}

/// All rules of the table.
pub(super) fn all_rules() -> RuleMessage {
    RuleMessage {
        attributes: vec![RuleAttribute::Table(TABLE_NAME.to_owned())],
    }
}

/// A rule of a chain.
pub(super) fn rule(chain: &Chain, rule: &Rule) -> RuleMessage {
    RuleMessage {
        attributes: vec![
            RuleAttribute::Table(TABLE_NAME.to_owned()),
            RuleAttribute::Chain(chain.name.to_owned()),
            RuleAttribute::Expressions(
                rule.code.iter().cloned().map(ListAttribute::from).collect(),
            ),
            RuleAttribute::UserData(comment(rule.comment)),
        ],
    }
}

/// A comment as user data: type, length, text with its NUL.
fn comment(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len() + 1).unwrap_or(u8::MAX);
    let mut data = vec![USERDATA_COMMENT, length];
    data.extend(text.bytes().take(usize::from(length) - 1));
    data.push(0);
    data
}

/// The name of a set.
pub(super) fn set_name(name: &str) -> SetMessage {
    SetMessage {
        attributes: vec![
            SetAttribute::Table(TABLE_NAME.to_owned()),
            SetAttribute::Name(name.to_owned()),
        ],
    }
}

/// What the kernel reports of a set.
pub(super) fn set(set: &Set) -> SetMessage {
    let mut message = set_name(set.name);
    message.attributes.extend([
        SetAttribute::KeyType(set.kind.shown_as()),
        SetAttribute::KeyLen(set.kind.length()),
        SetAttribute::UserData(byte_order(set.kind)),
    ]);
    match set.elements {
        Elements::Constant(_) => {
            let flags = SetFlags::Constant;
            message.attributes.push(SetAttribute::Flags(flags));
        }
        Elements::Ours(_) => {}
        Elements::OfPackets(remembered) => {
            let flags = SetFlags::Eval | SetFlags::Timeout;
            let milliseconds = u64::try_from(remembered.as_millis()).unwrap_or(u64::MAX);
            message.attributes.extend([
                SetAttribute::Flags(flags),
                SetAttribute::Timeout(milliseconds),
            ]);
        }
    }
    message
}

/// The byte order of a set's keys as user data, without which nft shows other elements.
fn byte_order(kind: Kind) -> Vec<u8> {
    const KEY_BYTE_ORDER: u8 = 0;
    const OF_EACH_PART: u32 = 0;
    const HOST: u32 = 1;
    const NETWORK: u32 = 2;
    let order = match kind.byte_order() {
        None => OF_EACH_PART,
        Some(ByteOrder::Host) => HOST,
        Some(ByteOrder::Network) => NETWORK,
    };
    let mut data = vec![KEY_BYTE_ORDER, 4];
    data.extend(order.to_ne_bytes());
    data
}

/// A set with what the kernel only wants when it makes one: a number within the
/// transaction, and how many elements to make room for.
pub(super) fn new_set(set: &Set, id: u32) -> SetMessage {
    let mut message = self::set(set);
    message.attributes.push(SetAttribute::Id(id));
    if let Some(size) = set.size() {
        message
            .attributes
            .push(SetAttribute::Description(vec![SetDescription::Size(size)]));
    }
    message
}

/// Elements of a set; none at all means "of this set" in a request.
pub(super) fn elements(
    set: &str,
    elements: impl IntoIterator<Item = Vec<u8>>,
) -> SetElementMessage {
    let elements: Vec<_> = elements
        .into_iter()
        .map(|key| {
            ListAttribute::Element(vec![SetElementAttribute::Key(DataAttribute::Value(key))])
        })
        .collect();
    let mut attributes = vec![
        SetElementList::Table(TABLE_NAME.to_owned()),
        SetElementList::Set(set.to_owned()),
    ];
    if !elements.is_empty() {
        attributes.push(SetElementList::Elements(elements));
    }
    SetElementMessage { attributes }
}

/// Removes the elements of a set that are there (Linux 6.3).
pub(super) fn destroy_elements(elements: &SetElementMessage) -> NfTablesMessage {
    // The packet crate does not know the message, whose attributes are those of the others.
    const DESTROY_SET_ELEMENT: u8 = 30;
    let attributes = elements.attributes.iter().map(|attribute| {
        let mut value = vec![0; attribute.value_len()];
        attribute.emit_value(&mut value);
        DefaultNla::new(attribute.kind(), value)
    });
    NfTablesMessage::Other {
        message_type: DESTROY_SET_ELEMENT,
        attributes: attributes.collect(),
    }
}

/// The question for the number of the ruleset's generation.
pub(super) fn generation() -> NfTablesMessage {
    NfTablesMessage::GetGen(GenMessage {
        attributes: Vec::new(),
    })
}
