//! Numbers of options (RFC 2132, and as named).
#![allow(missing_docs)]

pub const PAD: u8 = 0;
pub const SUBNET_MASK: u8 = 1;
pub const ROUTER: u8 = 3;
pub const DNS: u8 = 6;
pub const HOSTNAME: u8 = 12;
pub const DOMAIN: u8 = 15;
pub const MTU: u8 = 26;
pub const BROADCAST: u8 = 28;
pub const NTP: u8 = 42;
pub const REQUESTED_ADDRESS: u8 = 50;
pub const LEASE_TIME: u8 = 51;
pub const OVERLOAD: u8 = 52;
pub const MESSAGE_TYPE: u8 = 53;
pub const SERVER_ID: u8 = 54;
pub const PARAMETERS: u8 = 55;
pub const MESSAGE: u8 = 56;
pub const MAX_SIZE: u8 = 57;
pub const RENEWAL: u8 = 58;
pub const REBINDING: u8 = 59;
pub const CLIENT_ID: u8 = 61;
/// RFC 4039.
pub const RAPID_COMMIT: u8 = 80;
/// RFC 3046.
pub const RELAY_AGENT: u8 = 82;
/// RFC 4833.
pub const POSIX_TIME_ZONE: u8 = 100;
/// RFC 4833.
pub const TIME_ZONE: u8 = 101;
/// RFC 8910.
pub const CAPTIVE_PORTAL: u8 = 114;
/// RFC 3397.
pub const SEARCH_LIST: u8 = 119;
/// RFC 3442.
pub const CLASSLESS_ROUTES: u8 = 121;
pub const END: u8 = 255;

/// What the server says of each exchange: nobody sets it for all of them.
pub const OF_THE_EXCHANGE: [u8; 13] = [
    PAD,
    REQUESTED_ADDRESS,
    LEASE_TIME,
    OVERLOAD,
    MESSAGE_TYPE,
    SERVER_ID,
    PARAMETERS,
    MAX_SIZE,
    CLIENT_ID,
    RAPID_COMMIT,
    RELAY_AGENT,
    SUBNET_MASK,
    END,
];
