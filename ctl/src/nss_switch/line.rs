//! One line of nsswitch.conf(5), as the C library reads it.

use super::Switch;

const RSPAWN: &str = "rspawn";

/// A `hosts` line, in pieces that make it up again.
#[derive(Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Up to and with the colon.
    head: &'a str,
    services: Vec<Piece<'a>>,
    /// A comment and the end of the line.
    tail: &'a str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece<'a> {
    Space(&'a str),
    Service(&'a str),
    /// `[STATUS=ACTION…]`, which belongs to the service before it.
    Actions(&'a str),
}

impl<'a> Line<'a> {
    /// Takes a line apart; None if it is not for `hosts`, or has a bracket without
    /// an end, with which the C library can do nothing either.
    pub fn of_hosts(text: &'a str) -> Option<Self> {
        let (line, tail) = text.split_at(text.find(['#', '\n']).unwrap_or(text.len()));
        let name_start = line.len() - line.trim_start_matches(is_space).len();
        let name_len = line
            .trim_start_matches(is_space)
            .find(|c| is_space(c) || c == ':')?;
        let (before_colon, _) = line.split_at(name_start + name_len);
        if before_colon.trim_start_matches(is_space) != "hosts" {
            return None;
        }
        // A space does in the colon's place; both are one byte.
        let (head, services) = line.split_at(before_colon.len() + 1);
        Some(Self {
            head,
            services: pieces(services)?,
            tail,
        })
    }

    /// Whether `rspawn` is among the services.
    pub fn has_rspawn(&self) -> bool {
        self.services.contains(&Piece::Service(RSPAWN))
    }

    /// The line with the switch where it is wanted.
    #[must_use]
    pub fn switched(mut self, switch: Switch) -> Self {
        match switch {
            Switch::On if !self.has_rspawn() => self.insert(),
            Switch::On => {}
            Switch::Off => while self.remove() {},
        }
        self
    }

    /// Appends the line to `text`.
    pub fn write_to(&self, text: &mut String) {
        text.push_str(self.head);
        for piece in &self.services {
            text.push_str(piece.text());
        }
        text.push_str(self.tail);
    }

    fn insert(&mut self) {
        let is_final = |piece: &Piece<'_>| matches!(piece, Piece::Service("resolve" | "dns"));
        let (at, new) = match self.services.iter().position(is_final) {
            Some(at) => (at, [Piece::Service(RSPAWN), Piece::Space(" ")]),
            None => (
                self.services
                    .iter()
                    .rposition(|piece| !piece.is_space())
                    .map_or(0, |at| at + 1),
                [Piece::Space(" "), Piece::Service(RSPAWN)],
            ),
        };
        self.services.splice(at..at, new);
    }

    /// Takes one `rspawn` with its actions and one space away, if there is one.
    fn remove(&mut self) -> bool {
        let rspawn = Piece::Service(RSPAWN);
        let Some(start) = self.services.iter().position(|piece| *piece == rspawn) else {
            return false;
        };
        let after: Vec<_> = self.services.split_off(start).into_iter().skip(1).collect();
        let next = after
            .iter()
            .position(|piece| matches!(piece, Piece::Service(_)));
        let actions = after
            .iter()
            .take(next.unwrap_or(after.len()))
            .rposition(|piece| matches!(piece, Piece::Actions(_)));
        let mut after = after
            .into_iter()
            .skip(actions.map_or(0, |last| last + 1))
            .peekable();
        if next.is_some() {
            if let Some(Piece::Space(space)) = after.peek_mut() {
                let mut rest = space.chars();
                rest.next();
                *space = rest.as_str();
            }
        } else if let Some(Piece::Space(space)) = self.services.last_mut() {
            let mut rest = space.chars();
            rest.next_back();
            *space = rest.as_str();
        }
        self.services.extend(after);
        true
    }
}

impl<'a> Piece<'a> {
    fn text(self) -> &'a str {
        match self {
            Self::Space(text) | Self::Service(text) | Self::Actions(text) => text,
        }
    }

    fn is_space(self) -> bool {
        matches!(self, Self::Space(_))
    }
}

fn pieces(mut text: &str) -> Option<Vec<Piece<'_>>> {
    let mut pieces = Vec::new();
    while let Some(first) = text.chars().next() {
        let end = if first == '[' {
            text.find(']')? + 1
        } else if is_space(first) {
            text.find(|c| !is_space(c)).unwrap_or(text.len())
        } else {
            text.find(|c| is_space(c) || c == '[').unwrap_or(text.len())
        };
        let (piece, rest) = text.split_at(end);
        pieces.push(match first {
            '[' => Piece::Actions(piece),
            first if is_space(first) => Piece::Space(piece),
            _ => Piece::Service(piece),
        });
        text = rest;
    }
    Some(pieces)
}

/// isspace(3) in the C locale.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}
