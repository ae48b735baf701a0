//! The keys of a `.network` file that netd knows, one row each.

use super::client::{self, ClientProfile, Identity};
use super::criteria::Criteria;
use super::dhcp_server::{self, DhcpProfile};
use super::profile::{Addresses, Profile, Subnet4};
use super::relay::{self, RelayProfile};
use super::router::{self, PrefixProfile, RouteProfile, RouterProfile};
use crate::network_file::value::{boolean, bytes, number};
use crate::network_file::{Key, Wrong};

/// Below this a link has no IPv6 (RFC 8200, section 5).
const MTU_MIN: u32 = 1280;
const MTU_MAX: u32 = 65_535;
/// What a file has said so far.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub criteria: Criteria,
    pub addresses: Addresses,
    pub dhcp_server: Option<bool>,
    pub dhcp: DhcpProfile,
    pub mtu: Option<u32>,
    pub client: ClientProfile,
    pub router: RouterProfile,
    pub relay: RelayProfile,
}

impl Draft {
    /// What is to be of the links that it is for.
    pub fn profile(self, name: &str) -> Profile {
        Profile {
            name: name.to_owned(),
            v4: self.addresses.v4.unwrap_or(Subnet4::Usual),
            v6: self.addresses.v6,
            dhcp_server: self.dhcp_server.unwrap_or(true),
            dhcp: self.dhcp,
            mtu: self.mtu,
            client: self.client,
            router: self.router.bounded(),
            relay: Some(self.relay).filter(|relay| !relay.targets.is_empty()),
        }
    }
}

const fn key(
    section: &'static str,
    name: &'static str,
    set: fn(&mut Draft, &str) -> Result<(), Wrong>,
) -> Key<Draft> {
    Key { section, name, set }
}

/// The keys.
pub(super) const KEYS: &[Key<Draft>] = &[
    key("Match", "Name", |d, v| d.criteria.name.add(v)),
    key("Match", "Kind", |d, v| d.criteria.kind.add(v)),
    key("Match", "Driver", |d, v| d.criteria.driver.add(v)),
    key("Match", "Type", |d, v| d.criteria.link_type.add(v)),
    key("Match", "Host", |d, v| d.criteria.host.add(v)),
    key("Link", "MTUBytes", |d, v| {
        set(&mut d.mtu, v, None, |v| {
            bytes(v, MTU_MIN, MTU_MAX).map(Some)
        })
    }),
    key("Network", "Address", |d, v| d.addresses.add(v)),
    key("Network", "DHCPServer", |d, v| {
        set(&mut d.dhcp_server, v, None, |v| boolean(v).map(Some))
    }),
    key("DHCPServer", "DefaultLeaseTimeSec", |d, v| {
        set(&mut d.dhcp.lease_time, v, None, |v| {
            dhcp_server::lease_time(v).map(Some)
        })
    }),
    key("DHCPServer", "MaxLeaseTimeSec", |d, v| {
        set(&mut d.dhcp.max_lease_time, v, None, |v| {
            dhcp_server::lease_time(v).map(Some)
        })
    }),
    key("DHCPServer", "EmitRouter", |d, v| {
        set(&mut d.dhcp.emit_router, v, true, boolean)
    }),
    key("DHCPServer", "EmitDNS", |d, v| {
        set(&mut d.dhcp.emit_dns, v, true, boolean)
    }),
    key("DHCPServer", "DNS", |d, v| {
        dhcp_server::add_servers(&mut d.dhcp.dns, v, "name server")
    }),
    key("DHCPServer", "EmitNTP", |d, v| {
        set(&mut d.dhcp.emit_ntp, v, true, boolean)
    }),
    key("DHCPServer", "NTP", |d, v| {
        dhcp_server::add_servers(&mut d.dhcp.ntp, v, "time server")
    }),
    key("DHCPServer", "EmitTimezone", |d, v| {
        set(&mut d.dhcp.emit_timezone, v, true, boolean)
    }),
    key("DHCPServer", "Timezone", |d, v| {
        set(&mut d.dhcp.timezone, v, None, dhcp_server::timezone)
    }),
    key("DHCPServer", "EmitDomain", |d, v| {
        set(&mut d.dhcp.emit_domain, v, true, boolean)
    }),
    key("DHCPServer", "Domain", |d, v| {
        set(&mut d.dhcp.domain, v, None, |v| {
            dhcp_server::domain(v).map(Some)
        })
    }),
    key("DHCPServer", "SearchDomains", |d, v| {
        dhcp_server::add_domains(&mut d.dhcp.search, v)
    }),
    key("DHCPServer", "Route", |d, v| {
        dhcp_server::add_route(&mut d.dhcp.routes, v)
    }),
    key("DHCPServer", "CaptivePortal", |d, v| {
        set(&mut d.dhcp.captive_portal, v, None, client::text)
    }),
    key("DHCPServer", "SendOption", |d, v| {
        dhcp_server::add_option(&mut d.dhcp.options, v)
    }),
    key("DHCPServer", "RapidCommit", |d, v| {
        set(&mut d.dhcp.rapid_commit, v, true, boolean)
    }),
    key("DHCPServer", "PersistLeases", |d, v| {
        set(&mut d.dhcp.persist, v, true, boolean)
    }),
    key("DHCPServer", "PoolOffset", |d, v| {
        set(&mut d.dhcp.pool_offset, v, 0, |v| number(v, 0, u32::MAX))
    }),
    key("DHCPServer", "PoolSize", |d, v| {
        set(&mut d.dhcp.pool_size, v, 0, |v| number(v, 0, u32::MAX))
    }),
    key("DHCPServer", "MaxLeasesPerPort", |d, v| {
        let most = |v: &str| number(v, 1, u32::MAX).map(Some);
        set(&mut d.dhcp.max_per_port, v, None, most)
    }),
    key("DHCPServerStaticLease", "", |d, _| {
        dhcp_server::begin_static(&mut d.dhcp.static_leases)
    }),
    key("DHCPServerStaticLease", "MACAddress", |d, v| {
        let one = dhcp_server::last_static(&mut d.dhcp.static_leases)?;
        set(&mut one.mac, v, None, dhcp_server::mac)
    }),
    key("DHCPServerStaticLease", "Address", |d, v| {
        let one = dhcp_server::last_static(&mut d.dhcp.static_leases)?;
        set(&mut one.address, v, None, dhcp_server::host_address)
    }),
    key("DHCPServerStaticLease", "Hostname", |d, v| {
        let one = dhcp_server::last_static(&mut d.dhcp.static_leases)?;
        set(&mut one.hostname, v, None, |v| {
            dhcp_server::domain(v).map(Some)
        })
    }),
    key("Network", "DHCP", |d, v| {
        set(&mut d.client.dhcp, v, false, client::dhcp)
    }),
    key("Network", "LinkLocalAddressing", |d, v| {
        set(&mut d.client.link_local, v, false, client::link_local)
    }),
    key("Network", "KeepConfiguration", |d, v| {
        set(&mut d.client.keep, v, client::Keep::OnStop, client::keep)
    }),
    key(
        "Network",
        "IPv4DuplicateAddressDetectionTimeoutSec",
        |d, v| {
            let usual = ClientProfile::default().probe_time;
            set(&mut d.client.probe_time, v, usual, client::probe_time)
        },
    ),
    key("DHCPv4", "ClientIdentifier", |d, v| {
        set(&mut d.client.identity, v, Identity::Duid, client::identity)
    }),
    key("DHCPv4", "SendHostname", |d, v| {
        set(&mut d.client.send_hostname, v, true, boolean)
    }),
    key("DHCPv4", "Hostname", |d, v| {
        set(&mut d.client.hostname, v, None, client::text)
    }),
    key("DHCPv4", "VendorClassIdentifier", |d, v| {
        set(&mut d.client.vendor_class, v, None, client::text)
    }),
    key("DHCPv4", "RapidCommit", |d, v| {
        set(&mut d.client.rapid_commit, v, true, boolean)
    }),
    key("DHCPv4", "RequestBroadcast", |d, v| {
        set(&mut d.client.request_broadcast, v, false, boolean)
    }),
    key("DHCPv4", "RequestAddress", |d, v| {
        set(
            &mut d.client.request_address,
            v,
            None,
            client::request_address,
        )
    }),
    key("DHCPv4", "MaxAttempts", |d, v| {
        set(&mut d.client.max_attempts, v, None, client::max_attempts)
    }),
    key("DHCPv4", "SendRelease", |d, v| {
        set(&mut d.client.send_release, v, true, boolean)
    }),
    key("DHCPv4", "SendDecline", |d, v| {
        set(&mut d.client.send_decline, v, true, boolean)
    }),
    key("DHCPv4", "UseDNS", |d, v| {
        set(&mut d.client.use_dns, v, true, boolean)
    }),
    key("DHCPv4", "UseDomains", |d, v| {
        set(&mut d.client.use_domains, v, true, boolean)
    }),
    key("DHCPv4", "UseRoutes", |d, v| {
        set(&mut d.client.use_routes, v, true, boolean)
    }),
    key("DHCPv4", "UseGateway", |d, v| {
        set(&mut d.client.use_gateway, v, true, boolean)
    }),
    key("DHCPv4", "UseMTU", |d, v| {
        set(&mut d.client.use_mtu, v, true, boolean)
    }),
    key("DHCPv4", "UseHostname", |d, v| {
        set(&mut d.client.use_hostname, v, false, boolean)
    }),
    key("DHCPv4", "UseTimezone", |d, v| {
        set(&mut d.client.use_timezone, v, false, boolean)
    }),
    key("DHCPv4", "RouteMetric", |d, v| {
        let usual = ClientProfile::default().route_metric;
        set(&mut d.client.route_metric, v, usual, |v| {
            number(v, 0, u32::MAX)
        })
    }),
    key("DHCPServer", "BindToInterface", |d, v| {
        set(&mut d.dhcp.bind_to_interface, v, true, boolean)
    }),
    key("DHCPServer", "RelayTarget", |d, v| {
        relay::add_targets(&mut d.relay.targets, v)
    }),
    key("DHCPServer", "RelayAgentCircuitId", |d, v| {
        set(&mut d.relay.circuit, v, None, relay::id)
    }),
    key("DHCPServer", "RelayAgentRemoteId", |d, v| {
        set(&mut d.relay.remote_id, v, None, relay::id)
    }),
    key("Network", "IPv6SendRA", |d, v| {
        set(&mut d.router.send, v, true, boolean)
    }),
    key("IPv6SendRA", "Managed", |d, v| {
        set(&mut d.router.managed, v, false, boolean)
    }),
    key("IPv6SendRA", "OtherInformation", |d, v| {
        set(&mut d.router.other, v, false, boolean)
    }),
    key("IPv6SendRA", "RouterLifetimeSec", |d, v| {
        let usual = router::ROUTER_LIFETIME;
        set(&mut d.router.lifetime, v, usual, router::lifetime)
    }),
    key("IPv6SendRA", "RouterPreference", |d, v| {
        let usual = RouterProfile::default().preference;
        set(&mut d.router.preference, v, usual, router::preference)
    }),
    key("IPv6SendRA", "HopLimit", |d, v| {
        let usual = RouterProfile::default().hop_limit;
        set(&mut d.router.hop_limit, v, usual, router::hop_limit)
    }),
    key("IPv6SendRA", "ReachableTimeSec", |d, v| {
        set(&mut d.router.reachable_time, v, 0, router::milliseconds)
    }),
    key("IPv6SendRA", "RetransmitSec", |d, v| {
        set(&mut d.router.retransmit_time, v, 0, router::milliseconds)
    }),
    key("IPv6SendRA", "EmitDNS", |d, v| {
        set(&mut d.router.emit_dns, v, true, boolean)
    }),
    key("IPv6SendRA", "DNS", |d, v| {
        router::add_servers(&mut d.router.dns, v)
    }),
    key("IPv6SendRA", "EmitDomains", |d, v| {
        set(&mut d.router.emit_domains, v, true, boolean)
    }),
    key("IPv6SendRA", "Domains", |d, v| {
        router::add_domains(&mut d.router.domains, v)
    }),
    key("IPv6SendRA", "DNSLifetimeSec", |d, v| {
        let meaning = |v: &str| router::seconds(v).map(Some);
        set(&mut d.router.dns_lifetime, v, None, meaning)
    }),
    key("IPv6Prefix", "", |d, _| {
        router::begin(&mut d.router.prefixes)
    }),
    key("IPv6Prefix", "Prefix", |d, v| {
        let one = router::last(&mut d.router.prefixes)?;
        set(&mut one.network, v, None, router::prefix)
    }),
    key("IPv6Prefix", "OnLink", |d, v| {
        let one = router::last(&mut d.router.prefixes)?;
        set(&mut one.on_link, v, true, boolean)
    }),
    key("IPv6Prefix", "AddressAutoconfiguration", |d, v| {
        let one = router::last(&mut d.router.prefixes)?;
        set(&mut one.autonomous, v, true, boolean)
    }),
    key("IPv6Prefix", "PreferredLifetimeSec", |d, v| {
        let one = router::last(&mut d.router.prefixes)?;
        let usual = PrefixProfile::default().preferred;
        set(&mut one.preferred, v, usual, router::seconds)
    }),
    key("IPv6Prefix", "ValidLifetimeSec", |d, v| {
        let one = router::last(&mut d.router.prefixes)?;
        let usual = PrefixProfile::default().valid;
        set(&mut one.valid, v, usual, router::seconds)
    }),
    key("IPv6RoutePrefix", "", |d, _| {
        router::begin(&mut d.router.routes)
    }),
    key("IPv6RoutePrefix", "Route", |d, v| {
        let one = router::last(&mut d.router.routes)?;
        set(&mut one.network, v, None, router::route)
    }),
    key("IPv6RoutePrefix", "LifetimeSec", |d, v| {
        let one = router::last(&mut d.router.routes)?;
        let usual = RouteProfile::default().lifetime;
        set(&mut one.lifetime, v, usual, router::seconds)
    }),
];

/// Sets something to what a value means, or to what it is without one.
fn set<T>(
    place: &mut T,
    value: &str,
    without: T,
    meaning: impl FnOnce(&str) -> Result<T, Wrong>,
) -> Result<(), Wrong> {
    *place = if value.is_empty() {
        without
    } else {
        meaning(value)?
    };
    Ok(())
}
