//! From the command line to the exit code.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use registry::RUNTIME_DIR;

use crate::cli::Cli;
use crate::config::{Config, ConfigError, ConsoleMode, Start};
use crate::console::{Streams, restore_terminal};
use crate::container::{Blueprint, Container, StartError};
use crate::error::{Doing, StepError, one_line};
use crate::mounts::run_host::HostFacts;
use crate::names::{NameLock, NameLockError};
use crate::payload::{Facts, Payload, PayloadError};
use crate::ready;
use crate::signals;
use crate::supervisor::{Ended, SIGNALS, supervise};
use crate::sys::signalfd::SignalFd;
use crate::tell;
use crate::tree::{Tree, TreeError};
use registry::mount_points::MountPoints;

/// Exit code of everything that goes wrong outside of the payload.
const FAILED: u8 = 1;

/// rspawn cannot do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub enum RunError {
    /// The command line.
    Config(#[from] ConfigError),
    /// The tree.
    Tree(#[from] TreeError),
    /// The name.
    Name(#[from] NameLockError),
    /// The payload.
    Payload(#[from] PayloadError),
    /// The start.
    Start(#[from] StartError),
    /// A step.
    Step(#[from] StepError),
}

/// The program: reads the command line, runs the container, and gives its exit
/// code.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return tell_usage(&error),
    };
    std::panic::set_hook(Box::new(|panic| {
        restore_terminal();
        tell!("this is a bug in rspawn: {panic}");
    }));
    match run(cli) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            tell!("{}", one_line(&error));
            ExitCode::from(FAILED)
        }
    }
}

/// Help goes out whole, an error in one line.
fn tell_usage(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A list that an option was asked for is made as an error.
            match error.to_string().strip_prefix("error: ") {
                Some(list) => drop(std::io::stdout().write_all(list.as_bytes())),
                None => {
                    error.print().ok();
                }
            }
            ExitCode::SUCCESS
        }
        _ => {
            let text = error.to_string();
            let lines: Vec<&str> = text
                .lines()
                .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"))
                .map(str::trim)
                .filter(|line| !line.is_empty() && !line.starts_with("tip:"))
                .collect();
            let line = lines.join(" ");
            let line = line.strip_prefix("error: ").unwrap_or(&line);
            tell!("{line} (rspawn --help shows what there is)");
            ExitCode::from(FAILED)
        }
    }
}

fn run(cli: Cli) -> Result<u8, RunError> {
    let config = Config::from_cli(cli)?;
    if !rustix::process::geteuid().is_root() {
        return Err(ConfigError::NotRoot.into());
    }
    // Everything that rspawn was started with beside its standard streams is its
    // parent's business, and not the container's.
    crate::sys::process::cloexec_from(3);
    let name = NameLock::take(&config.name)?;
    let tree = Tree::open(&config.directory, config.read_only)?;
    let mount_points = if config.read_only {
        None
    } else {
        let mount_points = MountPoints::of(&tree).doing(|| format!("open {RUNTIME_DIR}"))?;
        // Of a run that was killed.
        mount_points.clear(&tree);
        name.note_tree(tree.path())
            .doing(|| format!("write below {RUNTIME_DIR}"))?;
        Some(mount_points)
    };
    if config.start == Start::Boot {
        tree.check_bootable()?;
    }
    let os_release = ["/etc/os-release", "/usr/lib/os-release"]
        .iter()
        .find_map(|path| std::fs::read(path).ok())
        .unwrap_or_default();
    let machine_id = tree
        .machine_id()
        .or_else(|| config.uuid.clone())
        .map_or_else(|| random_id().map(|id| id.replace('-', "")), Ok)?;
    let uuid = with_hyphens(&machine_id);
    let facts = Facts {
        uuid: &uuid,
        os_release: &String::from_utf8_lossy(&os_release),
    };
    let payload = Payload::new(&config, &tree, &facts)?;
    let mut streams = match config.console {
        ConsoleMode::Pipe => Some(Streams::new().doing(|| "take the standard streams".into())?),
        _ => None,
    };
    let mut pumps = streams.as_mut().map(Streams::pumps).unwrap_or_default();
    let signals = SignalFd::new(&SIGNALS).doing(|| "take signals".into())?;
    loop {
        let facts = HostFacts {
            os_release: os_release.clone(),
            uuid: uuid.clone(),
            boot_id: random_id()?,
        };
        let blueprint = Blueprint {
            config: &config,
            tree: &tree,
            mount_points: mount_points.as_ref(),
            payload: &payload,
            machine_id: &machine_id,
            facts: &facts,
            streams: streams.as_ref(),
        };
        let mut container = Container::start(&blueprint)?;
        container.wait_for_name();
        ready::notify("READY=1").ok();
        let ended = supervise(&config, &mut container, &signals, pumps);
        container.clear_away();
        let ended = match ended {
            Ok((ended, left)) => {
                pumps = left;
                ended
            }
            Err(error) => return Err(error.into()),
        };
        if let Some(code) = code_of(&config, ended) {
            return Ok(code);
        }
    }
}

/// The exit code; none if the container is to be started again.
fn code_of(config: &Config, ended: Ended) -> Option<u8> {
    let tell = |what: &str| {
        if !config.quiet {
            tell!("{} {what}", config.name);
        }
    };
    match ended {
        Ended::Exited(code) => Some(u8::try_from(code).unwrap_or(FAILED)),
        Ended::PoweredOff => {
            tell("is switched off");
            Some(0)
        }
        Ended::Rebooted => {
            tell("starts again");
            None
        }
        Ended::Killed(signal) => {
            let signal = signals::name_of(signal);
            tell!("{} was ended by {signal}", config.name);
            Some(FAILED)
        }
    }
}

fn random_id() -> Result<String, StepError> {
    let path = "/proc/sys/kernel/random/uuid";
    let text = std::fs::read_to_string(path).doing(|| format!("read {path}"))?;
    Ok(text.trim().to_owned())
}

/// The form of RFC 4122.
fn with_hyphens(id: &str) -> String {
    let mut uuid = String::with_capacity(36);
    for (at, digit) in id.chars().enumerate() {
        if matches!(at, 8 | 12 | 16 | 20) {
            uuid.push('-');
        }
        uuid.push(digit);
    }
    uuid
}
