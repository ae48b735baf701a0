//! Writing the client's messages.

use std::net::{Ipv4Addr, SocketAddrV4};

use dhcproto::error::EncodeError;
use dhcproto::v4::{DhcpOption, Flags, Message, MessageType, OptionCode};
use dhcproto::{Encodable, v4};

use super::Transmit;
use super::config::ClientConfig;
use super::lease::Lease;
use super::options::code;
use crate::dhcp::{BROADCAST_MAC, CLIENT_PORT, SERVER_PORT};

/// The longest message that is accepted: an Ethernet packet less its IPv4 and UDP headers.
/// Some servers count them and some do not, and both are right with this.
const MAX_MESSAGE: u16 = 1472;
/// The shortest message that old servers and relays take (RFC 1542, section 2.1).
const SHORTEST: usize = 300;
/// The longest value that is sent: what one option holds.
const VALUE_MAX: usize = 255;

const NOWHERE: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

/// What is sent, with what RFC 2131, sections 4.3.6 and 4.4, table 5, want filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question<'a> {
    /// Who is there, and would I get this address?
    Discover(Option<Ipv4Addr>),
    /// I take the offer of this server.
    Select {
        /// The address that was offered.
        address: Ipv4Addr,
        /// The server that offered it.
        server: Ipv4Addr,
    },
    /// I had this address: may I use it?
    Reboot(Ipv4Addr),
    /// More time, please; to the server that gave the lease.
    Renew(&'a Lease),
    /// More time, please; to any server.
    Rebind(&'a Lease),
    /// I have found this in use by another host.
    Decline(&'a Lease),
    /// I need this no more.
    Release(&'a Lease),
    /// I have this address: what else is there to know?
    Inform(Ipv4Addr),
}

/// The number of an exchange, and for how many seconds the client has been at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The number.
    pub xid: u32,
    /// The seconds.
    pub secs: u16,
}

impl Question<'_> {
    fn kind(self) -> MessageType {
        match self {
            Self::Discover(_) => MessageType::Discover,
            Self::Select { .. } | Self::Reboot(_) | Self::Renew(_) | Self::Rebind(_) => {
                MessageType::Request
            }
            Self::Decline(_) => MessageType::Decline,
            Self::Release(_) => MessageType::Release,
            Self::Inform(_) => MessageType::Inform,
        }
    }

    /// The address that the client uses and answers ARP for.
    fn ciaddr(self) -> Ipv4Addr {
        match self {
            Self::Discover(_) | Self::Select { .. } | Self::Reboot(_) | Self::Decline(_) => NOWHERE,
            Self::Renew(lease) | Self::Rebind(lease) | Self::Release(lease) => lease.address.ip(),
            Self::Inform(address) => address,
        }
    }

    /// The lease whose server alone this is for.
    fn for_server(&self) -> Option<&Lease> {
        match self {
            Self::Renew(lease) | Self::Release(lease) => Some(lease),
            _ => None,
        }
    }

    /// What tells the server about address and server, where that is not in `ciaddr`.
    fn subject(self) -> Vec<DhcpOption> {
        let address = DhcpOption::RequestedIpAddress;
        let server = DhcpOption::ServerIdentifier;
        match self {
            Self::Discover(wish) => wish.map(address).into_iter().collect(),
            Self::Select {
                address: offered,
                server: by,
            } => vec![address(offered), server(by)],
            Self::Reboot(had) => vec![address(had)],
            Self::Renew(_) | Self::Rebind(_) | Self::Inform(_) => vec![],
            Self::Decline(lease) => vec![address(lease.address.ip()), server(lease.server)],
            Self::Release(lease) => vec![server(lease.server)],
        }
    }

    /// Whether there will be an answer with settings.
    fn is_answered(self) -> bool {
        !matches!(self, Self::Decline(_) | Self::Release(_))
    }
}

/// The datagram that asks `question`.
///
/// # Errors
/// If the message cannot be encoded; with options of sane length it always can.
pub fn transmit(
    config: &ClientConfig,
    head: Head,
    question: Question<'_>,
) -> Result<Transmit, EncodeError> {
    let (destination_mac, destination) = match question.for_server() {
        Some(lease) => (lease.server_mac, lease.server),
        None => (Some(BROADCAST_MAC), Ipv4Addr::BROADCAST),
    };
    Ok(Transmit {
        destination_mac,
        source: SocketAddrV4::new(question.ciaddr(), CLIENT_PORT),
        destination: SocketAddrV4::new(destination, SERVER_PORT),
        payload: encode(config, head, question)?,
    })
}

fn encode(
    config: &ClientConfig,
    head: Head,
    question: Question<'_>,
) -> Result<Vec<u8>, EncodeError> {
    let ciaddr = question.ciaddr();
    let (mac, none) = (config.mac.0, NOWHERE);
    let mut message = Message::new_with_id(head.xid, ciaddr, none, none, none, &mac);
    message.set_secs(head.secs);
    // A host that has its address can take what is sent to it.
    if config.broadcast_flag && ciaddr.is_unspecified() && question.is_answered() {
        message.set_flags(Flags::default().set_broadcast());
    }
    let mut bytes = message.to_vec()?;
    for option in options(config, question) {
        bytes.extend(option.to_vec()?);
    }
    bytes.push(v4::OptionCode::End.into());
    if bytes.len() < SHORTEST {
        bytes.resize(SHORTEST, code::PAD);
    }
    Ok(bytes)
}

fn options(config: &ClientConfig, question: Question<'_>) -> Vec<DhcpOption> {
    let mut options = vec![
        DhcpOption::MessageType(question.kind()),
        DhcpOption::ClientIdentifier(config.client_id()),
    ];
    options.extend(question.subject());
    if !question.is_answered() {
        return options;
    }
    options.push(DhcpOption::MaxMessageSize(MAX_MESSAGE));
    let wanted = config.parameters.iter().take(VALUE_MAX);
    let wanted: Vec<OptionCode> = wanted.copied().map(OptionCode::from).collect();
    if !wanted.is_empty() {
        options.push(DhcpOption::ParameterRequestList(wanted));
    }
    let sendable = |text: &&String| (1..=VALUE_MAX).contains(&text.len());
    let class = config.vendor_class.as_ref().filter(sendable);
    options.extend(class.map(|class| DhcpOption::ClassIdentifier(class.clone().into_bytes())));
    let hostname = config.hostname.as_ref().filter(sendable);
    options.extend(hostname.cloned().map(DhcpOption::Hostname));
    if config.rapid_commit && matches!(question, Question::Discover(_)) {
        options.push(DhcpOption::RapidCommit);
    }
    options
}
