//! The program `rspawn`.

use std::process::ExitCode;

fn main() -> ExitCode {
    spawn::main()
}
