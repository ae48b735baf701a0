//! `netns-host`: runs a command in a host of its own.

// Nothing here could go on after a failure.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::env;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use netns_fixtures::Host;

const USAGE: &str = "\
usage: netns-host [OPTION]... [--] [COMMAND [ARGUMENT]...]

Runs COMMAND (a shell) in a host of its own: the machine's root under an overlay
that keeps every write to itself, with its own network, processes and cgroups.
Nothing on the machine changes, and nothing is left when the command ends.

  --install       put the built programs and the NSS module in place
  --tree SUITE    mount a Debian tree (tests/setup/tree.sh makes it) that can be
                  written to; its path is in $TREE. May be a path.
  -h, --help      show this
";

#[derive(Default)]
struct Arguments {
    install: bool,
    tree: Option<String>,
    command: Vec<String>,
}

fn main() -> ExitCode {
    let mut words: Vec<String> = env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == "--hold") {
        return match netns_fixtures::hold::hold() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("netns-host: {error}");
                ExitCode::FAILURE
            }
        };
    }
    words.reverse();
    match parse(words) {
        Ok(Some(arguments)) => run(arguments),
        Ok(None) => {
            print!("{USAGE}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("netns-host: {error}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// Reads the command line, whose words are in reverse order.
fn parse(mut words: Vec<String>) -> Result<Option<Arguments>, String> {
    let mut arguments = Arguments::default();
    while let Some(word) = words.pop() {
        match word.as_str() {
            "-h" | "--help" => return Ok(None),
            "--install" => arguments.install = true,
            "--tree" => arguments.tree = Some(words.pop().ok_or("--tree needs a suite or a path")?),
            "--" => break,
            option if option.starts_with('-') => return Err(format!("unknown option {option}")),
            _ => {
                words.push(word);
                break;
            }
        }
    }
    words.reverse();
    arguments.command = words;
    if arguments.command.is_empty() {
        arguments
            .command
            .push(env::var("SHELL").unwrap_or_else(|_| "/bin/sh".to_owned()));
    }
    Ok(Some(arguments))
}

fn run(arguments: Arguments) -> ExitCode {
    let directory = env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    let host = Host::new();
    if arguments.install {
        host.install();
    }
    let mut words = arguments.command.into_iter();
    let mut command = host
        .command(words.next().expect("there is a command"))
        .args(words)
        .inherit();
    for name in ["TERM", "COLORTERM", "NO_COLOR", "COLUMNS"] {
        if let Ok(value) = env::var(name) {
            command = command.env(name, value);
        }
    }
    if let Some(tree) = arguments.tree {
        let path = if tree.contains('/') {
            let tree = host.overlay(
                &Path::new(&tree).canonicalize().expect("the tree is there"),
                "tree",
            );
            host.authorize(&tree);
            tree
        } else {
            host.tree(&tree)
        };
        command = command.env("TREE", path);
    }
    command.as_std().current_dir(directory);
    let mut child = command.start();
    // Only now: what ignores a signal passes that on to what it starts.
    netns_fixtures::ignore_interrupts();
    let status = child.wait().expect("a child can be waited for");
    let code = status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
