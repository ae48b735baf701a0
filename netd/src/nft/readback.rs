//! Reading the table back and comparing it with what it should be.
//!
//! Compared is what was said: the kernel adds handles, counters and defaults of its own
//! when it reports, and how many depends on its version. What is there beyond ours
//! (a further chain, rule or element) counts as a change.

use std::collections::BTreeSet;

use netlink_packet_netfilter::nftables::{
    DataAttribute, ExpressionAttribute, Expressions, GenAttribute, ListAttribute, NfTablesMessage,
    RuleAttribute, RuleMessage, SetElementAttribute, SetElementList, TableAttribute, TableFlags,
};

use super::error::NftError;
use super::messages;
use super::rules::{Chain, Layout};
use super::sets::Set;
use super::socket::{Dump, NftSocket};

const READING: &str = "reading the firewall table back";

/// Attempts to read the table while others change the ruleset.
const ATTEMPTS: usize = 8;

/// The head of the table as the kernel has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub flags: TableFlags,
    /// Netlink port of the owner, if it has one.
    pub owner: Option<u32>,
    /// Number of chains, sets and other objects in it.
    contents: u32,
}

/// What was found under the table's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// `None`: there is no table.
    pub head: Option<Head>,
    /// Its sets, chains and rules are as they should be.
    pub as_wanted: bool,
    /// The ruleset's generation of which this is true.
    pub generation: u32,
}

/// Reads the table and compares it with `layout`, all at one generation of the ruleset.
pub(super) fn read(socket: &mut NftSocket, layout: &Layout) -> Result<Found, NftError> {
    for _ in 0..ATTEMPTS {
        let generation = generation(socket)?;
        let Some(head) = head(socket)? else {
            if self::generation(socket)? == generation {
                return Ok(Found {
                    head: None,
                    as_wanted: false,
                    generation,
                });
            }
            continue;
        };
        let Some(as_wanted) = contents_as_wanted(socket, layout, &head)? else {
            continue;
        };
        if self::generation(socket)? == generation {
            return Ok(Found {
                head: Some(head),
                as_wanted,
                generation,
            });
        }
    }
    Err(NftError::Restless)
}

/// The number of the ruleset's generation; each transaction of anybody counts it up.
pub(super) fn generation(socket: &mut NftSocket) -> Result<u32, NftError> {
    let doing = "asking for the ruleset's generation";
    let answer = socket.get(doing, messages::generation())?;
    let Some(NfTablesMessage::NewGen(message)) = answer else {
        return Err(NftError::NoAnswer { doing });
    };
    let id = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            GenAttribute::Id(id) => Some(*id),
            _ => None,
        });
    id.ok_or(NftError::NoAnswer { doing })
}

/// The head of the table.
pub(super) fn head(socket: &mut NftSocket) -> Result<Option<Head>, NftError> {
    let request = NfTablesMessage::GetTable(messages::table(None));
    let Some(NfTablesMessage::NewTable(message)) = socket.get(READING, request)? else {
        return Ok(None);
    };
    let mut head = Head {
        flags: TableFlags::empty(),
        owner: None,
        contents: 0,
    };
    for attribute in &message.attributes {
        match attribute {
            TableAttribute::Flags(flags) => head.flags = *flags,
            TableAttribute::Owner(port) => head.owner = Some(*port),
            TableAttribute::Use(count) => head.contents = *count,
            _ => {}
        }
    }
    Ok(Some(head))
}

/// `None`: something changed meanwhile.
fn contents_as_wanted(
    socket: &mut NftSocket,
    layout: &Layout,
    head: &Head,
) -> Result<Option<bool>, NftError> {
    let wanted = layout.sets.len() + layout.chains.len();
    if usize::try_from(head.contents).ok() != Some(wanted) {
        return Ok(Some(false));
    }
    for chain in &layout.chains {
        if !chain_as_wanted(socket, chain)? {
            return Ok(Some(false));
        }
    }
    for set in &layout.sets {
        match set_as_wanted(socket, set)? {
            Some(true) => {}
            other => return Ok(other),
        }
    }
    rules_as_wanted(socket, layout)
}

fn chain_as_wanted(socket: &mut NftSocket, chain: &Chain) -> Result<bool, NftError> {
    let request = NfTablesMessage::GetChain(messages::chain_name(chain.name));
    Ok(match socket.get(READING, request)? {
        Some(NfTablesMessage::NewChain(have)) => {
            covers(&messages::chain(chain).attributes, &have.attributes)
        }
        _ => false,
    })
}

/// The elements of a set; none where there is no such set.
pub(super) fn elements(
    socket: &mut NftSocket,
    set: &str,
) -> Result<Option<BTreeSet<Vec<u8>>>, NftError> {
    let request = NfTablesMessage::GetSetElement(messages::elements(set, []));
    Ok(match socket.dump(READING, request)? {
        Dump::Interrupted => None,
        Dump::Whole(answer) => Some(keys(&answer)),
    })
}

fn set_as_wanted(socket: &mut NftSocket, set: &Set) -> Result<Option<bool>, NftError> {
    let request = NfTablesMessage::GetSet(messages::set_name(set.name));
    let same = match socket.get(READING, request)? {
        Some(NfTablesMessage::NewSet(have)) => {
            covers(&messages::set(set).attributes, &have.attributes)
        }
        _ => false,
    };
    let (true, Some(wanted)) = (same, set.elements.wanted()) else {
        // Elements that packets add are as they should be, whatever they are.
        return Ok(Some(same));
    };
    Ok(elements(socket, set.name)?.map(|have| have == *wanted))
}

/// The keys of set elements.
fn keys(answer: &[NfTablesMessage]) -> BTreeSet<Vec<u8>> {
    let mut keys = BTreeSet::new();
    for message in answer {
        let NfTablesMessage::NewSetElement(message) = message else {
            continue;
        };
        for attribute in &message.attributes {
            let SetElementList::Elements(elements) = attribute else {
                continue;
            };
            for element in elements {
                let ListAttribute::Element(parts) = element else {
                    continue;
                };
                keys.extend(parts.iter().find_map(|part| match part {
                    SetElementAttribute::Key(DataAttribute::Value(key)) => Some(key.clone()),
                    _ => None,
                }));
            }
        }
    }
    keys
}

fn rules_as_wanted(socket: &mut NftSocket, layout: &Layout) -> Result<Option<bool>, NftError> {
    let request = NfTablesMessage::GetRule(messages::all_rules());
    let answer = match socket.dump(READING, request)? {
        Dump::Interrupted => return Ok(None),
        Dump::Whole(answer) => answer,
    };
    let have: Vec<&RuleMessage> = answer
        .iter()
        .filter_map(|message| match message {
            NfTablesMessage::NewRule(rule) => Some(rule),
            _ => None,
        })
        .collect();
    // Rules of one chain come in their order; in which order the chains come does not
    // matter to what they do.
    let mut seen = 0;
    for chain in &layout.chains {
        let of_chain = RuleAttribute::Chain(chain.name.to_owned());
        let mut there = have
            .iter()
            .filter(|rule| rule.attributes.contains(&of_chain));
        for rule in &chain.rules {
            let wanted = messages::rule(chain, rule);
            if !there.next().is_some_and(|have| same_rule(&wanted, have)) {
                return Ok(Some(false));
            }
            seen += 1;
        }
    }
    Ok(Some(seen == have.len()))
}

fn same_rule(wanted: &RuleMessage, have: &RuleMessage) -> bool {
    wanted.attributes.iter().all(|attribute| {
        match attribute {
        RuleAttribute::Expressions(wanted) => have.attributes.iter().any(|attribute| {
            matches!(attribute, RuleAttribute::Expressions(have) if same_code(wanted, have))
        }),
        other => have.attributes.contains(other),
    }
    })
}

type CodeList = [ListAttribute<ExpressionAttribute>];

fn same_code(wanted: &CodeList, have: &CodeList) -> bool {
    wanted.len() == have.len()
        && wanted.iter().zip(have).all(|(wanted, have)| {
            matches!(
                (instruction(wanted), instruction(have)),
                (Some(wanted), Some(have)) if same_instruction(wanted, have)
            )
        })
}

fn instruction(attribute: &ListAttribute<ExpressionAttribute>) -> Option<&Expressions> {
    let ListAttribute::Element(parts) = attribute else {
        return None;
    };
    parts.iter().find_map(|part| match part {
        ExpressionAttribute::Data(data) => Some(data),
        _ => None,
    })
}

fn same_instruction(wanted: &Expressions, have: &Expressions) -> bool {
    match (wanted, have) {
        (Expressions::Bitwise(wanted), Expressions::Bitwise(have)) => covers(wanted, have),
        (Expressions::Cmp(wanted), Expressions::Cmp(have)) => covers(wanted, have),
        (Expressions::Immediate(wanted), Expressions::Immediate(have)) => covers(wanted, have),
        (Expressions::Lookup(wanted), Expressions::Lookup(have)) => covers(wanted, have),
        (Expressions::Meta(wanted), Expressions::Meta(have)) => covers(wanted, have),
        (Expressions::Payload(wanted), Expressions::Payload(have)) => covers(wanted, have),
        (
            Expressions::Other {
                expression_type: wanted_name,
                attributes: wanted,
            },
            Expressions::Other {
                expression_type: have_name,
                attributes: have,
            },
        ) => wanted_name == have_name && covers(wanted, have),
        _ => false,
    }
}

/// Each of `wanted` is among `have`.
fn covers<T: PartialEq>(wanted: &[T], have: &[T]) -> bool {
    wanted.iter().all(|attribute| have.contains(attribute))
}
