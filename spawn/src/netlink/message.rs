//! Requests and answers of rtnetlink as bytes (rtnetlink(7)).

const HEADER: usize = 16;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLA_F_NESTED: u16 = 0x8000;
const NLA_TYPE_MASK: u16 = 0x3fff;

/// A request that is being written.
#[derive(Clone, Debug)]
pub struct Request(Vec<u8>);

impl Request {
    /// Begins a request of `kind` (RTM_*) with further flags (NLM_F_*); `body` is
    /// the fixed part that such a message begins with.
    #[must_use]
    pub fn new(kind: u16, flags: u16, body: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(512);
        bytes.extend(0u32.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((flags | NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend(body);
        Self(bytes)
    }

    /// Appends an attribute.
    #[must_use]
    pub fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        self.push(kind, value);
        self
    }

    /// Appends an attribute that holds a number.
    #[must_use]
    pub fn number(self, kind: u16, value: u32) -> Self {
        self.attribute(kind, &value.to_ne_bytes())
    }

    /// Appends an attribute that holds a text, which ends with a NUL.
    #[must_use]
    pub fn text(self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.attribute(kind, &bytes)
    }

    /// Appends an attribute that holds others, written by `inside`.
    #[must_use]
    pub fn nested(mut self, kind: u16, inside: impl FnOnce(Self) -> Self) -> Self {
        let start = self.0.len();
        self.push(kind | NLA_F_NESTED, &[]);
        let mut request = inside(self);
        let len = (request.0.len() - start) as u16;
        request.put(start, &len.to_ne_bytes());
        request
    }

    /// Appends bytes as they are, such as the fixed part of a message in another.
    #[must_use]
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self.pad();
        self
    }

    pub(super) fn finish(mut self, sequence: u32) -> Vec<u8> {
        let len = self.0.len() as u32;
        self.put(0, &len.to_ne_bytes());
        self.put(8, &sequence.to_ne_bytes());
        self.0
    }

    fn push(&mut self, kind: u16, value: &[u8]) {
        self.pad();
        self.0.extend((value.len() as u16 + 4).to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.pad();
    }

    fn pad(&mut self) {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        if let Some(place) = self.0.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }
}

/// What one message of an answer says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Response<'a> {
    Acknowledged,
    Failed(i32),
    Data(&'a [u8]),
}

/// The messages of one datagram, with their sequence numbers.
pub(super) fn responses(datagram: &[u8]) -> impl Iterator<Item = (u32, Response<'_>)> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let len = u32_at(rest, 0)? as usize;
        let message = rest.get(..len).filter(|message| message.len() >= HEADER)?;
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or(&[]);
        let body = message.get(HEADER..)?;
        let response = match u16_at(message, 4)? {
            2 => match u32_at(body, 0)? as i32 {
                0 => Response::Acknowledged,
                errno => Response::Failed(-errno),
            },
            3 => Response::Acknowledged,
            _ => Response::Data(body),
        };
        Some((u32_at(message, 8)?, response))
    })
}

/// The attributes of `bytes`: kind, without its flags, and value.
pub fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let len = usize::from(u16_at(rest, 0)?);
        let kind = u16_at(rest, 2)? & NLA_TYPE_MASK;
        let value = rest.get(4..len)?;
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, value))
    })
}

/// The first attribute of a kind.
#[must_use]
pub fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes)
        .find(|(k, _)| *k == kind)
        .map(|(_, value)| value)
}

/// A number at an offset, in the order of this machine.
#[must_use]
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn attributes_nest_and_read_back() {
        let bytes = Request::new(16, 0, &[0; 16])
            .text(3, "ve-web")
            .nested(18, |r| r.text(1, "veth").nested(2, |r| r.number(7, 9)))
            .number(27, 5)
            .finish(1);
        assert_eq!(u32_at(&bytes, 0), Some(bytes.len() as u32));
        let body = &bytes[HEADER + 16..];
        assert_eq!(attribute(body, 3), Some(&b"ve-web\0"[..]));
        assert_eq!(attribute(body, 27), Some(&5u32.to_ne_bytes()[..]));
        let info = attribute(body, 18).unwrap();
        assert_eq!(attribute(info, 1), Some(&b"veth\0"[..]));
        let data = attribute(info, 2).unwrap();
        assert_eq!(attribute(data, 7), Some(&9u32.to_ne_bytes()[..]));
    }

    proptest! {
        #[test]
        fn reading_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = responses(&bytes).count();
            let _ = attributes(&bytes).count();
        }
    }
}
