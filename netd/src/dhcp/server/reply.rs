//! What stands in a reply, and where it goes.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use dhcproto::error::EncodeError;
use dhcproto::v4::{DhcpOption, MessageType, OptionCode};
use registry::Mac;

use super::Transmit;
use super::config::ServerConfig;
use super::packet::{ReplyHeader, Request, encode};
use super::timers::{rebinding_time, renewal_time};
use crate::dhcp::{BROADCAST_MAC, CLIENT_PORT, SERVER_PORT};

/// RFC 2132, section 5.1: "The minimum legal value for the MTU is 68."
const SMALLEST_MTU: u16 = 68;
const ETHERNET_MTU: u16 = 1500;
/// The longest domain name that is handed out (RFC 1035, section 2.3.4).
const DOMAIN_MAX: usize = 255;

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
    /// The client must not use the address that it asked for, says the server with
    /// this address: clients do not listen to another than theirs.
    Refusal(Ipv4Addr),
}

/// The reply to `request`.
///
/// # Errors
/// If the message cannot be encoded; with options of sane length it always can.
pub fn reply(
    config: &ServerConfig,
    request: &Request,
    answer: Answer,
) -> Result<Transmit, EncodeError> {
    let header = header(request, answer);
    let options = options(config, request, answer);
    let limit = request.reply_limit(config.mtu.unwrap_or(ETHERNET_MTU));
    let (destination_mac, destination) = target(request, answer);
    Ok(Transmit {
        destination_mac,
        source: SocketAddrV4::new(server(config, answer), SERVER_PORT),
        destination: SocketAddrV4::new(destination, CLIENT_PORT),
        payload: encode(request, header, &options, limit)?,
    })
}

/// Who speaks.
fn server(config: &ServerConfig, answer: Answer) -> Ipv4Addr {
    match answer {
        Answer::Refusal(server) => server,
        _ => config.address(),
    }
}

/// The fields by RFC 2131, section 4.3.1, table 3.
fn header(request: &Request, answer: Answer) -> ReplyHeader {
    let none = Ipv4Addr::UNSPECIFIED;
    let (kind, ciaddr, yiaddr) = match answer {
        Answer::Offer(address, _) => (MessageType::Offer, none, address),
        Answer::Lease { address, .. } => (MessageType::Ack, request.ciaddr, address),
        Answer::Settings => (MessageType::Ack, request.ciaddr, none),
        Answer::Refusal(_) => (MessageType::Nak, none, none),
    };
    ReplyHeader {
        kind,
        ciaddr,
        yiaddr,
    }
}

/// The frame's and the datagram's destination by RFC 2131, section 4.1, without
/// relays.
fn target(request: &Request, answer: Answer) -> (Mac, Ipv4Addr) {
    let everybody = (BROADCAST_MAC, Ipv4Addr::BROADCAST);
    match answer {
        // "In all cases, when 'giaddr' is zero, the server broadcasts any DHCPNAK
        // messages to 0xffffffff."
        Answer::Refusal(_) => everybody,
        // "If the 'giaddr' field is zero and the 'ciaddr' field is nonzero, then
        // the server unicasts DHCPOFFER and DHCPACK messages to the address in
        // 'ciaddr'."
        _ if !request.ciaddr.is_unspecified() => (request.chaddr, request.ciaddr),
        // "If 'giaddr' is zero and 'ciaddr' is zero, and the broadcast bit is set,
        // then the server broadcasts DHCPOFFER and DHCPACK messages."
        _ if request.broadcast => everybody,
        // "If the broadcast bit is not set [...] then the server unicasts DHCPOFFER
        // and DHCPACK messages to the client's hardware address and 'yiaddr'
        // address."
        Answer::Offer(address, _) | Answer::Lease { address, .. } => (request.chaddr, address),
        Answer::Settings => everybody,
    }
}

/// The options, those that a client cannot do without first.
fn options(config: &ServerConfig, request: &Request, answer: Answer) -> Vec<DhcpOption> {
    let mut options = vec![DhcpOption::ServerIdentifier(server(config, answer))];
    match answer {
        Answer::Refusal(_) => return options,
        Answer::Settings => {}
        Answer::Offer(_, time) => lease_times(time, &mut options),
        Answer::Lease { time, rapid, .. } => {
            lease_times(time, &mut options);
            if rapid {
                options.push(DhcpOption::RapidCommit);
            }
        }
    }
    // RFC 2132, section 3.3: "If both the subnet mask and the router option are
    // specified in a DHCP reply, the subnet mask option MUST be first."
    options.push(DhcpOption::SubnetMask(config.network().mask()));
    let mut settings = settings(config);
    settings.retain(|option| request.wants(OptionCode::from(option)));
    // RFC 2132, section 9.8: the server "MUST try to insert the requested options
    // in the order requested by the client."
    if let Some(order) = &request.parameters {
        settings.sort_by_key(|option| {
            let code = u8::from(OptionCode::from(option));
            order.iter().position(|wanted| *wanted == code)
        });
    }
    options.append(&mut settings);
    options
}

fn lease_times(lease: Duration, options: &mut Vec<DhcpOption>) {
    // All ones would mean "for ever" (RFC 2131, section 3.3).
    let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX - 1);
    options.extend([
        DhcpOption::AddressLeaseTime(seconds(lease)),
        DhcpOption::Renewal(seconds(renewal_time(lease))),
        DhcpOption::Rebinding(seconds(rebinding_time(lease))),
    ]);
}

/// All that is configured, the most useful first.
fn settings(config: &ServerConfig) -> Vec<DhcpOption> {
    let domain = config
        .domain
        .as_ref()
        .filter(|name| (1..=DOMAIN_MAX).contains(&name.len()));
    let mut settings = Vec::new();
    settings.extend(config.router.map(|router| DhcpOption::Router(vec![router])));
    if !config.dns.is_empty() {
        settings.push(DhcpOption::DomainNameServer(config.dns.clone()));
    }
    settings.extend(domain.cloned().map(DhcpOption::DomainName));
    settings.extend(
        config
            .mtu
            .filter(|mtu| *mtu >= SMALLEST_MTU)
            .map(DhcpOption::InterfaceMtu),
    );
    settings.push(DhcpOption::BroadcastAddr(config.network().broadcast()));
    settings
}
