//! Writing messages: options where there is room for them.

use std::net::Ipv4Addr;

use registry::Mac;

use super::code;

/// The fixed fields and the cookie: what stands before the first option.
const HEADER_LEN: usize = 240;
/// The shortest message that old clients and relays take (RFC 1542, section 2.1).
const SHORTEST: usize = 300;
/// What one option holds.
const OPTION_MAX: usize = 255;
/// Code and length of an option.
const OPTION_HEAD: usize = 2;
const BOOTREPLY: u8 = 2;
const ETHERNET: u8 = 1;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Where the fields are that may hold options (RFC 2131, section 2).
const SNAME: std::ops::Range<usize> = 44..108;
const FILE: std::ops::Range<usize> = 108..236;

/// The fields of a reply.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// The client's number for this exchange.
    pub xid: u32,
    /// Whether the client can take only broadcasts yet.
    pub broadcast: bool,
    /// The address that the client has said to have.
    pub ciaddr: Ipv4Addr,
    /// The address that it is given.
    pub yiaddr: Ipv4Addr,
    /// The relay that passes it on.
    pub giaddr: Ipv4Addr,
    /// The client's Ethernet address.
    pub chaddr: Mac,
}

/// An option to write: its number, and its value of any length.
pub type Opt<'a> = (u8, &'a [u8]);

/// Writes a reply of `limit` bytes at most.
///
/// Options stand in the order in which they are given. Where they are too long for their
/// field, they are put into those of the boot file's and the server's name (RFC 2132, section
/// 9.3), and where that has no room either, they are left out, the last ones first. `last`
/// comes behind all others, in the field for options.
#[must_use]
pub fn write(header: &Header, options: &[Opt<'_>], last: Option<Opt<'_>>, limit: usize) -> Vec<u8> {
    let room = limit.saturating_sub(HEADER_LEN + 1 + last.map_or(0, |(_, value)| length(value)));
    let mut areas = [
        Area::new(room),
        Area::new(FILE.len() - 1),
        Area::new(SNAME.len() - 1),
    ];
    let total: usize = options.iter().map(|(_, value)| length(value)).sum();
    if total > room {
        areas[0].room = room.saturating_sub(OPTION_HEAD + 1);
    }
    for option in options {
        place(&mut areas, *option);
    }
    let [main, file, sname] = areas;
    assemble(header, [&main.bytes, &file.bytes, &sname.bytes], last)
}

fn assemble(header: &Header, [main, file, sname]: [&[u8]; 3], last: Option<Opt<'_>>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_LEN + main.len() + SHORTEST);
    fixed_fields(header, &mut bytes);
    let fields = [(FILE, file, 1), (SNAME, sname, 2)];
    let mut overload = 0;
    for (field, content, flag) in fields {
        let Some(field) = bytes.get_mut(field).filter(|_| !content.is_empty()) else {
            continue;
        };
        overload |= flag;
        let end = [code::END];
        for (place, byte) in field.iter_mut().zip(content.iter().chain(&end)) {
            *place = *byte;
        }
    }
    bytes.extend_from_slice(main);
    if overload != 0 {
        append(&mut bytes, (code::OVERLOAD, &[overload]));
    }
    if let Some(last) = last {
        append(&mut bytes, last);
    }
    bytes.push(code::END);
    if bytes.len() < SHORTEST {
        bytes.resize(SHORTEST, code::PAD);
    }
    bytes
}

fn fixed_fields(header: &Header, bytes: &mut Vec<u8>) {
    bytes.extend([BOOTREPLY, ETHERNET, 6, 0]);
    bytes.extend(header.xid.to_be_bytes());
    bytes.extend([0, 0, if header.broadcast { 0x80 } else { 0 }, 0]);
    let siaddr = Ipv4Addr::UNSPECIFIED;
    for address in [header.ciaddr, header.yiaddr, siaddr, header.giaddr] {
        bytes.extend(address.octets());
    }
    bytes.extend(header.chaddr.0);
    bytes.resize(HEADER_LEN - COOKIE.len(), 0);
    bytes.extend(COOKIE);
}

/// A field that holds options.
struct Area {
    bytes: Vec<u8>,
    room: usize,
}

impl Area {
    fn new(room: usize) -> Self {
        Self {
            bytes: Vec::new(),
            room,
        }
    }

    fn has_room_for(&self, length: usize) -> bool {
        self.bytes.len() + length <= self.room
    }

    /// As much of `value` as an option has room for here; nothing, if that is none.
    fn room_for_part<'a>(&self, value: &'a [u8]) -> Option<&'a [u8]> {
        let room = self.room.saturating_sub(self.bytes.len() + OPTION_HEAD);
        let length = room.min(OPTION_MAX).min(value.len());
        value.get(..length).filter(|part| !part.is_empty())
    }
}

/// Puts an option into the first field that has room for all of it; one that needs several
/// options anyway, part by part into one field after the other.
fn place(areas: &mut [Area], (code, value): Opt<'_>) {
    let whole = length(value);
    if let Some(area) = areas.iter_mut().find(|area| area.has_room_for(whole)) {
        return append(&mut area.bytes, (code, value));
    }
    if value.len() <= OPTION_MAX {
        return;
    }
    let before: Vec<usize> = areas.iter().map(|area| area.bytes.len()).collect();
    let mut rest = value;
    // RFC 3396, section 7: the fields are read as one, in this order.
    for area in areas.iter_mut() {
        while let Some(part) = area.room_for_part(rest) {
            append(&mut area.bytes, (code, part));
            rest = rest.get(part.len()..).unwrap_or_default();
        }
    }
    if !rest.is_empty() {
        for (area, before) in areas.iter_mut().zip(before) {
            area.bytes.truncate(before);
        }
    }
}

/// The parts of a value of which each is an option (RFC 3396, section 8); an empty value has
/// one.
fn parts(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let empty = value.is_empty().then_some(value);
    empty.into_iter().chain(value.chunks(OPTION_MAX))
}

/// How many bytes an option takes.
fn length(value: &[u8]) -> usize {
    value.len() + OPTION_HEAD * value.len().div_ceil(OPTION_MAX).max(1)
}

fn append(bytes: &mut Vec<u8>, (code, value): Opt<'_>) {
    for part in parts(value) {
        // A part is never longer than a byte says.
        bytes.extend([code, u8::try_from(part.len()).unwrap_or(u8::MAX)]);
        bytes.extend_from_slice(part);
    }
}
