//! Which program the payload is, as whom it runs, and with what environment.

use std::ffi::{CString, NulError};
use std::io;
use std::os::fd::AsFd;

use crate::config::{Config, ConsoleMode, Start};
use crate::passwd::User;
use crate::tree::{Tree, inits, read_in};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const SHELLS: [&str; 2] = ["/bin/bash", "/bin/sh"];
/// What the container is told of the host's os-release file.
const HOST_KEYS: [&str; 4] = ["ID", "VERSION_ID", "BUILD_ID", "VARIANT_ID"];

/// The program, its arguments and its environment.
#[derive(Clone, Debug)]
pub struct Payload {
    /// Paths, the first that is there is run.
    pub programs: Vec<CString>,
    /// Arguments, with the name that the program is called by; where that is empty,
    /// it is that of the path, as a login shell's.
    pub arguments: Vec<CString>,
    /// Environment.
    pub environment: Vec<CString>,
    /// As whom it runs.
    pub user: User,
    /// Its working directory, and whether it is to be there.
    pub directory: (CString, bool),
}

/// No payload can be made of what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// There is no such user.
    #[error(
        "the tree's /etc/passwd has no user `{0}`: add the user there, or give a number with --uid"
    )]
    NoUser(String),
    /// The tree's files have a NUL byte in them.
    #[error("the tree's /etc/passwd has a NUL byte in it")]
    Nul(#[from] NulError),
}

/// What the environment says of host and container.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The container's machine id, with hyphens.
    pub uuid: &'a str,
    /// The host's os-release file.
    pub os_release: &'a str,
}

impl Payload {
    /// Finds out what runs in `tree`.
    ///
    /// # Errors
    /// See [`PayloadError`].
    pub fn new(config: &Config, tree: &Tree, facts: &Facts<'_>) -> Result<Self, PayloadError> {
        let user = user(config, tree)?;
        let is_shell = config.start != Start::Boot && config.command.is_empty();
        let environment = environment(config, &user, facts)?;
        let (programs, arguments) = program(config, &user, &environment)?;
        let directory = match &config.chdir {
            Some(directory) => (directory.clone(), true),
            None if is_shell => (CString::new(user.home.as_str())?, false),
            None => (c"/".to_owned(), true),
        };
        Ok(Self {
            programs,
            arguments,
            environment,
            user,
            directory,
        })
    }
}

fn user(config: &Config, tree: &Tree) -> Result<User, PayloadError> {
    let read = |path: &str| -> io::Result<String> {
        Ok(String::from_utf8_lossy(&read_in(tree.as_fd(), path)?).into_owned())
    };
    let passwd = read("/etc/passwd").unwrap_or_default();
    match &config.user {
        None => Ok(User::find("root", &passwd, "").unwrap_or_else(User::root)),
        Some(who) => {
            let group = read("/etc/group").unwrap_or_default();
            User::find(who, &passwd, &group)
                .or_else(|| (who == "root").then(User::root))
                .ok_or_else(|| PayloadError::NoUser(who.clone()))
        }
    }
}

fn program(
    config: &Config,
    user: &User,
    environment: &[CString],
) -> Result<(Vec<CString>, Vec<CString>), NulError> {
    let owned = |path: &str| CString::new(path);
    if config.start == Start::Boot {
        let programs: Vec<CString> = inits().map(owned).collect::<Result<_, _>>()?;
        let name = c"/sbin/init".to_owned();
        let arguments = std::iter::once(name).chain(config.command.iter().cloned());
        return Ok((programs, arguments.collect()));
    }
    let Some(program) = config.command.first() else {
        let shells = user.shell.iter().map(String::as_str).chain(SHELLS);
        let programs = shells.map(owned).collect::<Result<_, _>>()?;
        return Ok((programs, vec![CString::default()]));
    };
    if program.as_bytes().contains(&b'/') {
        return Ok((vec![program.clone()], config.command.clone()));
    }
    let path = environment
        .iter()
        .find_map(|one| one.as_bytes().strip_prefix(b"PATH="))
        .unwrap_or(PATH.as_bytes());
    let programs = path
        .split(|byte| *byte == b':')
        .filter(|directory| directory.starts_with(b"/"))
        .map(|directory| CString::new([directory, b"/", program.as_bytes()].concat()))
        .collect::<Result<_, _>>()?;
    Ok((programs, config.command.clone()))
}

fn environment(config: &Config, user: &User, facts: &Facts<'_>) -> Result<Vec<CString>, NulError> {
    let mut variables: Vec<(String, String)> = vec![];
    let mut set = |name: &str, value: &str| variables.push((name.to_owned(), value.to_owned()));
    set("PATH", PATH);
    set("container", "rspawn");
    set("HOME", &user.home);
    set("USER", &user.name);
    set("LOGNAME", &user.name);
    set("container_uuid", facts.uuid);
    set("NOTIFY_SOCKET", crate::mounts::run_host::NOTIFY_SOCKET);
    if config.start != Start::Boot {
        set("LANG", "C.UTF-8");
    }
    if config.console != ConsoleMode::Pipe {
        for name in ["TERM", "COLORTERM", "NO_COLOR"] {
            if let Ok(value) = std::env::var(name)
                && !(name == "TERM" && value == "dumb")
            {
                set(name, &value);
            }
        }
    }
    for (key, value) in os_release(facts.os_release) {
        if HOST_KEYS.contains(&key) {
            set(
                &format!("container_host_{}", key.to_ascii_lowercase()),
                &value,
            );
        }
    }
    let mut environment: Vec<CString> = variables
        .into_iter()
        .map(|(name, value)| CString::new(format!("{name}={value}")))
        .collect::<Result<_, _>>()?;
    for asked in &config.environment {
        let name_of = |one: &CString| {
            one.as_bytes()
                .split(|b| *b == b'=')
                .next()
                .map(<[u8]>::to_vec)
        };
        let name = name_of(asked);
        environment.retain(|one| name_of(one) != name);
        environment.push(asked.clone());
    }
    Ok(environment)
}

/// The assignments of an os-release(5) file.
fn os_release(text: &str) -> impl Iterator<Item = (&str, String)> {
    text.lines().filter_map(|line| {
        let (key, value) = line.split_once('=')?;
        let value = value.trim();
        let quoted = [('"', '"'), ('\'', '\'')]
            .iter()
            .find_map(|(open, close)| value.strip_prefix(*open)?.strip_suffix(*close));
        Some((key.trim(), quoted.unwrap_or(value).replace('\\', "")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn os_release_values_may_be_quoted() {
        let text = "# x\nID=debian\nVERSION_ID=\"12\"\nNAME='a b'\nbroken\n";
        let all: Vec<_> = os_release(text).collect();
        assert_eq!(all[0], ("ID", "debian".to_owned()));
        assert_eq!(all[1], ("VERSION_ID", "12".to_owned()));
        assert_eq!(all[2], ("NAME", "a b".to_owned()));
        assert_eq!(all.len(), 3);
    }
}
