//! Events that wait, and which of them still tell something.
//!
//! A link can be made to change thousands of times a second by the container at its other
//! end, and each event describes all of the link, which costs some time to read. Of those
//! that wait together only the last counts.

use std::collections::HashMap;

/// Type of a message about a link that is there (RTM_NEWLINK of linux/rtnetlink.h).
const NEW_LINK: u16 = 16;
/// Type of a message about a link that is gone (RTM_DELLINK).
const DEL_LINK: u16 = 17;
/// The flag of a link that is set up (IFF_UP of linux/if.h).
const UP: u32 = 1;

/// Messages in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

/// What a message about a link says in its fixed part (struct ifinfomsg).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct OfLink {
    index: u32,
    is_gone: bool,
    up: bool,
}

impl Chunk {
    /// How many messages are looked at together.
    pub const FULL: usize = 256;

    /// Whether no more are to be taken in before these are read.
    pub fn is_full(&self) -> bool {
        self.ends.len() >= Self::FULL
    }

    /// Takes in a message with its header.
    pub fn push(&mut self, message: &[u8]) {
        self.bytes.extend_from_slice(message);
        self.ends.push(self.bytes.len());
    }

    /// Gives out the messages that none after them makes void, and is empty then.
    ///
    /// A link that goes down and up again is told of both times: the kernel takes its
    /// routes at the first without a word of them.
    pub fn drain(&mut self, mut take: impl FnMut(&[u8])) {
        let mut starts = vec![0];
        starts.extend(&self.ends);
        let messages: Vec<&[u8]> = starts
            .iter()
            .zip(&self.ends)
            .filter_map(|(start, end)| self.bytes.get(*start..*end))
            .collect();
        let mut later: HashMap<u32, OfLink> = HashMap::new();
        let mut void = vec![false; messages.len()];
        for (message, void) in messages.iter().zip(&mut void).rev() {
            if let Some(of_link) = OfLink::read(message) {
                *void = later
                    .insert(of_link.index, of_link)
                    .is_some_and(|next| !of_link.is_gone && next == of_link);
            }
        }
        for (message, _) in messages.iter().zip(&void).filter(|(_, void)| !**void) {
            take(message);
        }
        self.bytes.clear();
        self.ends.clear();
    }
}

impl OfLink {
    /// Reads it; nothing for what is not about a link as a whole.
    fn read(message: &[u8]) -> Option<Self> {
        let field = |at: usize| message.get(at..)?.first_chunk::<4>();
        let kind = u16::from_ne_bytes(*message.get(4..)?.first_chunk()?);
        // What a bridge says of its ports comes as another family.
        let of_all_families = message.get(16) == Some(&0);
        (of_all_families && matches!(kind, NEW_LINK | DEL_LINK)).then_some(())?;
        Some(Self {
            index: u32::from_ne_bytes(*field(20)?),
            is_gone: kind == DEL_LINK,
            up: u32::from_ne_bytes(*field(24)?) & UP != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, index: u32, flags: u32, mark: u8) -> Vec<u8> {
        let mut bytes = vec![0; 32];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[20..24].copy_from_slice(&index.to_ne_bytes());
        bytes[24..28].copy_from_slice(&flags.to_ne_bytes());
        bytes.push(mark);
        bytes
    }

    fn left(messages: &[Vec<u8>]) -> Vec<u8> {
        let mut chunk = Chunk::default();
        for message in messages {
            chunk.push(message);
        }
        let mut marks = Vec::new();
        chunk.drain(|message| marks.extend(message.last()));
        chunk.drain(|_| panic!("given out twice"));
        marks
    }

    #[test]
    fn of_the_same_again_the_last_counts() {
        let flaps: Vec<_> = (0..9).map(|n| message(NEW_LINK, 7, UP, n)).collect();
        assert_eq!(left(&flaps), [8]);
        let two = [
            message(NEW_LINK, 7, UP, 0),
            message(NEW_LINK, 8, UP, 1),
            message(20, 7, UP, 2),
            message(NEW_LINK, 7, UP, 3),
        ];
        assert_eq!(left(&two), [1, 2, 3]);
    }

    #[test]
    fn a_link_that_went_down_or_away_in_between_is_told_of() {
        let down = [
            message(NEW_LINK, 7, UP, 0),
            message(NEW_LINK, 7, 0, 1),
            message(NEW_LINK, 7, UP, 2),
        ];
        assert_eq!(left(&down), [0, 1, 2]);
        let gone = [
            message(NEW_LINK, 7, UP, 0),
            message(DEL_LINK, 7, UP, 1),
            message(NEW_LINK, 7, UP, 2),
        ];
        assert_eq!(left(&gone), [0, 1, 2]);
    }

    #[test]
    fn what_is_too_short_is_given_out() {
        assert_eq!(left(&[vec![1], vec![16, 0, 0, 0, 16, 0, 2]]), [1, 2]);
    }
}
