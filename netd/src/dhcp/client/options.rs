//! Reading options.
//!
//! Not with `dhcproto`: its decoder stops at the first option that it dislikes, and knows no
//! overloaded fields.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::packet::PacketError;

/// Options that the client knows.
pub(super) mod code {
    pub(in super::super) const PAD: u8 = 0;
    pub(in super::super) const SUBNET_MASK: u8 = 1;
    pub(in super::super) const ROUTERS: u8 = 3;
    pub(in super::super) const DNS: u8 = 6;
    pub(in super::super) const HOSTNAME: u8 = 12;
    pub(in super::super) const DOMAIN: u8 = 15;
    pub(in super::super) const MTU: u8 = 26;
    pub(in super::super) const BROADCAST: u8 = 28;
    pub(in super::super) const NTP: u8 = 42;
    pub(in super::super) const LEASE_TIME: u8 = 51;
    pub(in super::super) const OVERLOAD: u8 = 52;
    pub(in super::super) const MESSAGE_TYPE: u8 = 53;
    pub(in super::super) const SERVER_ID: u8 = 54;
    pub(in super::super) const RENEWAL_TIME: u8 = 58;
    pub(in super::super) const REBINDING_TIME: u8 = 59;
    pub(in super::super) const CLIENT_ID: u8 = 61;
    pub(in super::super) const RAPID_COMMIT: u8 = 80;
    pub(in super::super) const POSIX_TIMEZONE: u8 = 100;
    pub(in super::super) const TIMEZONE: u8 = 101;
    pub(in super::super) const CAPTIVE_PORTAL: u8 = 114;
    pub(in super::super) const SEARCH: u8 = 119;
    pub(in super::super) const CLASSLESS_ROUTES: u8 = 121;
    pub(in super::super) const END: u8 = 255;
}

/// A message's options, parts of one joined (RFC 3396, section 7).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options(BTreeMap<u8, Vec<u8>>);

impl Options {
    /// Reads the options field and, where it says so, the fields of the file's and the
    /// server's name.
    pub fn parse(area: &[u8], file: &[u8], sname: &[u8]) -> Result<Self, PacketError> {
        let mut options = Self::default();
        options.collect(area)?;
        // RFC 2131, section 4.1: "The options in the 'options' field MUST be
        // interpreted first [...] The 'file' field MUST be interpreted next [...]
        // followed by the 'sname' field."
        let overload = options
            .fixed::<1>(code::OVERLOAD)?
            .map_or(0, |[value]| value);
        if overload & 1 != 0 {
            options.collect(file)?;
        }
        if overload & 2 != 0 {
            options.collect(sname)?;
        }
        Ok(options)
    }

    fn collect(&mut self, mut area: &[u8]) -> Result<(), PacketError> {
        while let Some((code, rest)) = area.split_first() {
            match *code {
                code::PAD => area = rest,
                code::END => break,
                code => {
                    let (len, rest) = rest.split_first().ok_or(PacketError::CutOff)?;
                    let (value, rest) = rest
                        .split_at_checked(usize::from(*len))
                        .ok_or(PacketError::CutOff)?;
                    self.0.entry(code).or_default().extend_from_slice(value);
                    area = rest;
                }
            }
        }
        Ok(())
    }

    /// An option's value.
    pub fn get(&self, code: u8) -> Option<&[u8]> {
        self.0.get(&code).map(Vec::as_slice)
    }

    /// An option of a fixed length; any other is an error.
    pub fn fixed<const N: usize>(&self, code: u8) -> Result<Option<[u8; N]>, PacketError> {
        self.get(code)
            .map(|value| value.try_into().map_err(|_| PacketError::WrongLength(code)))
            .transpose()
    }

    /// A number of 32 bits; another length is an error.
    pub fn number(&self, code: u8) -> Result<Option<u32>, PacketError> {
        Ok(self.fixed(code)?.map(u32::from_be_bytes))
    }

    /// One address; another length is an error.
    pub fn address(&self, code: u8) -> Result<Option<Ipv4Addr>, PacketError> {
        Ok(self.fixed::<4>(code)?.map(Ipv4Addr::from))
    }

    /// As many whole addresses as there are.
    pub fn addresses(&self, code: u8) -> impl Iterator<Item = Ipv4Addr> {
        let (addresses, _) = self.get(code).unwrap_or_default().as_chunks::<4>();
        addresses.iter().copied().map(Ipv4Addr::from)
    }
}
