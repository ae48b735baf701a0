//! `rspawnctl list`.

use std::io::Write;

use crate::machine::Machine;
use crate::output::{self, Json};

/// Prints the machines that run.
///
/// # Errors
/// The registry cannot be read, or the output is closed.
pub fn list(to: &mut impl Write, json: Json, legend: bool) -> anyhow::Result<()> {
    let machines = Machine::all()?;
    if json != Json::Off {
        return Ok(output::json(to, &machines, json)?);
    }
    if machines.is_empty() {
        if legend {
            writeln!(to, "No machines.")?;
        }
        return Ok(());
    }
    let rows: Vec<[String; 6]> = machines.iter().map(row).collect();
    let heading = ["MACHINE", "CLASS", "SERVICE", "OS", "VERSION", "ADDRESSES"];
    output::table(to, legend.then_some(heading), &rows)?;
    if legend {
        writeln!(to, "\n{} machines listed.", machines.len())?;
    }
    Ok(())
}

fn row(machine: &Machine) -> [String; 6] {
    let known = |text: &str| {
        if text.is_empty() {
            "-".to_owned()
        } else {
            text.to_owned()
        }
    };
    [
        machine.name.clone(),
        known(&machine.class),
        known(&machine.service),
        known(&machine.os.os),
        known(&machine.os.version),
        known(&machine.addresses.join("\n")),
    ]
}
