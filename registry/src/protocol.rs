//! What a supervisor and netd say to each other: one JSON object a message, each
//! with the version of the protocol.
//!
//! The supervisor connects, sends [`FromSupervisor::Register`] with the
//! descriptors, and gets [`ToSupervisor::Registered`] or [`ToSupervisor::Refused`].
//! Where that asked for something to be set on `host0`, it says
//! [`FromSupervisor::Configured`] when it is, and may ask for [`ToSupervisor::Published`].
//! It keeps the connection while the container lives and ends with
//! [`FromSupervisor::Goodbye`]; a connection that ends without it is a crash.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use crate::MachineName;

/// The version of the protocol.
pub const VERSION: u32 = 1;

/// The longest message, in bytes.
pub const MESSAGE_MAX: usize = 16 * 1024;

/// The most descriptors that a message carries.
pub const DESCRIPTORS_MAX: usize = 4;

/// How long netd may take to answer a registration before the supervisor goes on
/// without it, in milliseconds.
pub const ANSWER_TIMEOUT_MS: u64 = 2000;

/// A message from a supervisor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum FromSupervisor {
    /// A container is there. Descriptors: the leader's pidfd, then, with a network
    /// namespace of its own, a NETLINK_ROUTE socket that was opened inside it.
    Register(Registration),
    /// What [`Registered::host0`] asked for is set: whoever resolves the name from now
    /// on reaches the container at the first try.
    Configured(Configured),
    /// The container ended and its supervisor has cleaned up.
    Goodbye,
}

/// A message from netd.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ToSupervisor {
    /// The machine is registered.
    Registered(Registered),
    /// The machine is not registered, and the connection ends.
    Refused(Refusal),
    /// The machine's name resolves; the answer to a [`Configured`] that asked for it.
    Published,
}

/// What a container's end of its link is set to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configured {
    /// Whether the supervisor is to be told when the machine's name resolves.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub answer: bool,
}

/// What netd learns of a container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Registration {
    /// The machine's name.
    #[serde(with = "name_as_text")]
    pub name: MachineName,
    /// The manager, `rspawn`.
    pub service: String,
    /// Machine id, 32 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The tree's directory on the host.
    pub root: String,
    /// The payload's cgroup as proc_pid_cgroup(5) names it, beginning with `/`;
    /// empty where it has none of its own.
    pub cgroup: String,
    /// How the container is attached.
    pub network: Network,
    /// Whether nothing of this name is to be remembered after its end.
    #[serde(default)]
    pub ephemeral: bool,
    /// Whether the container runs already, and netd is new: nothing is configured
    /// then, netd only takes up what there is.
    #[serde(default)]
    pub running: bool,
}

/// How a container is attached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Network {
    /// It shares the host's network.
    Host,
    /// A network namespace of its own with nothing but loopback.
    Private,
    /// A veth with a subnet of its own; `ifindex` is that of the host's end.
    Veth {
        /// Interface index of the host's end.
        ifindex: u32,
    },
    /// A veth whose host's end, `ifindex`, is a port of `bridge`.
    Bridge {
        /// Interface index of the host's end.
        ifindex: u32,
        /// Interface index of the bridge.
        bridge: u32,
    },
    /// A veth whose host's end, `ifindex`, is a port of a zone's `bridge`: netd gives it
    /// its addresses.
    Zone {
        /// Interface index of the host's end.
        ifindex: u32,
        /// Interface index of the bridge.
        bridge: u32,
    },
}

/// netd's answer to a registration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Registered {
    /// What the supervisor sets on `host0` before the payload starts; none where
    /// netd does not manage the container's addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host0: Option<Host0>,
}

/// The configuration of a container's end of its link.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Host0 {
    /// Addresses with the length of their subnet's prefix.
    pub addresses: Vec<IpNetwork>,
    /// Routes, by `host0` all of them.
    pub routes: Vec<Route>,
    /// Name servers, in order.
    pub dns: Vec<IpAddr>,
    /// Domain in which unqualified names are looked up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Maximum transmission unit in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
}

/// A route of a container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// Where to.
    pub destination: IpNetwork,
    /// The next hop.
    pub gateway: IpAddr,
    /// The source address of what the container sends this way; set so that newer
    /// systemd-networkd takes address and route for its own (protocol `dhcp`).
    pub preferred_source: IpAddr,
}

/// Why a registration was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// For programs.
    pub reason: RefusalReason,
    /// For people: a sentence.
    pub message: String,
}

/// Why a registration was refused, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalReason {
    /// A machine of this name runs.
    NameInUse,
    /// The caller may not register machines.
    NotAllowed,
    /// The message or its descriptors are wrong.
    BadRequest,
    /// netd cannot serve more machines, or could not set up the link.
    Failed,
}

#[derive(Serialize)]
struct Outgoing<'a, T> {
    v: u32,
    #[serde(flatten)]
    message: &'a T,
}

#[derive(Deserialize)]
struct Version {
    v: u32,
}

/// A message that is not of this protocol.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// The other side speaks another version.
    #[error(
        "the other side speaks version {0} of the protocol, this one version {VERSION}: are rspawn and netd of the same release?"
    )]
    Version(u32),
    /// Not a message.
    #[error("the message is malformed")]
    Malformed(#[source] serde_json::Error),
    /// Too long a message.
    #[error("the message has {0} bytes, more than {MESSAGE_MAX}")]
    TooLong(usize),
}

/// The bytes of a message.
///
/// # Errors
/// The message is too long, or holds what JSON cannot.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, ProtocolError> {
    let bytes = serde_json::to_vec(&Outgoing {
        v: VERSION,
        message,
    })
    .map_err(ProtocolError::Malformed)?;
    if bytes.len() > MESSAGE_MAX {
        Err(ProtocolError::TooLong(bytes.len()))
    } else {
        Ok(bytes)
    }
}

/// The message that bytes are.
///
/// # Errors
/// The bytes are not a message of this version.
pub fn decode<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, ProtocolError> {
    let version: Version = serde_json::from_slice(bytes).map_err(ProtocolError::Malformed)?;
    if version.v != VERSION {
        return Err(ProtocolError::Version(version.v));
    }
    serde_json::from_slice(bytes).map_err(ProtocolError::Malformed)
}

mod name_as_text {
    use super::MachineName;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(name: &MachineName, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(name.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<MachineName, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn registration() -> FromSupervisor {
        FromSupervisor::Register(Registration {
            name: "web".parse().unwrap(),
            service: "rspawn".into(),
            id: None,
            root: "/srv/web".into(),
            cgroup: "/machine.slice/machine-web.scope".into(),
            network: Network::Veth { ifindex: 4 },
            ephemeral: false,
            running: false,
        })
    }

    #[test]
    fn messages_read_back() {
        let bytes = encode(&registration()).unwrap();
        assert!(bytes.starts_with(br#"{"v":1,"type":"register","name":"web""#));
        assert_eq!(decode::<FromSupervisor>(&bytes).unwrap(), registration());
    }

    #[test]
    fn who_asks_for_no_answer_says_so_as_ever() {
        let plain = FromSupervisor::Configured(Configured::default());
        let bytes = encode(&plain).unwrap();
        assert_eq!(bytes, br#"{"v":1,"type":"configured"}"#);
        assert_eq!(decode::<FromSupervisor>(&bytes).unwrap(), plain);
        let asking = FromSupervisor::Configured(Configured { answer: true });
        assert_eq!(
            decode::<FromSupervisor>(&encode(&asking).unwrap()).unwrap(),
            asking
        );
    }

    #[test]
    fn another_version_is_told() {
        let error = decode::<FromSupervisor>(br#"{"v":2,"type":"hello"}"#).unwrap_err();
        assert!(matches!(error, ProtocolError::Version(2)));
    }

    #[test]
    fn a_wrong_name_is_refused() {
        let bytes = encode(&registration()).unwrap();
        let text = String::from_utf8(bytes)
            .unwrap()
            .replace("\"web\"", "\"../web\"");
        assert!(decode::<FromSupervisor>(text.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn decoding_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode::<FromSupervisor>(&bytes);
            let _ = decode::<ToSupervisor>(&bytes);
        }
    }
}
