//! What values mean (systemd.syntax(7), systemd.time(7)).

use std::time::Duration;

use ipnetwork::IpNetwork;

use super::syntax::is_space;

/// A value cannot be what it stands for: what is wrong, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Wrong(String);

impl Wrong {
    /// Says what is wrong.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// A truth value.
///
/// # Errors
/// If it is none.
pub fn boolean(value: &str) -> Result<bool, Wrong> {
    let is = |words: &[&str]| words.iter().any(|word| value.eq_ignore_ascii_case(word));
    if is(&["1", "yes", "y", "true", "t", "on"]) {
        Ok(true)
    } else if is(&["0", "no", "n", "false", "f", "off"]) {
        Ok(false)
    } else {
        Err(Wrong::new(format!(
            "\"{}\" is neither yes nor no",
            shown(value)
        )))
    }
}

/// A number from `least` to `most`.
///
/// # Errors
/// If it is none, or beyond them.
pub fn number(value: &str, least: u32, most: u32) -> Result<u32, Wrong> {
    let digits = value.bytes().all(|byte| byte.is_ascii_digit());
    let number = value.parse().ok().filter(|_| digits);
    number
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| {
            Wrong::new(format!(
                "\"{}\" is no number from {least} to {most}",
                shown(value)
            ))
        })
}

/// A number of bytes, with the suffixes K, M and G to the base 1024, from `least` to
/// `most`.
///
/// # Errors
/// If it is none, or beyond them.
pub fn bytes(value: &str, least: u32, most: u32) -> Result<u32, Wrong> {
    let wrong = || {
        Wrong::new(format!(
            "\"{}\" is no number of bytes from {least} to {most}",
            shown(value)
        ))
    };
    let (digits, unit) = match value.char_indices().next_back() {
        Some((at, 'K')) => (value.get(..at), 1 << 10),
        Some((at, 'M')) => (value.get(..at), 1 << 20),
        Some((at, 'G')) => (value.get(..at), 1 << 30),
        _ => (Some(value), 1),
    };
    let digits = digits.ok_or_else(wrong)?.trim_matches(is_space);
    let count = number(digits, 0, u32::MAX).map_err(|_| wrong())?;
    let bytes = count.checked_mul(unit).ok_or_else(wrong)?;
    (least..=most)
        .contains(&bytes)
        .then_some(bytes)
        .ok_or_else(wrong)
}

/// An address with the length of its prefix, written out.
///
/// # Errors
/// If it is none.
pub fn network(value: &str) -> Result<IpNetwork, Wrong> {
    let wrong = || {
        Wrong::new(format!(
            "\"{}\" is no address with a prefix length, such as 10.50.0.1/24",
            shown(value)
        ))
    };
    let (ip, prefix) = value.split_once('/').ok_or_else(wrong)?;
    let prefix = number(prefix, 0, 128).map_err(|_| wrong())?;
    let prefix = u8::try_from(prefix).map_err(|_| wrong())?;
    IpNetwork::new(ip.parse().map_err(|_| wrong())?, prefix).map_err(|_| wrong())
}

/// Names of units of time, with their length in microseconds.
const UNITS: [(&[&str], u64); 9] = [
    (&["us", "usec", "µs", "μs"], 1),
    (&["ms", "msec"], 1_000),
    (&["", "s", "sec", "second", "seconds"], 1_000_000),
    (&["m", "min", "minute", "minutes"], 60_000_000),
    (&["h", "hr", "hour", "hours"], 3_600_000_000),
    (&["d", "day", "days"], 86_400_000_000),
    (&["w", "week", "weeks"], 604_800_000_000),
    (&["M", "month", "months"], 2_629_800_000_000),
    (&["y", "year", "years"], 31_557_600_000_000),
];

/// A span of time such as `90`, `1h 30min` or `1.5h`; a number alone is seconds.
/// `infinity` is [`Duration::MAX`].
///
/// # Errors
/// If it is none.
pub fn time_span(value: &str) -> Result<Duration, Wrong> {
    let wrong = || {
        Wrong::new(format!(
            "\"{}\" is no span of time, such as 3600, 90min or 1h 30min",
            shown(value)
        ))
    };
    if value == "infinity" {
        return Ok(Duration::MAX);
    }
    let mut rest = value.trim_start_matches(is_space);
    let mut sum = 0_u64;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let (part, behind) = span_part(rest).ok_or_else(wrong)?;
        sum = sum.checked_add(part).ok_or_else(wrong)?;
        rest = behind;
    }
    Ok(Duration::from_micros(sum))
}

/// A number and its unit in microseconds, and what stands behind.
fn span_part(text: &str) -> Option<(u64, &str)> {
    let (whole, rest) = digits(text);
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(behind) => Some(digits(behind)).filter(|(fraction, _)| !fraction.is_empty())?,
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let rest = rest.trim_start_matches(is_space);
    let end = rest
        .find(|c: char| !c.is_alphabetic())
        .unwrap_or(rest.len());
    let (unit, rest) = rest.split_at_checked(end)?;
    // A number without a unit has nothing behind it.
    if unit.is_empty() && !rest.is_empty() {
        return None;
    }
    let unit = UNITS.iter().find(|(names, _)| names.contains(&unit))?.1;
    let whole: u64 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let mut micros = whole.checked_mul(unit)?;
    // Nine decimals are more than the longest unit has use for here.
    let mut share = unit;
    for digit in fraction.bytes().take(9) {
        share /= 10;
        micros = micros.checked_add(share.checked_mul(u64::from(digit - b'0'))?)?;
    }
    Some((micros, rest.trim_start_matches(is_space)))
}

/// The digits that a text begins with, and the rest.
fn digits(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// A value as it is shown in a message: not too long, nothing that changes the line.
pub(crate) fn shown(value: &str) -> String {
    const MOST: usize = 60;
    let mut text: String = value
        .chars()
        .take(MOST)
        .flat_map(char::escape_debug)
        .collect();
    if value.chars().nth(MOST).is_some() {
        text.push('…');
    }
    text
}
