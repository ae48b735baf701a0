//! What is said of a DHCP client, and of link-local addresses.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::network_file::value::{boolean, number, shown, time_span};
use crate::network_file::{Wrong, words};

/// How long is listened before an address counts as free, unless a file says otherwise.
const PROBE_TIME: Duration = Duration::from_millis(200);
/// The longest time for that.
const PROBE_TIME_MAX: Duration = Duration::from_secs(60);
/// The metric of routes that DHCP brings: behind those that are set by hand.
const ROUTE_METRIC: u32 = 1024;
/// The longest text that an option holds.
const TEXT_MAX: usize = 255;

/// What a DHCP client does on a link, and whether the link has a link-local address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientProfile {
    /// Whether there is a DHCP client.
    pub dhcp: bool,
    /// Whether the link has an address of 169.254.0.0/16 while it has no other.
    pub link_local: bool,
    /// How long is listened before an address counts as free.
    pub probe_time: Duration,
    /// Who the client says it is.
    pub identity: Identity,
    /// Whether it says what it is called.
    pub send_hostname: bool,
    /// What it is called; `None` for the host's name.
    pub hostname: Option<String>,
    /// What kind of client it says it is.
    pub vendor_class: Option<String>,
    /// Whether it takes an address without a second exchange (RFC 4039).
    pub rapid_commit: bool,
    /// Whether it asks for answers by broadcast.
    pub request_broadcast: bool,
    /// The address that it would like.
    pub request_address: Option<Ipv4Addr>,
    /// How often it asks before it stops; for ever if `None`.
    pub max_attempts: Option<u32>,
    /// Whether the address is given back when the client stops for good.
    pub send_release: bool,
    /// Whether it looks for other hosts that have the address, and declines it then.
    pub send_decline: bool,
    /// What stays of a lease when netd stops, or the lease ends.
    pub keep: Keep,
    /// Whether name servers are taken over.
    pub use_dns: bool,
    /// Whether the domain and the search list are.
    pub use_domains: bool,
    /// Whether routes are, other than the default route.
    pub use_routes: bool,
    /// Whether the default route is.
    pub use_gateway: bool,
    /// Whether the link's MTU is.
    pub use_mtu: bool,
    /// Whether the host's name is.
    pub use_hostname: bool,
    /// Whether its time zone is.
    pub use_timezone: bool,
    /// The metric of its routes.
    pub route_metric: u32,
}

/// Who a client says it is (option 61).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Its Ethernet address.
    Mac,
    /// The host, by its machine id, and the link (RFC 4361).
    Duid,
}

/// What stays of a lease (`KeepConfiguration=`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Nothing: it is given back when netd stops.
    Nothing,
    /// Addresses and routes stay when netd stops, for as long as the lease lasts.
    OnStop,
    /// They stay when the lease has ended as well, until there is another.
    Always,
}

impl Default for ClientProfile {
    fn default() -> Self {
        Self {
            dhcp: false,
            link_local: false,
            probe_time: PROBE_TIME,
            identity: Identity::Duid,
            send_hostname: true,
            hostname: None,
            vendor_class: None,
            rapid_commit: true,
            request_broadcast: false,
            request_address: None,
            max_attempts: None,
            send_release: true,
            send_decline: true,
            keep: Keep::OnStop,
            use_dns: true,
            use_domains: true,
            use_routes: true,
            use_gateway: true,
            use_mtu: true,
            use_hostname: false,
            use_timezone: false,
            route_metric: ROUTE_METRIC,
        }
    }
}

impl ClientProfile {
    /// Whether there is anything to do on the link.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.dhcp || self.link_local
    }
}

/// `DHCP=`: netd has a client for IPv4.
pub(super) fn dhcp(value: &str) -> Result<bool, Wrong> {
    match value {
        "ipv4" => Ok(true),
        "ipv6" => Err(Wrong::new(
            "netd has no client for DHCPv6: write yes, no or ipv4",
        )),
        _ => boolean(value),
    }
}

/// `LinkLocalAddressing=`: IPv6 has its own from the kernel.
pub(super) fn link_local(value: &str) -> Result<bool, Wrong> {
    match value {
        "ipv4" | "fallback" | "ipv4-fallback" => Ok(true),
        "ipv6" => Ok(false),
        _ => boolean(value),
    }
}

/// `KeepConfiguration=`. What others have set, which is what `static` is about, netd never
/// removes.
pub(super) fn keep(value: &str) -> Result<Keep, Wrong> {
    match value {
        "dhcp-on-stop" | "dynamic-on-stop" => Ok(Keep::OnStop),
        "dhcp" | "dynamic" => Ok(Keep::Always),
        "static" => Ok(Keep::Nothing),
        _ => boolean(value).map(|keep| if keep { Keep::Always } else { Keep::Nothing }),
    }
}

/// `ClientIdentifier=`.
pub(super) fn identity(value: &str) -> Result<Identity, Wrong> {
    match value {
        "mac" => Ok(Identity::Mac),
        "duid" => Ok(Identity::Duid),
        _ => Err(Wrong::new(format!(
            "\"{}\" is neither mac nor duid",
            shown(value)
        ))),
    }
}

/// `IPv4DuplicateAddressDetectionTimeoutSec=`.
pub(super) fn probe_time(value: &str) -> Result<Duration, Wrong> {
    let time = time_span(value)?;
    if (Duration::from_millis(1)..=PROBE_TIME_MAX).contains(&time) {
        Ok(time)
    } else {
        Err(Wrong::new("it takes from 1ms to 60s"))
    }
}

/// `MaxAttempts=`.
pub(super) fn max_attempts(value: &str) -> Result<Option<u32>, Wrong> {
    match value {
        "infinity" => Ok(None),
        _ => number(value, 1, u32::MAX).map(Some),
    }
}

/// `RequestAddress=`.
pub(super) fn request_address(value: &str) -> Result<Option<Ipv4Addr>, Wrong> {
    let usable = |ip: &Ipv4Addr| !ip.is_unspecified() && !ip.is_multicast() && !ip.is_loopback();
    let address = value.parse().ok().filter(usable).ok_or_else(|| {
        let text = format!("\"{}\" is no IPv4 address of a host", shown(value));
        Wrong::new(text)
    });
    address.map(Some)
}

/// `Hostname=` and `VendorClassIdentifier=`: one word of printable characters.
pub(super) fn text(value: &str) -> Result<Option<String>, Wrong> {
    let words = words(value)?;
    match words.as_slice() {
        [word] if word.len() <= TEXT_MAX && word.bytes().all(|b| b.is_ascii_graphic()) => {
            Ok(Some(word.clone()))
        }
        _ => Err(Wrong::new(format!(
            "\"{}\" is no word of 1 to {TEXT_MAX} printable characters",
            shown(value)
        ))),
    }
}
