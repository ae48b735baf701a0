//! `rspawnctl leases`.

use std::io::Write;

use anyhow::Context;

use crate::netd::{self, Lease, ReceivedLease};
use crate::output::{self, Json};

/// Prints the leases that netd has given: of these machines, or all.
///
/// # Errors
/// netd does not tell, or the output is closed.
pub fn leases(
    to: &mut impl Write,
    machines: &[String],
    json: Json,
    legend: bool,
) -> anyhow::Result<()> {
    let mut leases = Vec::new();
    if machines.is_empty() {
        leases = ask(None)?;
    }
    for machine in machines {
        leases.extend(ask(Some(machine))?);
    }
    if json != Json::Off {
        return Ok(output::json(to, &leases, json)?);
    }
    let rows: Vec<[String; 6]> = leases.iter().map(row).collect();
    let heading = [
        "MACHINE",
        "LINK",
        "ADDRESS",
        "HARDWARE ADDRESS",
        "HOST NAME",
        "EXPIRES IN",
    ];
    print(to, heading, &rows, legend)
}

/// Prints the leases that netd has got itself, as a client.
///
/// # Errors
/// netd does not tell, or the output is closed.
pub fn received(to: &mut impl Write, json: Json, legend: bool) -> anyhow::Result<()> {
    let leases = netd::received_leases()
        .map_err(netd::in_words)
        .context("cannot list leases")?;
    if json != Json::Off {
        return Ok(output::json(to, &leases, json)?);
    }
    let row = |lease: &ReceivedLease| {
        let left = lease.expires_in.map_or_else(|| "never".to_owned(), span);
        let (link, address) = (lease.link.clone(), lease.address.clone());
        [link, address, lease.server.clone(), left]
    };
    let rows: Vec<[String; 4]> = leases.iter().map(row).collect();
    print(
        to,
        ["LINK", "ADDRESS", "SERVER", "EXPIRES IN"],
        &rows,
        legend,
    )
}

fn print<const N: usize>(
    to: &mut impl Write,
    heading: [&str; N],
    rows: &[[String; N]],
    legend: bool,
) -> anyhow::Result<()> {
    if rows.is_empty() {
        if legend {
            writeln!(to, "No leases.")?;
        }
        return Ok(());
    }
    output::table(to, legend.then_some(heading), rows)?;
    if legend {
        writeln!(to, "\n{} leases listed.", rows.len())?;
    }
    Ok(())
}

fn ask(machine: Option<&str>) -> anyhow::Result<Vec<Lease>> {
    netd::leases(machine)
        .map_err(netd::in_words)
        .context("cannot list leases")
}

fn row(lease: &Lease) -> [String; 6] {
    let known = |text: &str| match text {
        "" => "-".to_owned(),
        // A client may call itself anything.
        text => text.escape_debug().to_string(),
    };
    [
        known(&lease.machine),
        known(&lease.link),
        known(&lease.address),
        known(&lease.hardware_address),
        known(&lease.hostname),
        span(lease.expires_in),
    ]
}

/// Seconds in the two units that matter most.
fn span(seconds: u64) -> String {
    let units = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (length, unit) in units {
        let count = rest / length;
        rest %= length;
        if count > 0 {
            parts.push(format!("{count}{unit}"));
        }
    }
    parts.truncate(2);
    match parts.is_empty() {
        true => "0s".to_owned(),
        false => parts.join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_units_are_enough() {
        assert_eq!(span(0), "0s");
        assert_eq!(span(59), "59s");
        assert_eq!(span(3600), "1h");
        assert_eq!(span(3661), "1h 1min");
        assert_eq!(span(90_061), "1d 1h");
    }
}
