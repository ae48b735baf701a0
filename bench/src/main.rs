//! `make bench`: rspawn and systemd's own programs, side by side in the same run on
//! the same machine, with the same tree. Writes tables; asserts no figure of them.

// A measurement that cannot be made ends the program.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod crowd;
mod inside;
mod kernel;
mod links;
mod machine;
mod measure;
mod peers;
mod process;
mod report;
mod rows;

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use clap::{Parser, ValueEnum};

use rows::Subject;

/// Measures rspawn beside its peers.
///
/// As root, on Debian 12. All of it happens in hosts made of namespaces; nothing on
/// the machine changes.
#[derive(Parser)]
struct Arguments {
    /// What to measure; everything if nothing is named
    subjects: Vec<Subject>,
    /// Less of it: a look in about three minutes
    #[arg(long)]
    quick: bool,
    /// Write the results into this file as well
    #[arg(long)]
    output: Option<PathBuf>,
    /// The part of it that runs in a host
    #[arg(long, hide = true, num_args = 1.., allow_hyphen_values = true)]
    inside: Vec<String>,
    /// Measure here, instead of in a process for each subject
    #[arg(long, hide = true)]
    here: bool,
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Less than all.
    pub quick: bool,
}

impl Extent {
    /// One value for a quick look, another for the real thing.
    pub fn pick<T>(self, quick: T, full: T) -> T {
        if self.quick { quick } else { full }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if !arguments.inside.is_empty() {
        inside::main(&arguments.inside);
        return ExitCode::SUCCESS;
    }
    let extent = Extent {
        quick: arguments.quick,
    };
    if arguments.here {
        // The hosts end with this process, which ends with the one that started it.
        let signal = Some(rustix::process::Signal::KILL);
        rustix::process::set_parent_process_death_signal(signal).unwrap();
        for subject in arguments.subjects {
            subject.measure(extent);
        }
        return ExitCode::SUCCESS;
    }
    let subjects = match arguments.subjects {
        none if none.is_empty() => Subject::value_variants().to_vec(),
        some => some,
    };
    let mut text = machine::described(extent);
    let mut failed = false;
    for subject in subjects {
        let (section, complete) = measure_apart(subject, extent);
        text.push_str(&section);
        failed |= !complete;
    }
    print!("{text}");
    if let Some(output) = arguments.output {
        std::fs::write(output, &text).expect("the results can be written");
    }
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// Measures a subject in a process of its own, so that what goes wrong with it takes
/// no other one with it. Gives its text, and whether it is complete.
fn measure_apart(subject: Subject, extent: Extent) -> (String, bool) {
    let name = subject.to_possible_value().unwrap();
    let name = name.get_name();
    eprintln!("{name}");
    machine::wait_until_quiet();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--here", name]);
    if extent.quick {
        command.arg("--quick");
    }
    let output = command.stderr(Stdio::inherit()).output().unwrap();
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        text.push_str(&format!(
            "\n(`{name}` could not be measured to its end.)\n\n"
        ));
    }
    (text, output.status.success())
}
