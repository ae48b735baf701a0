//! rspawnctl.

use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use ctl::output::Json;
use ctl::{leases, list, netd, nss_switch, status};

/// Looks at and sets up the containers of rspawn.
#[derive(Parser)]
#[command(name = "rspawnctl", version)]
struct Arguments {
    /// Print JSON
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "MODE",
        num_args = 0..=1,
        require_equals = true,
        default_value = "off",
        default_missing_value = "pretty",
        hide_default_value = true
    )]
    json: Json,
    /// Print no heading and no count
    #[arg(long, global = true)]
    no_legend: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Show the machines that run (what happens without a command)
    List,
    /// Show all that is known of machines
    Status {
        /// Names of machines
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Show the DHCP leases that netd has given, of all machines and zones or of those named
    Leases {
        /// Names of machines
        #[arg(value_name = "NAME")]
        names: Vec<String>,
        /// Show those that netd has got itself, as a client
        #[arg(long, conflicts_with = "names")]
        received: bool,
    },
    /// Have netd take over what was changed in its files, without touching anything else
    Reload,
    /// Have the C library resolve machines' names, or not
    Nss {
        #[command(subcommand)]
        switch: Nss,
    },
}

#[derive(Subcommand)]
enum Nss {
    /// Put rspawn into the hosts line of nsswitch.conf(5)
    Enable {
        /// The file
        #[arg(long, default_value = "/etc/nsswitch.conf")]
        file: PathBuf,
    },
    /// Take rspawn out of the hosts line of nsswitch.conf(5)
    Disable {
        /// The file
        #[arg(long, default_value = "/etc/nsswitch.conf")]
        file: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads has seen enough.
        Err(error) if is_closed(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rspawnctl: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let Arguments {
        json,
        no_legend,
        command,
    } = arguments;
    match command.unwrap_or(Command::List) {
        Command::List => list::list(&mut out, json, !no_legend),
        Command::Status { names } => status::status(&mut out, &names, json),
        Command::Leases { received: true, .. } => leases::received(&mut out, json, !no_legend),
        Command::Leases { names, .. } => leases::leases(&mut out, &names, json, !no_legend),
        Command::Reload => reload(),
        Command::Nss { switch } => nss(switch),
    }
}

fn reload() -> anyhow::Result<()> {
    let said = netd::reload().map_err(netd::in_words);
    for line in said.context("cannot have netd read its files anew")? {
        eprintln!("rspawnctl: {line}");
    }
    Ok(())
}

fn nss(switch: Nss) -> anyhow::Result<()> {
    let (file, changed, word) = match switch {
        Nss::Enable { file } => {
            let changed = nss_switch::enable(&file).context("cannot switch names on")?;
            (file, changed, "on")
        }
        Nss::Disable { file } => {
            let changed = nss_switch::disable(&file).context("cannot switch names off")?;
            (file, changed, "off")
        }
    };
    let already = if changed { "" } else { " already" };
    println!(
        "machines' names are{already} switched {word} in {}",
        file.display()
    );
    Ok(())
}

fn is_closed(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}
