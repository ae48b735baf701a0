//! Option 82 in a message, put in and taken out (RFC 3046).

const PAD: u8 = 0;
const AGENT: u8 = 82;
const END: u8 = 255;
const CIRCUIT_ID: u8 = 1;
const REMOTE_ID: u8 = 2;
/// The fixed fields and the cookie.
pub const HEADER_LEN: usize = 240;
const COOKIE: [u8; 4] = [99, 130, 83, 99];

/// A DHCP message, looked at as far as a relay does.
#[derive(Debug)]
pub struct Packet<'a> {
    /// The fixed fields with the cookie.
    pub header: [u8; HEADER_LEN],
    /// The options with the end of them, without option 82.
    options: Vec<u8>,
    /// Option 82, as it was.
    agent: Option<&'a [u8]>,
    /// The message type.
    pub kind: Option<u8>,
}

impl<'a> Packet<'a> {
    /// Takes a message apart; nothing, if it is not whole.
    pub fn parse(payload: &'a [u8]) -> Option<Self> {
        let (header, mut rest) = payload.split_first_chunk::<HEADER_LEN>()?;
        if !header.ends_with(&COOKIE) {
            return None;
        }
        let mut packet = Self {
            header: *header,
            options: Vec::with_capacity(rest.len()),
            agent: None,
            kind: None,
        };
        while let [code, after @ ..] = rest {
            if *code == END {
                break;
            }
            if *code == PAD {
                rest = after;
                continue;
            }
            let (len, after) = after.split_first()?;
            let (value, after) = after.split_at_checked(usize::from(*len))?;
            match (*code, value) {
                (AGENT, _) => packet.agent = Some(value),
                (code, value) => {
                    if let (53, [kind]) = (code, value) {
                        packet.kind = Some(*kind);
                    }
                    packet.options.extend([code, *len]);
                    packet.options.extend_from_slice(value);
                }
            }
            rest = after;
        }
        Some(packet)
    }

    /// Whether it has option 82.
    pub fn has_agent(&self) -> bool {
        self.agent.is_some()
    }

    /// The circuit id in option 82.
    pub fn circuit(&self) -> Option<&'a [u8]> {
        let mut agent = self.agent?;
        while let [code, len, rest @ ..] = agent {
            let (value, rest) = rest.split_at_checked(usize::from(*len))?;
            if *code == CIRCUIT_ID {
                return Some(value);
            }
            agent = rest;
        }
        None
    }

    /// The message without option 82.
    pub fn without_agent(&self) -> Vec<u8> {
        self.finish(&[])
    }

    /// The message with option 82 as it came, or as given if there was none.
    pub fn with_agent(&self, circuit: &[u8], remote: Option<&[u8]>) -> Option<Vec<u8>> {
        if let Some(agent) = self.agent {
            return Some(self.finish(&[&[AGENT, u8::try_from(agent.len()).ok()?], agent]));
        }
        let mut agent = Vec::new();
        for (code, value) in [(CIRCUIT_ID, Some(circuit)), (REMOTE_ID, remote)] {
            if let Some(value) = value {
                agent.extend([code, u8::try_from(value.len()).ok()?]);
                agent.extend_from_slice(value);
            }
        }
        Some(self.finish(&[&[AGENT, u8::try_from(agent.len()).ok()?], &agent]))
    }

    fn finish(&self, last: &[&[u8]]) -> Vec<u8> {
        let mut bytes = self.header.to_vec();
        bytes.extend_from_slice(&self.options);
        for part in last {
            bytes.extend_from_slice(part);
        }
        bytes.push(END);
        // RFC 1542, section 2.1: no BOOTP message is shorter.
        bytes.resize(bytes.len().max(300), PAD);
        bytes
    }
}
