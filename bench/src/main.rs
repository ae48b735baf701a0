//! `make bench`: rspawn and systemd's own programs, side by side in the same run on
//! the same machine, with the same tree. Prints a table; asserts nothing of it.

// A measurement that cannot be made ends the program.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod first_ping;
mod lookup;
mod measure;
mod peers;
mod run_once;

use measure::Row;

/// How often a container is started.
const RUNS: usize = 40;
/// How often a container is started and waited for until it is reached.
const REACHED: usize = 15;
/// How often a name is looked up.
const LOOKUPS: usize = 5000;

fn main() {
    let rows: Vec<Row> = [
        run_once::rows as fn() -> Vec<Row>,
        first_ping::rows,
        lookup::rows,
    ]
    .into_iter()
    .flat_map(|measure| measure())
    .collect();
    println!("{}", measure::table(&rows));
}
