//! A saved lease as a text: lines of `KEY=VALUE`, and `END` as the last one, without which
//! it is not whole.
//!
//! ```text
//! MAC=02:00:00:00:00:01
//! CLIENT_ID=01020000000001
//! ADDRESS=192.168.7.2/28
//! SERVER=192.168.7.1
//! ACQUIRED=1795359600.250
//! LIFETIME=3600.000
//! RENEWAL=1800.000
//! REBINDING=3150.000
//! ROUTE=0.0.0.0/0 192.168.7.1
//! DNS=9.9.9.9
//! END
//! ```
//!
//! Times are in seconds, ACQUIRED since 1970. LIFETIME may be "forever". ROUTE, ROUTER, DNS,
//! NTP and SEARCH come once for each of what they name.

use std::fmt::{Display, Write};
use std::net::Ipv4Addr;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ipnetwork::Ipv4Network;
use registry::Mac;

use super::lease::{SavedLease, check};
use super::names;
use super::packet::is_host;
use super::settings::{ADDRESSES_MAX, ROUTES_MAX, Route, Settings, normal};
use super::timers::{Limits, Times};

const END: &str = "END";
const FOREVER: &str = "forever";
/// The longest client identifier: what one option holds.
const CLIENT_ID_MAX: usize = 255;

/// A text is no saved lease.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseFileError {
    /// A line is not of the form KEY=VALUE, or the key is none that is known.
    #[error(
        "line {line}: not a setting that is known: the file was not written by netd, or is damaged"
    )]
    Unknown {
        /// Which line, from 1.
        line: usize,
    },
    /// A value is not what its key stands for.
    #[error("line {line}: this is no {key}: the file is damaged")]
    Value {
        /// Which line, from 1.
        line: usize,
        /// The key.
        key: &'static str,
    },
    /// A key comes again that comes once.
    #[error("line {line}: {key} is there twice: the file is damaged")]
    Twice {
        /// Which line, from 1.
        line: usize,
        /// The key.
        key: &'static str,
    },
    /// The last line is missing, or something follows it.
    #[error("line {line}: the file does not end where it should: it was not written as a whole")]
    End {
        /// Which line, from 1.
        line: usize,
    },
    /// A line is missing without which there is no lease.
    #[error("line {line}: the file ends, and there is no {key} in it")]
    Missing {
        /// The last line.
        line: usize,
        /// The key.
        key: &'static str,
    },
}

impl SavedLease {
    /// The lease as a text, with the time of day at which it is of its `age`.
    #[must_use]
    pub fn to_text(&self, wall: SystemTime) -> String {
        let mut text = Text::default();
        text.line("MAC", self.mac);
        text.line("CLIENT_ID", hex(&self.client_id));
        text.line("ADDRESS", self.address);
        text.line("SERVER", self.server);
        text.lines("SERVER_MAC", self.server_mac);
        let since_1970 = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        let acquired = self.age.map(|age| since_1970.saturating_sub(age));
        text.lines("ACQUIRED", acquired.map(seconds));
        match self.times {
            Times::Forever => text.line("LIFETIME", FOREVER),
            Times::Limited(limits) => {
                text.line("LIFETIME", seconds(limits.lifetime));
                text.line("RENEWAL", seconds(limits.renewal));
                text.line("REBINDING", seconds(limits.rebinding));
            }
        }
        text.settings(&self.settings);
        text.0.push_str(END);
        text.0.push('\n');
        text.0
    }

    /// Reads a text of [`SavedLease::to_text`]; `wall` is the time of day.
    ///
    /// # Errors
    /// [`LeaseFileError`], with the number of the line.
    pub fn from_text(text: &str, wall: SystemTime) -> Result<Self, LeaseFileError> {
        let mut draft = Draft::default();
        let mut line = 0;
        let mut has_ended = false;
        for content in text.lines() {
            line += 1;
            if has_ended {
                return Err(LeaseFileError::End { line });
            }
            match content.split_once('=') {
                Some((key, value)) => draft.take(Line { line, key, value })?,
                None if content == END => has_ended = true,
                None => return Err(LeaseFileError::Unknown { line }),
            }
        }
        if !has_ended {
            let line = line.max(1);
            return Err(LeaseFileError::End { line });
        }
        draft.finish(line, wall)
    }
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn line(&mut self, key: &str, value: impl Display) {
        // Writing into a String does not fail.
        let _ = writeln!(self.0, "{key}={value}");
    }

    fn lines<T: Display>(&mut self, key: &str, values: impl IntoIterator<Item = T>) {
        values.into_iter().for_each(|value| self.line(key, value));
    }

    fn settings(&mut self, settings: &Settings) {
        for route in &settings.routes {
            match route.gateway {
                Some(gateway) => {
                    self.line("ROUTE", format_args!("{} {gateway}", route.destination));
                }
                None => self.line("ROUTE", route.destination),
            }
        }
        self.lines("ROUTER", &settings.routers);
        self.lines("DNS", &settings.dns);
        self.lines("DOMAIN", &settings.domain);
        self.lines("SEARCH", &settings.search);
        self.lines("NTP", &settings.ntp);
        self.lines("MTU", settings.mtu);
        self.lines("BROADCAST", settings.broadcast);
        self.lines("HOSTNAME", &settings.hostname);
        self.lines("TIMEZONE", &settings.timezone);
        self.lines("POSIX_TIMEZONE", &settings.posix_timezone);
        self.lines("CAPTIVE_PORTAL", &settings.captive_portal);
    }
}

/// One line.
#[derive(Clone, Copy)]
struct Line<'a> {
    line: usize,
    key: &'a str,
    value: &'a str,
}

/// What was read so far.
#[derive(Default)]
struct Draft {
    mac: Option<Mac>,
    client_id: Option<Vec<u8>>,
    address: Option<Ipv4Network>,
    server: Option<Ipv4Addr>,
    server_mac: Option<Mac>,
    acquired: Option<Duration>,
    lifetime: Option<Option<Duration>>,
    renewal: Option<Duration>,
    rebinding: Option<Duration>,
    settings: Settings,
}

impl Draft {
    fn take(&mut self, line: Line<'_>) -> Result<(), LeaseFileError> {
        let lifetime = |text: &str| match text {
            FOREVER => Some(None),
            text => time(text).map(Some),
        };
        let network = |text: &str| prefix(text).filter(|network| check(*network).is_ok());
        match line.key {
            "MAC" => line.once("MAC", &mut self.mac, mac),
            "CLIENT_ID" => line.once("CLIENT_ID", &mut self.client_id, bytes),
            "ADDRESS" => line.once("ADDRESS", &mut self.address, network),
            "SERVER" => line.once("SERVER", &mut self.server, host),
            "SERVER_MAC" => line.once("SERVER_MAC", &mut self.server_mac, mac),
            "ACQUIRED" => line.once("ACQUIRED", &mut self.acquired, time),
            "LIFETIME" => line.once("LIFETIME", &mut self.lifetime, lifetime),
            "RENEWAL" => line.once("RENEWAL", &mut self.renewal, time),
            "REBINDING" => line.once("REBINDING", &mut self.rebinding, time),
            _ => self.take_setting(line),
        }
    }

    fn take_setting(&mut self, line: Line<'_>) -> Result<(), LeaseFileError> {
        let to = &mut self.settings;
        let portal = |text: &str| names::is_word(text).then(|| text.to_owned());
        match line.key {
            "ROUTE" => line.add("ROUTE", &mut to.routes, ROUTES_MAX, route),
            "ROUTER" => line.add("ROUTER", &mut to.routers, ADDRESSES_MAX, host),
            "DNS" => line.add("DNS", &mut to.dns, ADDRESSES_MAX, host),
            "NTP" => line.add("NTP", &mut to.ntp, ADDRESSES_MAX, host),
            "SEARCH" => line.add("SEARCH", &mut to.search, names::SEARCH_MAX, name),
            "DOMAIN" => line.once("DOMAIN", &mut to.domain, name),
            "MTU" => line.once("MTU", &mut to.mtu, number),
            "BROADCAST" => line.once("BROADCAST", &mut to.broadcast, number),
            "HOSTNAME" => line.once("HOSTNAME", &mut to.hostname, name),
            "TIMEZONE" => line.once("TIMEZONE", &mut to.timezone, |text| {
                names::is_timezone(text).then(|| text.to_owned())
            }),
            "POSIX_TIMEZONE" => line.once("POSIX_TIMEZONE", &mut to.posix_timezone, portal),
            "CAPTIVE_PORTAL" => line.once("CAPTIVE_PORTAL", &mut to.captive_portal, portal),
            _ => Err(LeaseFileError::Unknown { line: line.line }),
        }
    }

    fn finish(self, line: usize, wall: SystemTime) -> Result<SavedLease, LeaseFileError> {
        let missing = |key| LeaseFileError::Missing { line, key };
        let times = match self.lifetime.ok_or(missing("LIFETIME"))? {
            None => Times::Forever,
            Some(lifetime) => {
                let renewal = self.renewal.ok_or(missing("RENEWAL"))?;
                let rebinding = self.rebinding.ok_or(missing("REBINDING"))?;
                let key = "LIFETIME";
                Limits::new(renewal, rebinding, lifetime)
                    .map(Times::Limited)
                    .ok_or(LeaseFileError::Value { line, key })?
            }
        };
        let since_1970 = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(SavedLease {
            mac: self.mac.ok_or(missing("MAC"))?,
            client_id: self.client_id.ok_or(missing("CLIENT_ID"))?,
            address: self.address.ok_or(missing("ADDRESS"))?,
            server: self.server.ok_or(missing("SERVER"))?,
            server_mac: self.server_mac,
            age: self
                .acquired
                .and_then(|acquired| since_1970.checked_sub(acquired)),
            times,
            settings: self.settings,
        })
    }
}

impl Line<'_> {
    fn once<T>(
        self,
        key: &'static str,
        place: &mut Option<T>,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<(), LeaseFileError> {
        let line = self.line;
        if place.is_some() {
            return Err(LeaseFileError::Twice { line, key });
        }
        *place = Some(parse(self.value).ok_or(LeaseFileError::Value { line, key })?);
        Ok(())
    }

    fn add<T>(
        self,
        key: &'static str,
        place: &mut Vec<T>,
        most: usize,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<(), LeaseFileError> {
        let line = self.line;
        let value = parse(self.value).filter(|_| place.len() < most);
        place.push(value.ok_or(LeaseFileError::Value { line, key })?);
        Ok(())
    }
}

fn number<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

fn host(text: &str) -> Option<Ipv4Addr> {
    number(text).filter(|address| is_host(*address))
}

fn name(text: &str) -> Option<String> {
    names::is_name(text).then(|| text.to_owned())
}

fn prefix(text: &str) -> Option<Ipv4Network> {
    let (address, prefix) = text.split_once('/')?;
    Ipv4Network::new(number(address)?, number(prefix)?).ok()
}

fn route(text: &str) -> Option<Route> {
    let (destination, gateway) = match text.split_once(' ') {
        Some((destination, gateway)) => (destination, Some(host(gateway)?)),
        None => (text, None),
    };
    let destination = normal(prefix(destination)?);
    Some(Route {
        destination,
        gateway,
    })
}

fn mac(text: &str) -> Option<Mac> {
    let bytes = bytes(&text.replace(':', ""))?;
    Some(Mac(bytes.try_into().ok()?))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() || !(1..=CLIENT_ID_MAX).contains(&pairs.len()) {
        return None;
    }
    pairs
        .iter()
        .map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?))
        .collect()
}

/// Seconds with three decimals, rounded down: a lease so never gets longer.
fn seconds(time: Duration) -> String {
    format!("{}.{:03}", time.as_secs(), time.subsec_millis())
}

fn time(text: &str) -> Option<Duration> {
    let (whole, part) = text.split_once('.')?;
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if part.len() != 3 || !is_plain(part) || !is_plain(whole) {
        return None;
    }
    let part: u64 = number(part)?;
    Duration::from_secs(number(whole)?).checked_add(Duration::from_millis(part))
}
