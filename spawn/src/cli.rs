//! The command line, that of systemd-nspawn(1) where both do the same.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{EnumValueParser, StringValueParser, TypedValueParser};
use clap::{Parser, ValueEnum};

use crate::bind::{Bind, Tmpfs};
use crate::capability::CapabilitySet;
use crate::listing::OrList;
use crate::signals;

/// Asks an option for what may be given to it.
const HELP: &[&str] = &["help"];

const BOOT: &str = "Boot";
const IMAGE: &str = "Image";
const IDENTITY: &str = "Identity";
const USERS: &str = "User";
const NETWORK: &str = "Network";
const SECURITY: &str = "Security";
const MOUNTS: &str = "Mounts";
const CONSOLE: &str = "Input and output";
const INTEGRATION: &str = "Integration with the host";

/// Boots an operating-system tree, or runs a program in one, as a container with a
/// network of its own.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "rspawn",
    version,
    max_term_width = 100,
    args_override_self = true
)]
pub struct Cli {
    /// Root of the tree [default: /var/lib/machines/NAME with --machine, else the working directory]
    #[arg(short = 'D', long, value_name = "PATH", help_heading = IMAGE)]
    pub directory: Option<PathBuf>,
    /// Mount the tree read-only
    #[arg(long, help_heading = IMAGE)]
    pub read_only: bool,

    /// Look for init in the tree and run it
    #[arg(short, long, conflicts_with = "as_pid2", help_heading = BOOT)]
    pub boot: bool,
    /// Run the program as PID 2 under a small init
    #[arg(short, long, help_heading = BOOT)]
    pub as_pid2: bool,
    /// Working directory of the program
    #[arg(long, value_name = "PATH", help_heading = BOOT)]
    pub chdir: Option<PathBuf>,
    /// Set or, without a value, pass on an environment variable
    #[arg(short = 'E', long = "setenv", value_name = "NAME[=VALUE]", help_heading = BOOT)]
    pub setenv: Vec<String>,
    /// Signal that asks PID 1 to shut down [default with --boot: SIGRTMIN+3]
    #[arg(long, value_name = "SIGNAL", value_parser = signal_or_list(), help_heading = BOOT)]
    pub kill_signal: Option<String>,

    /// Name of the machine [default: from the tree's directory]
    #[arg(short = 'M', long, value_name = "NAME", help_heading = IDENTITY)]
    pub machine: Option<String>,
    /// Host name inside [default: the machine's name]
    #[arg(long, value_name = "NAME", help_heading = IDENTITY)]
    pub hostname: Option<String>,
    /// Machine id, where the tree has none of its own
    #[arg(long, value_name = "UUID", help_heading = IDENTITY)]
    pub uuid: Option<String>,

    /// User as whom the program runs, a name of the tree or a number
    #[arg(short = 'u', long = "uid", alias = "user", value_name = "USER", help_heading = USERS)]
    pub user: Option<String>,

    /// A network namespace with nothing but loopback
    #[arg(long, help_heading = NETWORK)]
    pub private_network: bool,
    /// A link to the host, with an address of its own
    #[arg(short = 'n', long, help_heading = NETWORK)]
    pub network_veth: bool,
    /// A link to a bridge that exists
    #[arg(long, value_name = "BRIDGE", help_heading = NETWORK)]
    pub network_bridge: Option<String>,
    /// A link to the others of this zone, and to the host; made with the first of them
    #[arg(
        long,
        value_name = "ZONE",
        conflicts_with = "network_bridge",
        help_heading = NETWORK
    )]
    pub network_zone: Option<String>,

    /// Keep these capabilities as well
    #[arg(
        long,
        value_name = "CAP,...",
        value_parser = capabilities_or_list(),
        help_heading = SECURITY
    )]
    pub capability: Vec<CapabilitySet>,
    /// Keep these capabilities not
    #[arg(
        long,
        value_name = "CAP,...",
        value_parser = capabilities_or_list(),
        help_heading = SECURITY
    )]
    pub drop_capability: Vec<CapabilitySet>,
    /// Let no program gain privileges by its file
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_value = "no",
        default_missing_value = "yes",
        hide_default_value = true,
        value_parser = parse_bool,
        help_heading = SECURITY
    )]
    pub no_new_privileges: bool,

    /// Show a file or directory of the host
    #[arg(long, value_name = "SOURCE[:TARGET[:OPTIONS]]", help_heading = MOUNTS)]
    pub bind: Vec<Bind>,
    /// Show a file or directory of the host, read-only
    #[arg(long, value_name = "SOURCE[:TARGET[:OPTIONS]]", help_heading = MOUNTS)]
    pub bind_ro: Vec<Bind>,
    /// Mount an empty file system in memory
    #[arg(long, value_name = "PATH[:OPTIONS]", help_heading = MOUNTS)]
    pub tmpfs: Vec<Tmpfs>,

    /// How standard input and output are connected [default: interactive on a terminal; else
    /// read-only with --boot, pipe without]
    #[arg(
        long,
        value_name = "MODE",
        value_parser = mode_or_list::<ConsoleArg>(),
        help_heading = CONSOLE
    )]
    pub console: Option<ConsoleArg>,
    /// Say nothing but errors
    #[arg(short, long, help_heading = CONSOLE)]
    pub quiet: bool,

    /// Whether a private network's container is given /etc/resolv.conf where it has no useful one
    #[arg(
        long,
        value_name = "MODE",
        default_value = "auto",
        value_parser = mode_or_list::<ResolvConfArg>(),
        help_heading = INTEGRATION
    )]
    pub resolv_conf: ResolvConfArg,

    /// Program to run, or arguments to init with --boot [default: the user's shell]
    #[arg(trailing_var_arg = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// How the payload's standard streams are connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ConsoleArg {
    /// A pseudo terminal, connected both ways.
    Interactive,
    /// A pseudo terminal whose output is shown.
    ReadOnly,
    /// The streams as they are.
    Pipe,
}

/// What is done about /etc/resolv.conf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ResolvConfArg {
    /// Give one where the tree's is of no use.
    Auto,
    /// Leave it alone.
    Off,
}

fn signal_or_list() -> OrList<StringValueParser> {
    OrList::new(StringValueParser::new(), &["help", "list"], signals::names)
}

fn capabilities_or_list() -> impl TypedValueParser<Value = CapabilitySet> {
    let parser = StringValueParser::new().try_map(|text| text.parse::<CapabilitySet>());
    OrList::new(parser, HELP, CapabilitySet::names)
}

fn mode_or_list<T: ValueEnum + Clone + Send + Sync + 'static>() -> OrList<EnumValueParser<T>> {
    OrList::new(EnumValueParser::new(), HELP, || {
        T::value_variants()
            .iter()
            .filter_map(ValueEnum::to_possible_value)
            .map(|value| value.get_name().to_owned())
            .collect()
    })
}

fn parse_bool(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "y" | "true" | "t" | "on" | "1" => Ok(true),
        "no" | "n" | "false" | "f" | "off" | "0" => Ok(false),
        _ => Err("give yes or no".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("rspawn").chain(line.split_whitespace()))
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn short_options_combine_as_in_nspawn() {
        let cli = parse("--network-veth -bD /srv/web").unwrap();
        assert!(cli.network_veth && cli.boot);
        assert_eq!(cli.directory, Some(PathBuf::from("/srv/web")));
    }

    #[test]
    fn options_list_what_they_take() {
        for (line, part) in [
            ("--console=help", "interactive\nread-only\npipe\n"),
            ("--kill-signal=help", "HUP\nINT\nQUIT\n"),
            ("--kill-signal=list", "\nRTMIN+3\n"),
            ("--capability=help", "cap_chown\n"),
            ("--drop-capability=help", "\ncap_sys_admin\n"),
            ("--resolv-conf=help", "auto\n"),
        ] {
            let listed = parse(line).unwrap_err();
            assert_eq!(listed.kind(), clap::error::ErrorKind::DisplayHelp, "{line}");
            assert!(listed.to_string().contains(part), "{line}: {listed}");
        }
        let wrong = parse("--console=tty").unwrap_err().to_string();
        assert!(wrong.contains("read-only"), "{wrong}");
    }

    #[test]
    fn the_payloads_options_are_its_own() {
        let cli = parse("-D / -a /bin/ls -l --boot -- x").unwrap();
        assert_eq!(cli.command, ["/bin/ls", "-l", "--boot", "--", "x"]);
        assert!(!cli.boot);
    }

    #[test]
    fn what_is_unknown_or_contradicts_is_an_error() {
        for line in [
            "--nonsense",
            "-D / --nonsense /bin/ls",
            "-b -a",
            "--console=tty",
            "--bind=relative",
            "--capability=CAP_FLY",
            "--resolv-conf=copy-host",
            "--no-new-privileges=maybe",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn switches_may_have_a_value() {
        assert!(
            parse("--no-new-privileges /bin/ls")
                .unwrap()
                .no_new_privileges
        );
        assert!(!parse("--no-new-privileges=no").unwrap().no_new_privileges);
        assert!(!parse("").unwrap().no_new_privileges);
    }
}
