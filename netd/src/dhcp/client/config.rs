//! How a client behaves.

use std::net::Ipv4Addr;

use registry::Mac;

use super::identity::ClientId;
use super::options::code;
use super::timers::Timings;

/// What a client asks servers for (option 55) unless it is told otherwise, in the order of
/// its interest: routes before routers, as RFC 3442 wants it.
pub const DEFAULT_PARAMETERS: [u8; 17] = [
    code::SUBNET_MASK,
    code::CLASSLESS_ROUTES,
    code::ROUTERS,
    code::DNS,
    code::HOSTNAME,
    code::DOMAIN,
    code::MTU,
    code::BROADCAST,
    code::NTP,
    code::LEASE_TIME,
    code::SERVER_ID,
    code::RENEWAL_TIME,
    code::REBINDING_TIME,
    code::POSIX_TIMEZONE,
    code::TIMEZONE,
    code::CAPTIVE_PORTAL,
    code::SEARCH,
];

/// How a client behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// The link's Ethernet address.
    pub mac: Mac,
    /// Who the client says it is.
    pub client_id: ClientId,
    /// What it calls itself (option 12); not sent if longer than 255 bytes or empty.
    pub hostname: Option<String>,
    /// What kind of client it is (option 60); not sent if longer than 255 bytes or empty.
    pub vendor_class: Option<String>,
    /// The options that it asks for (option 55), 255 at most.
    pub parameters: Vec<u8>,
    /// Whether it takes an address without a second exchange (RFC 4039).
    pub rapid_commit: bool,
    /// Whether it asks for answers by broadcast: for links that deliver no packets to an
    /// address before it is set.
    pub broadcast_flag: bool,
    /// The address that it would like (option 50 of DISCOVER).
    pub request_address: Option<Ipv4Addr>,
    /// After how many DISCOVERs without success [`super::Event::NoAnswer`] comes; 0 for
    /// never.
    pub no_answer_after: u32,
    /// How many DISCOVERs it sends at most before it stops; for ever if `None`.
    pub max_attempts: Option<u32>,
    /// Whether the server is told when the address is needed no more.
    pub send_release: bool,
    /// Whether somebody looks for other holders of an address before it is used (RFC 5227):
    /// then [`super::Event::ToProbe`] comes first.
    pub conflict_detection: bool,
    /// Whether a saved lease that no server confirms is used until its end (RFC 2131,
    /// section 3.2, item 3), or given up. Its end is by the time of day: where somebody may
    /// have set the clock back, another host can have the address by then.
    pub keep_unconfirmed: bool,
    /// How long it waits for answers.
    pub timings: Timings,
}

impl ClientConfig {
    /// A client with this Ethernet address that takes what RFC 2131 makes of it.
    #[must_use]
    pub fn new(mac: Mac) -> Self {
        Self {
            mac,
            client_id: ClientId::Mac,
            hostname: None,
            vendor_class: None,
            parameters: DEFAULT_PARAMETERS.to_vec(),
            rapid_commit: true,
            broadcast_flag: false,
            request_address: None,
            no_answer_after: 3,
            max_attempts: None,
            send_release: true,
            conflict_detection: false,
            keep_unconfirmed: false,
            timings: Timings::RFC,
        }
    }

    /// The value of its client identifier (option 61).
    #[must_use]
    pub fn client_id(&self) -> Vec<u8> {
        self.client_id.to_bytes(self.mac)
    }
}
