//! What is configured for clients, as options.

use std::net::Ipv4Addr;

use super::code;
use super::config::{Route, ServerConfig};

/// RFC 2132, section 5.1: "The minimum legal value for the MTU is 68."
const SMALLEST_MTU: u16 = 68;
/// The longest domain name that is handed out (RFC 1035, section 2.3.4).
const DOMAIN_MAX: usize = 255;
/// The longest label of one.
const LABEL_MAX: usize = 63;
/// What clients are told that do not say what they want: what nearly all of them know.
const COMMON: [u8; 7] = [
    code::ROUTER,
    code::DNS,
    code::HOSTNAME,
    code::DOMAIN,
    code::MTU,
    code::BROADCAST,
    code::NTP,
];

/// All that is configured, the most useful first.
#[derive(Clone, Debug)]
pub struct Settings(Vec<Setting>);

/// An option as it is configured.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Its number.
    pub code: u8,
    /// Its value.
    pub value: Vec<u8>,
    /// Whether it goes to clients that have not asked for it.
    pub for_all: bool,
}

impl Settings {
    /// The options of `config`.
    pub fn new(config: &ServerConfig) -> Self {
        let mut settings = Self(Vec::new());
        settings.add_own(config);
        for option in &config.options {
            let code = option.code();
            settings.0.retain(|setting| setting.code != code);
            settings.0.push(Setting {
                code,
                value: option.value().to_vec(),
                for_all: true,
            });
        }
        settings
    }

    fn add_own(&mut self, config: &ServerConfig) {
        let router: Vec<Ipv4Addr> = config.router.into_iter().collect();
        self.add(code::ROUTER, addresses(&router));
        self.add(code::DNS, addresses(&config.dns));
        let domain = config.domain.as_deref().unwrap_or_default();
        self.add_text(
            code::DOMAIN,
            Some(domain).filter(|name| name.len() <= DOMAIN_MAX),
        );
        let mtu = config.mtu.filter(|mtu| *mtu >= SMALLEST_MTU);
        self.add(
            code::MTU,
            mtu.map(u16::to_be_bytes).into_iter().flatten().collect(),
        );
        let broadcast = config.network().broadcast();
        self.add(code::BROADCAST, broadcast.octets().to_vec());
        self.add(
            code::CLASSLESS_ROUTES,
            routes(&config.routes, config.router),
        );
        self.add(code::NTP, addresses(&config.ntp));
        self.add(code::SEARCH_LIST, search_list(&config.search));
        self.add_text(code::POSIX_TIME_ZONE, config.posix_time_zone.as_deref());
        self.add_text(code::TIME_ZONE, config.time_zone.as_deref());
        self.add_text(code::CAPTIVE_PORTAL, config.captive_portal.as_deref());
    }

    fn add_text(&mut self, code: u8, text: Option<&str>) {
        self.add(code, text.unwrap_or_default().as_bytes().to_vec());
    }

    /// Adds an option, if it says anything.
    fn add(&mut self, code: u8, value: Vec<u8>) {
        if !value.is_empty() {
            self.0.push(Setting {
                code,
                value,
                for_all: false,
            });
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Setting> {
        self.0.iter()
    }

    /// Whether there is an option with this number.
    pub fn has(&self, code: u8) -> bool {
        self.0.iter().any(|setting| setting.code == code)
    }
}

/// Whether clients are told of an option that do not say what they want.
pub fn is_common(code: u8) -> bool {
    COMMON.contains(&code)
}

fn addresses(addresses: &[Ipv4Addr]) -> Vec<u8> {
    addresses.iter().flat_map(Ipv4Addr::octets).collect()
}

/// RFC 3442: each network by its prefix length and as many bytes as that needs, and its
/// router. The default route is among them: who reads them does not look at option 3.
fn routes(routes: &[Route], router: Option<Ipv4Addr>) -> Vec<u8> {
    let mut value = Vec::new();
    for Route {
        destination,
        gateway,
    } in routes
    {
        let length = destination.prefix();
        value.push(length);
        let network = destination.network().octets();
        value.extend(network.iter().take(usize::from(length.div_ceil(8))));
        value.extend(gateway.octets());
    }
    let has_default = routes.iter().any(|route| route.destination.prefix() == 0);
    if let Some(router) = router.filter(|_| !has_default && !routes.is_empty()) {
        value.push(0);
        value.extend(router.octets());
    }
    value
}

/// RFC 3397: names as in DNS messages, none of them compressed. What is no name is left out.
fn search_list(names: &[String]) -> Vec<u8> {
    names
        .iter()
        .filter_map(|name| encode_name(name))
        .flatten()
        .collect()
}

fn encode_name(name: &str) -> Option<Vec<u8>> {
    let mut value = Vec::new();
    for label in name.strip_suffix('.').unwrap_or(name).split('.') {
        if !(1..=LABEL_MAX).contains(&label.len()) {
            return None;
        }
        value.push(u8::try_from(label.len()).ok()?);
        value.extend(label.as_bytes());
    }
    value.push(0);
    (value.len() <= DOMAIN_MAX).then_some(value)
}
