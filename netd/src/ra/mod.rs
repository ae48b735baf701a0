//! Router advertisements (RFC 4861, section 6.2, with the options of RFC 4191, RFC 8106
//! and RFC 8910): how a host gives its containers an IPv6 prefix and name servers.
//!
//! [`Advertiser`] does no I/O and has no clock: [`Advertiser::handle`] takes the time and
//! an input, [`Advertiser::poll_output`] gives what is to be sent and told, and
//! [`Advertiser::deadline`] says when it wants to be called next. One speaks on one link;
//! [`RaWire`] serves those of all links.

mod advertisement;
mod bytes;
mod config;
mod domain;
mod frame;
mod machine;
mod option;
mod pace;
mod packet;
mod socket;
mod sys;
mod wire;

#[cfg(test)]
mod tests;

use std::net::Ipv6Addr;

use registry::Mac;

pub use config::{ConfigError, MAX_DOMAINS_LEN, RaConfig, RaSettings};
pub use domain::{DomainError, DomainName};
pub use frame::{group_station, parse as parse_frame};
pub use machine::Advertiser;
pub use option::{Dnssl, Lifetime, NdOption, Preference, Prefix, Rdnss, Route};
pub use pace::{
    MAX_INITIAL_RTR_ADVERT_INTERVAL, MAX_INITIAL_RTR_ADVERTISEMENTS, MAX_RA_DELAY_TIME,
    MIN_DELAY_BETWEEN_RAS, UNICAST_PER_SECOND,
};
pub use packet::{Advertisement, NdError, PACKET_MAX, Solicitation, checksum, with_checksum};
pub use socket::{Heard, RaSocket, RaSocketError};
pub use wire::{Leaving, RaWire, Solicited};

/// All hosts and routers of a link.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// All routers of a link.
pub const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// What happens to a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A host asked for an advertisement.
    Solicitation {
        /// Its address; `::` while it has none.
        source: Ipv6Addr,
        /// Its Ethernet address, if it said so.
        source_link_layer: Option<Mac>,
        /// The packet's hop limit: 255 if it comes from this link.
        hop_limit: u8,
    },
    /// Nothing but time has passed.
    Time,
    /// Something else is to be advertised from now on.
    ConfigChanged(RaConfig),
}

/// What a machine wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this advertisement from the link's link-local address, with hop limit 255.
    Send {
        /// [`ALL_NODES`], or the host that asked.
        destination: Ipv6Addr,
        /// The ICMPv6 message; its checksum, which depends on the source, is left to the
        /// kernel, or to [`with_checksum`].
        packet: Vec<u8>,
    },
    /// Tell this to whoever logs.
    Event(Event),
}

/// What others may want to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A solicitation was not answered.
    Ignored {
        /// Where it came from, by its own account.
        source: Ipv6Addr,
        /// Why.
        reason: Invalid,
    },
}

/// Why a solicitation is not answered (RFC 4861, section 6.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// "The IP Hop Limit field has a value of 255, i.e., the packet could not possibly
    /// have been forwarded by a router."
    #[error("the hop limit is {0}, so it may come from another link")]
    Forwarded(u8),
    /// "If the IP source address is the unspecified address, there is no source
    /// link-layer address option in the message."
    #[error("it tells an Ethernet address for no address")]
    LinkLayerOfNobody,
    /// No host has this address.
    #[error("it comes from an address that no host has")]
    NotAHost,
}
