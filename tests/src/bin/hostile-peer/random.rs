//! Numbers that differ: a flood need not be secret, but the same each time.

/// Marsaglia's xorshift64.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// Always the same sequence.
    pub fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.number() % end as u64) as usize
    }

    /// Some bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        for part in bytes.chunks_mut(8) {
            let number = self.number().to_ne_bytes();
            part.copy_from_slice(&number[..part.len()]);
        }
        bytes
    }

    /// So many bytes.
    pub fn some(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.number() as u8).collect()
    }

    /// A station's address of its own making.
    pub fn mac(&mut self) -> [u8; 6] {
        let mut mac = self.bytes::<6>();
        mac[0] = (mac[0] & 0xfe) | 2;
        mac
    }
}
