//! `rspawnctl status`.

use std::io::Write;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::machine::Machine;
use crate::netd::{self, Details};
use crate::output::{self, Json};

/// All that is known of a machine.
#[derive(Debug, Serialize)]
struct Status<'a> {
    #[serde(flatten)]
    machine: &'a Machine,
    id: &'a str,
    leader: u32,
    link: &'a str,
    cgroup: &'a str,
    since_usec: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    root: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subnets: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    clash: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    leases: Option<Vec<Lease<'a>>>,
}

#[derive(Debug, Serialize)]
struct Lease<'a> {
    address: &'a str,
    mac: &'a str,
    expires_in: u64,
}

/// Prints what is known of the machines `names`.
///
/// # Errors
/// One of them does not run, or the output is closed.
pub fn status(to: &mut impl Write, names: &[String], json: Json) -> anyhow::Result<()> {
    for (i, name) in names.iter().enumerate() {
        let machine = Machine::find(name)?;
        let details = netd::details(&machine.name);
        if json == Json::Off {
            if i > 0 {
                writeln!(to)?;
            }
            print(to, &machine, details.as_ref().ok())?;
            if let Err(error) = details {
                writeln!(to, "{:>16} not reached: {error}", "netd:")?;
            }
        } else {
            output::json(to, &Status::new(&machine, details.as_ref().ok()), json)?;
        }
    }
    Ok(())
}

impl<'a> Status<'a> {
    fn new(machine: &'a Machine, details: Option<&'a Details>) -> Self {
        let lease = |(address, mac, expires_in): &'a (String, String, u64)| Lease {
            address,
            mac,
            expires_in: *expires_in,
        };
        Self {
            machine,
            id: &machine.id,
            leader: machine.leader,
            link: &machine.link,
            cgroup: &machine.cgroup,
            since_usec: machine.since,
            root: details.map(|details| details.root.as_str()),
            subnets: details.map(|details| details.subnets.as_slice()),
            clash: details
                .map(|details| details.clash.as_str())
                .filter(|clash| !clash.is_empty()),
            leases: details.map(|details| details.leases.iter().map(lease).collect()),
        }
    }
}

fn print(to: &mut impl Write, machine: &Machine, details: Option<&Details>) -> std::io::Result<()> {
    let none = Details::default();
    let details = details.unwrap_or(&none);
    let id = if machine.id.is_empty() {
        String::new()
    } else {
        format!("({})", machine.id)
    };
    writeln!(to, "{}{id}", machine.name)?;
    let mut line = |label: &str, values: &[String]| -> std::io::Result<()> {
        let values = values.iter().filter(|value| !value.is_empty());
        for (i, value) in values.enumerate() {
            let label = if i == 0 {
                format!("{label}:")
            } else {
                String::new()
            };
            writeln!(to, "{label:>16} {value}")?;
        }
        Ok(())
    };
    line("Since", &[since(machine.since, Timestamp::now())])?;
    line("Leader", &[leader(machine.leader)])?;
    line(
        "Service",
        &[format!("{}; class {}", machine.service, machine.class)],
    )?;
    line("Root", std::slice::from_ref(&details.root))?;
    line("Iface", std::slice::from_ref(&machine.link))?;
    line("Network", std::slice::from_ref(&machine.network))?;
    line("Address", &machine.addresses)?;
    line("Subnet", &details.subnets)?;
    line("Clash", std::slice::from_ref(&details.clash))?;
    let lease = |(address, mac, seconds): &(String, String, u64)| {
        format!("{address} to {mac}, for another {}", span(*seconds))
    };
    line(
        "DHCP",
        &details.leases.iter().map(lease).collect::<Vec<_>>(),
    )?;
    line("OS", std::slice::from_ref(&machine.os.pretty))?;
    line("Cgroup", std::slice::from_ref(&machine.cgroup))
}

fn leader(pid: u32) -> String {
    match std::fs::read_to_string(format!("/proc/{pid}/comm")) {
        Ok(name) => {
            let plain: String = name
                .trim_end()
                .chars()
                .filter(|c| !c.is_control())
                .collect();
            format!("{pid} ({plain})")
        }
        Err(_) => pid.to_string(),
    }
}

fn since(usec: u64, now: Timestamp) -> String {
    let Some(then) = i64::try_from(usec)
        .ok()
        .and_then(|us| Timestamp::from_microsecond(us).ok())
    else {
        return String::new();
    };
    let shown = then
        .to_zoned(TimeZone::system())
        .strftime("%a %Y-%m-%d %H:%M:%S %Z")
        .to_string();
    let age = u64::try_from(now.as_second() - then.as_second()).unwrap_or(0);
    format!("{shown}; {} ago", span(age))
}

/// A length of time in its two largest units.
fn span(seconds: u64) -> String {
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let (minutes, rest) = (seconds / 60 % 60, seconds % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest}s"),
        (0, 0, _) => format!("{minutes}min {rest}s"),
        (0, ..) => format!("{hours}h {minutes}min"),
        _ => format!("{days} days {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_told_in_two_units() {
        assert_eq!(span(7), "7s");
        assert_eq!(span(67), "1min 7s");
        assert_eq!(span(3_600), "1h 0min");
        assert_eq!(span(90_000), "1 days 1h");
    }

    #[test]
    fn a_time_of_nonsense_is_left_out() {
        assert_eq!(since(u64::MAX, Timestamp::now()), "");
    }
}
