//! What a container is to be: a value that is valid because it exists.

use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use registry::ifname::IfNameError;
use registry::zone::ZoneNameError;
use registry::{IfName, MachineName, NameError, ZoneName};
use rustix::termios::isatty;

use crate::bind::{Bind, Tmpfs};
use crate::capability::CapabilitySet;
use crate::cli::{Cli, ConsoleArg, ResolvConfArg};
use crate::signals;

const MACHINES: &str = "/var/lib/machines";
/// The longest label of a machine name; every name that is no longer is short enough.
const LABEL_MAX: usize = 63;

/// How the payload begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The tree's init, as PID 1.
    Boot,
    /// A program, as PID 1.
    Program,
    /// A program as PID 2, under an init of ours.
    ProgramUnderInit,
}

/// The container's network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkMode {
    /// That of the host.
    Host,
    /// Loopback alone.
    Private,
    /// A link to the host.
    Veth,
    /// A link to the bridge of that name.
    Bridge(IfName),
    /// A link to the bridge of this zone.
    Zone(ZoneName),
}

/// How the payload's standard streams are connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsoleMode {
    /// A pseudo terminal, connected both ways.
    Interactive,
    /// A pseudo terminal whose output is shown.
    ReadOnly,
    /// The streams as they are.
    Pipe,
}

/// What a container is to be.
#[derive(Clone, Debug)]
pub struct Config {
    /// The machine's name.
    pub name: MachineName,
    /// The host name inside.
    pub hostname: String,
    /// The tree, as it was given.
    pub directory: PathBuf,
    /// Whether the tree is read-only.
    pub read_only: bool,
    /// How the payload begins.
    pub start: Start,
    /// The program and its arguments, or init's arguments.
    pub command: Vec<CString>,
    /// Working directory of the payload, absolute.
    pub chdir: Option<CString>,
    /// Environment variables that were asked for.
    pub environment: Vec<CString>,
    /// The signal that asks PID 1 to shut down.
    pub kill_signal: Option<i32>,
    /// The machine id where the tree has none, 32 hexadecimal digits.
    pub uuid: Option<String>,
    /// The user as whom the program runs.
    pub user: Option<String>,
    /// The network.
    pub network: NetworkMode,
    /// What the container may do.
    pub capabilities: CapabilitySet,
    /// Whether no program gains privileges by its file.
    pub no_new_privileges: bool,
    /// Files and directories of the host.
    pub binds: Vec<Bind>,
    /// File systems in memory.
    pub tmpfs: Vec<Tmpfs>,
    /// The console.
    pub console: ConsoleMode,
    /// Whether only errors are told.
    pub quiet: bool,
    /// Whether a resolv.conf is provided.
    pub resolv_conf: bool,
}

/// The command line asks for what cannot be.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A user other than root.
    #[error("rspawn must be run as root: use sudo")]
    NotRoot,
    /// The machine's name is wrong.
    #[error("`{name}` is not a machine name: choose another one with -M")]
    Name {
        /// What was given.
        name: String,
        /// What is wrong with it.
        source: NameError,
    },
    /// No name can be made of the tree's.
    #[error("the directory {0} gives no machine name: choose one with -M")]
    NoName(PathBuf),
    /// The host name is wrong.
    #[error("`{0}` is not a host name: use letters, digits, hyphens and dots, 64 at most")]
    Hostname(String),
    /// The bridge's name is wrong.
    #[error("`{name}` cannot be the name of a bridge")]
    BridgeName {
        /// What was given.
        name: String,
        /// What is wrong with it.
        source: IfNameError,
    },
    /// The zone's name is wrong.
    #[error(
        "`{name}` cannot be the name of a zone, as vz-{name} cannot be that of its bridge: use 1 to 12 letters, digits and hyphens"
    )]
    ZoneName {
        /// What was given.
        name: String,
        /// What is wrong with it.
        source: ZoneNameError,
    },
    /// No tree was given, and there is none of the machine's name.
    #[error("there is no {0}: give the root of the tree with -D")]
    NoTree(PathBuf),
    /// The working directory is gone.
    #[error("there is no working directory: give the root of the tree with -D")]
    NoWorkingDirectory,
    /// A signal that there is not.
    #[error("`{0}` is not a signal: give a name such as SIGTERM, SIGRTMIN+3, or a number")]
    Signal(String),
    /// An environment variable that cannot be.
    #[error("`{0}` is not an environment variable: give NAME=VALUE, or the NAME of one to pass on")]
    Environment(String),
    /// A machine id that is none.
    #[error("`{0}` is not a machine id: give 32 hexadecimal digits, not all of them 0")]
    Uuid(String),
    /// A directory that is relative.
    #[error("`{0}` is not an absolute path: give --chdir one that begins with a slash")]
    Chdir(PathBuf),
    /// A NUL byte.
    #[error("an argument has a NUL byte in it")]
    Nul,
    /// Two mounts at one place.
    #[error("two mounts are asked for at {0}: give one of --bind=, --bind-ro= and --tmpfs= for it")]
    SameTarget(PathBuf),
    /// Two options that contradict.
    #[error("{0} and {1} contradict each other: give one of them")]
    Contradiction(&'static str, &'static str),
}

impl Config {
    /// Checks what the command line asks for.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn from_cli(cli: Cli) -> Result<Self, ConfigError> {
        if cli.boot && cli.user.is_some() {
            return Err(ConfigError::Contradiction("--boot", "--uid"));
        }
        if cli.boot && cli.chdir.is_some() {
            return Err(ConfigError::Contradiction("--boot", "--chdir"));
        }
        let directory = directory(&cli)?;
        let given_name = match &cli.machine {
            Some(name) => name.clone(),
            None => name_of(&directory)?,
        };
        let name = given_name.parse().map_err(|source| ConfigError::Name {
            name: given_name.clone(),
            source,
        })?;
        let hostname = cli.hostname.clone().unwrap_or(given_name);
        if hostname.parse::<MachineName>().is_err() {
            return Err(ConfigError::Hostname(hostname));
        }
        let network = network(&cli)?;
        let binds = binds(cli.bind.clone(), cli.bind_ro.clone());
        each_its_own_place(&binds, &cli.tmpfs)?;
        let start = match (cli.boot, cli.as_pid2) {
            (true, _) => Start::Boot,
            (false, true) => Start::ProgramUnderInit,
            (false, false) => Start::Program,
        };
        Ok(Self {
            name,
            hostname,
            capabilities: capabilities(&cli, network != NetworkMode::Host),
            console: console(&cli),
            kill_signal: kill_signal(&cli)?,
            environment: environment(&cli.setenv)?,
            chdir: cli.chdir.map(chdir).transpose()?,
            uuid: cli.uuid.map(uuid).transpose()?,
            directory,
            read_only: cli.read_only,
            start,
            command: cli
                .command
                .into_iter()
                .map(c_string)
                .collect::<Result<_, _>>()?,
            user: cli.user,
            network,
            no_new_privileges: cli.no_new_privileges,
            binds,
            tmpfs: cli.tmpfs,
            quiet: cli.quiet,
            resolv_conf: cli.resolv_conf == ResolvConfArg::Auto,
        })
    }

    /// Whether the container has a network namespace of its own.
    #[must_use]
    pub fn private_network(&self) -> bool {
        self.network != NetworkMode::Host
    }
}

fn directory(cli: &Cli) -> Result<PathBuf, ConfigError> {
    match (&cli.directory, &cli.machine) {
        (Some(directory), _) => Ok(directory.clone()),
        (None, Some(machine)) => {
            let path = Path::new(MACHINES).join(machine);
            if machine.parse::<MachineName>().is_err() || path.is_dir() {
                Ok(path)
            } else {
                Err(ConfigError::NoTree(path))
            }
        }
        (None, None) => std::env::current_dir().map_err(|_| ConfigError::NoWorkingDirectory),
    }
}

/// The machine name that a directory's name gives: what may not be in one is left
/// out.
fn name_of(directory: &Path) -> Result<String, ConfigError> {
    let none = || ConfigError::NoName(directory.to_owned());
    // What does not exist is told later, with the name that was given.
    let real = directory.canonicalize().unwrap_or(directory.to_owned());
    let Some(base) = real.file_name() else {
        let host = rustix::system::uname();
        return Ok(clean(&host.nodename().to_string_lossy()));
    };
    let name = clean(&base.to_string_lossy());
    if name.is_empty() {
        Err(none())
    } else {
        Ok(name)
    }
}

fn clean(text: &str) -> String {
    let labels: Vec<String> = text
        .split('.')
        .map(|label| {
            let kept: String = label
                .chars()
                .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
                .collect();
            kept.trim_matches('-').to_owned()
        })
        .filter(|label| !label.is_empty())
        .collect();
    let mut name = labels.join(".");
    name.truncate(LABEL_MAX);
    name.trim_end_matches(['-', '.']).to_owned()
}

fn network(cli: &Cli) -> Result<NetworkMode, ConfigError> {
    if let Some(name) = &cli.network_bridge {
        let bridge = name.parse().map_err(|source| ConfigError::BridgeName {
            name: name.clone(),
            source,
        })?;
        return Ok(NetworkMode::Bridge(bridge));
    }
    if let Some(name) = &cli.network_zone {
        let zone = name.parse().map_err(|source| ConfigError::ZoneName {
            name: name.clone(),
            source,
        })?;
        return Ok(NetworkMode::Zone(zone));
    }
    Ok(match (cli.network_veth, cli.private_network) {
        (true, _) => NetworkMode::Veth,
        (false, true) => NetworkMode::Private,
        (false, false) => NetworkMode::Host,
    })
}

fn capabilities(cli: &Cli, private_network: bool) -> CapabilitySet {
    let join = |sets: &[CapabilitySet]| {
        sets.iter()
            .fold(CapabilitySet::default(), |all, set| all.with(*set))
    };
    CapabilitySet::kept(private_network)
        .with(join(&cli.capability))
        .without(join(&cli.drop_capability))
}

fn console(cli: &Cli) -> ConsoleMode {
    match cli.console {
        Some(ConsoleArg::Interactive) => ConsoleMode::Interactive,
        Some(ConsoleArg::ReadOnly) => ConsoleMode::ReadOnly,
        Some(ConsoleArg::Pipe) => ConsoleMode::Pipe,
        None if isatty(rustix::stdio::stdin()) && isatty(rustix::stdio::stdout()) => {
            ConsoleMode::Interactive
        }
        None if cli.boot => ConsoleMode::ReadOnly,
        None => ConsoleMode::Pipe,
    }
}

fn kill_signal(cli: &Cli) -> Result<Option<i32>, ConfigError> {
    match &cli.kill_signal {
        Some(text) => match signals::parse(text) {
            Some(signal) => Ok(Some(signal)),
            None => Err(ConfigError::Signal(text.clone())),
        },
        None => Ok(cli.boot.then_some(signals::SIGRTMIN_PLUS_3)),
    }
}

fn environment(given: &[String]) -> Result<Vec<CString>, ConfigError> {
    given
        .iter()
        .map(|text| {
            let wrong = || ConfigError::Environment(text.clone());
            let name = text.split('=').next().unwrap_or("");
            let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            if name.is_empty() || !plain || name.starts_with(|c: char| c.is_ascii_digit()) {
                return Err(wrong());
            }
            if text.contains('=') {
                return c_string(text.into());
            }
            let mut assignment = OsString::from(format!("{name}="));
            // What is not set is passed on empty, as a shell's `NAME=$NAME` would be.
            assignment.push(std::env::var_os(name).unwrap_or_default());
            c_string(assignment)
        })
        .collect()
}

fn chdir(path: PathBuf) -> Result<CString, ConfigError> {
    if path.is_absolute() {
        c_string(path.into_os_string())
    } else {
        Err(ConfigError::Chdir(path))
    }
}

fn uuid(text: String) -> Result<String, ConfigError> {
    let id = text.replace('-', "").to_ascii_lowercase();
    let plain = id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit());
    if plain && id.bytes().any(|b| b != b'0') {
        Ok(id)
    } else {
        Err(ConfigError::Uuid(text))
    }
}

fn binds(writable: Vec<Bind>, read_only: Vec<Bind>) -> Vec<Bind> {
    let read_only = read_only.into_iter().map(|bind| Bind {
        read_only: true,
        ..bind
    });
    writable.into_iter().chain(read_only).collect()
}

fn each_its_own_place(binds: &[Bind], tmpfs: &[Tmpfs]) -> Result<(), ConfigError> {
    let mut targets: Vec<&PathBuf> = binds
        .iter()
        .map(|bind| &bind.target)
        .chain(tmpfs.iter().map(|tmpfs| &tmpfs.target))
        .collect();
    targets.sort();
    match targets
        .iter()
        .zip(targets.iter().skip(1))
        .find(|(one, next)| one == next)
    {
        Some((twice, _)) => Err(ConfigError::SameTarget((*twice).clone())),
        None => Ok(()),
    }
}

fn c_string(text: OsString) -> Result<CString, ConfigError> {
    CString::new(text.into_vec()).map_err(|_| ConfigError::Nul)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn config(line: &str) -> Result<Config, ConfigError> {
        let words = std::iter::once("rspawn").chain(line.split_whitespace());
        Config::from_cli(Cli::try_parse_from(words).unwrap())
    }

    #[test]
    fn the_name_comes_from_the_directory() {
        for (directory, name, hostname) in [
            ("/srv/web", "web", "web"),
            ("/srv/Web_1.", "web1", "Web1"),
            ("/srv/-a.-b-", "a.b", "a.b"),
        ] {
            let config = config(&format!("-D {directory}")).unwrap();
            assert_eq!(
                (config.name.as_str(), config.hostname.as_str()),
                (name, hostname)
            );
        }
        assert!(matches!(config("-D /srv/___"), Err(ConfigError::NoName(_))));
        assert!(matches!(
            config("-D /x -M a_b"),
            Err(ConfigError::Name { .. })
        ));
        assert_eq!(config("-D /x -M Web").unwrap().hostname, "Web");
    }

    #[test]
    fn the_network_decides_about_net_admin() {
        let shared = config("-D /x").unwrap();
        let private = config("-D /x -n").unwrap();
        assert_eq!(shared.network, NetworkMode::Host);
        assert_eq!(private.network, NetworkMode::Veth);
        assert_eq!(shared.capabilities, CapabilitySet::kept(false));
        assert_eq!(private.capabilities, CapabilitySet::kept(true));
        let bridge = config("-D /x -n --network-bridge=br0").unwrap();
        assert_eq!(bridge.network, NetworkMode::Bridge("br0".parse().unwrap()));
        assert!(config("-D /x --network-bridge=a/b").is_err());
        let zone = config("-D /x --network-zone=blue").unwrap();
        assert_eq!(zone.network, NetworkMode::Zone("blue".parse().unwrap()));
        assert!(config("-D /x --network-zone=longer-than-that").is_err());
    }

    #[test]
    fn what_is_wrong_is_told() {
        for line in [
            "-D /x -b -u web",
            "-D /x -b --chdir=/",
            "-D /x --chdir=srv",
            "-D /x --kill-signal=SIGNO",
            "-D /x -E =x",
            "-D /x --uuid=00000000000000000000000000000000",
            "-D /x --hostname=a_b",
            "-D /x --bind=/a:/c --bind-ro=/b:/c",
            "-D /x --bind=/a:/c/d --tmpfs=/c//d/",
        ] {
            assert!(config(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_variable_that_is_not_set_is_passed_on_empty() {
        let config = config("-D /x -E RSPAWN_NO_SUCH_VARIABLE").unwrap();
        assert_eq!(config.environment, [c"RSPAWN_NO_SUCH_VARIABLE="]);
    }

    #[test]
    fn boot_has_a_signal_of_its_own() {
        assert_eq!(config("-D /x -b").unwrap().kill_signal, Some(37));
        assert_eq!(config("-D /x").unwrap().kill_signal, None);
        let asked = config("-D /x -b --kill-signal=TERM").unwrap();
        assert_eq!(asked.kill_signal, Some(15));
    }
}
