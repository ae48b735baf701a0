//! What stands in a reply, and where it goes.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use registry::Mac;

use super::Transmit;
use super::code;
use super::config::ServerConfig;
use super::exchange::Exchange;
use super::request::Request;
use super::settings::{Settings, is_common};
use super::timers::{rebinding_time, renewal_time};
use super::writer::{Header, Opt, write};
use crate::dhcp::{BROADCAST_MAC, CLIENT_PORT, SERVER_PORT};

const ETHERNET_MTU: u16 = 1500;

/// Message types (RFC 2132, section 9.6).
const OFFER: u8 = 2;
const ACK: u8 = 5;
const NAK: u8 = 6;

/// What a reply says.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    /// This address can be had for so long.
    Offer(Ipv4Addr, Duration),
    /// This address is the client's for so long.
    Lease {
        /// The address.
        address: Ipv4Addr,
        /// For how long.
        time: Duration,
        /// Whether this is the answer to a DISCOVER (RFC 4039).
        rapid: bool,
    },
    /// The configuration for a client that has an address (RFC 2131, 4.3.5).
    Settings,
    /// The client must not use the address that it asked for.
    Refusal {
        /// Who says so: clients do not listen to another server than theirs.
        server: Ipv4Addr,
        /// Why not, for people.
        why: &'static str,
    },
}

/// The reply to what came in.
pub fn reply(
    config: &ServerConfig,
    settings: &Settings,
    exchange: &Exchange,
    answer: Answer,
) -> Transmit {
    let request = &exchange.request;
    let limit = request.reply_limit(config.mtu.unwrap_or(ETHERNET_MTU));
    let server = match answer {
        Answer::Refusal { server, .. } => server,
        _ => config.address(),
    };
    let (destination_mac, destination) = target(exchange, answer);
    Transmit {
        port: exchange.port,
        destination_mac,
        source: SocketAddrV4::new(server, SERVER_PORT),
        destination,
        payload: payload(config, settings, request, answer, server, limit),
    }
}

/// The fields by RFC 2131, section 4.3.1, table 3.
fn header(request: &Request, answer: Answer) -> Header {
    let none = Ipv4Addr::UNSPECIFIED;
    let (ciaddr, yiaddr) = match answer {
        Answer::Offer(address, _) => (none, address),
        Answer::Lease { address, .. } => (request.ciaddr, address),
        Answer::Settings => (request.ciaddr, none),
        Answer::Refusal { .. } => (none, none),
    };
    // RFC 2131, section 4.3.2: "If 'giaddr' is set in the DHCPREQUEST message, [...] the
    // server MUST set the broadcast bit in the DHCPNAK".
    let is_far_refusal = request.is_relayed() && matches!(answer, Answer::Refusal { .. });
    Header {
        xid: request.xid,
        broadcast: request.broadcast || is_far_refusal,
        ciaddr,
        yiaddr,
        giaddr: request.giaddr,
        chaddr: request.chaddr,
    }
}

/// The frame's and the datagram's destination by RFC 2131, section 4.1.
fn target(exchange: &Exchange, answer: Answer) -> (Mac, SocketAddrV4) {
    let request = &exchange.request;
    let client = |address| SocketAddrV4::new(address, CLIENT_PORT);
    let everybody = (BROADCAST_MAC, client(Ipv4Addr::BROADCAST));
    // "If the 'giaddr' field in a DHCP message from a client is non-zero, the server sends
    // any return messages to the 'DHCP server' port on the BOOTP relay agent whose address
    // appears in 'giaddr'." It is wherever its message came from.
    if request.is_relayed() {
        let relay = SocketAddrV4::new(request.giaddr, SERVER_PORT);
        return (exchange.source_mac, relay);
    }
    match answer {
        // "In all cases, when 'giaddr' is zero, the server broadcasts any DHCPNAK
        // messages to 0xffffffff."
        Answer::Refusal { .. } => everybody,
        // "If the 'giaddr' field is zero and the 'ciaddr' field is nonzero, then
        // the server unicasts DHCPOFFER and DHCPACK messages to the address in
        // 'ciaddr'."
        _ if !request.ciaddr.is_unspecified() => {
            // Who wrote to the server alone may be behind a router.
            let mac = if exchange.unicast {
                exchange.source_mac
            } else {
                request.chaddr
            };
            (mac, client(request.ciaddr))
        }
        // "If 'giaddr' is zero and 'ciaddr' is zero, and the broadcast bit is set,
        // then the server broadcasts DHCPOFFER and DHCPACK messages."
        _ if request.broadcast => everybody,
        // "If the broadcast bit is not set [...] then the server unicasts DHCPOFFER
        // and DHCPACK messages to the client's hardware address and 'yiaddr'
        // address."
        Answer::Offer(address, _) | Answer::Lease { address, .. } => {
            (request.chaddr, client(address))
        }
        Answer::Settings => everybody,
    }
}

/// The message, with the options that a client cannot do without first.
fn payload(
    config: &ServerConfig,
    settings: &Settings,
    request: &Request,
    answer: Answer,
    server: Ipv4Addr,
    limit: usize,
) -> Vec<u8> {
    let server = server.octets();
    let mask = config.network().mask().octets();
    let (kind, times) = match answer {
        Answer::Offer(_, time) => (OFFER, Some(lease_times(time))),
        Answer::Lease { time, .. } => (ACK, Some(lease_times(time))),
        Answer::Settings => (ACK, None),
        Answer::Refusal { .. } => (NAK, None),
    };
    let kind = [kind];
    let mut options: Vec<Opt<'_>> = vec![(code::MESSAGE_TYPE, &kind)];
    // RFC 6842, section 3: "If the 'client identifier' option is present in a
    // message received from a client, the server MUST return the 'client
    // identifier' option, unaltered, in its response message."
    if let Some(id) = &request.client_id {
        options.push((code::CLIENT_ID, id));
    }
    options.push((code::SERVER_ID, &server));
    if let Some([lease, renewal, rebinding]) = &times {
        options.push((code::LEASE_TIME, lease));
        options.push((code::RENEWAL, renewal));
        options.push((code::REBINDING, rebinding));
    }
    if let Answer::Lease { rapid: true, .. } = answer {
        options.push((code::RAPID_COMMIT, &[]));
    }
    if let Answer::Refusal { why, .. } = answer {
        options.push((code::MESSAGE, why.as_bytes()));
    } else {
        // RFC 2132, section 3.3: "If both the subnet mask and the router option are
        // specified in a DHCP reply, the subnet mask option MUST be first."
        options.push((code::SUBNET_MASK, &mask));
        let name = match answer {
            Answer::Offer(address, _) | Answer::Lease { address, .. } => {
                config.reserved_name(address)
            }
            _ => None,
        };
        wanted(settings, request, name, &mut options);
    }
    // RFC 3046, section 2.2: the server "SHALL echo the entire contents of the Relay Agent
    // Information option in all replies"; section 2.1: it "SHOULD be the last option".
    let agent = request.relay_agent.as_deref();
    let agent = agent.map(|agent| (code::RELAY_AGENT, agent));
    write(&header(request, answer), &options, agent, limit)
}

/// Adds of what is configured what the client is to be told.
fn wanted<'a>(
    settings: &'a Settings,
    request: &Request,
    name: Option<&'a str>,
    options: &mut Vec<Opt<'a>>,
) {
    let from = options.len();
    let name = name.filter(|_| !settings.has(code::HOSTNAME));
    let name = name.map(|name| (code::HOSTNAME, name.as_bytes()));
    let name = name.filter(|_| request.wants(code::HOSTNAME));
    // RFC 3442: who reads classless routes "MUST ignore" the router option.
    let by_routes =
        request.asks_for(code::CLASSLESS_ROUTES) && settings.has(code::CLASSLESS_ROUTES);
    for setting in settings.iter() {
        let is_wanted = match request.parameters {
            Some(_) => request.wants(setting.code),
            None => is_common(setting.code),
        };
        let is_double = setting.code == code::ROUTER && by_routes;
        if (is_wanted || setting.for_all) && !is_double {
            options.push((setting.code, &setting.value));
        }
    }
    options.extend(name);
    // RFC 2132, section 9.8: the server "MUST try to insert the requested options
    // in the order requested by the client."
    let (Some(order), Some(added)) = (&request.parameters, options.get_mut(from..)) else {
        return;
    };
    added.sort_by_cached_key(|(code, _)| {
        let place = order.iter().position(|wanted| wanted == code);
        place.unwrap_or(usize::MAX)
    });
}

/// Lease time, T1 and T2.
fn lease_times(lease: Duration) -> [[u8; 4]; 3] {
    // All ones would mean "for ever" (RFC 2131, section 3.3).
    let seconds = |time: Duration| {
        let seconds = u32::try_from(time.as_secs()).unwrap_or(u32::MAX - 1);
        seconds.to_be_bytes()
    };
    [
        seconds(lease),
        seconds(renewal_time(lease)),
        seconds(rebinding_time(lease)),
    ]
}
