//! Where the programs under test are.

use std::env;
use std::path::PathBuf;

/// The directory of the built programs: `RSPAWN_BIN_DIR`, else where Cargo has put
/// the calling program or, for a test, the directory above.
///
/// # Panics
/// When the calling program's own path is unknown.
#[must_use]
pub fn programs_dir() -> PathBuf {
    if let Some(directory) = env::var_os("RSPAWN_BIN_DIR") {
        return PathBuf::from(directory);
    }
    let own = env::current_exe().expect("the path of this program is known");
    let directory = own.parent().expect("a program is in a directory");
    if directory.ends_with("deps") || directory.ends_with("examples") {
        return directory
            .parent()
            .expect("deps is in a directory")
            .to_path_buf();
    }
    directory.to_path_buf()
}

/// The path of the built program (or library) `name`.
///
/// # Panics
/// When it has not been built.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let path = programs_dir().join(name);
    assert!(
        path.exists(),
        "{} is missing: run `cargo build --workspace` first, or set RSPAWN_BIN_DIR",
        path.display()
    );
    path
}

/// The path of the NSS module, which is only complete when it is built for release:
/// without a standard library, a build for debugging refers to what is not there.
///
/// # Panics
/// When it has not been built.
#[must_use]
pub fn nss_module() -> PathBuf {
    let name = "libnss_rspawn.so";
    let directory = programs_dir();
    if directory.ends_with("debug") {
        let path = directory.with_file_name("release").join(name);
        assert!(
            path.exists(),
            "{} is missing: cargo build --release -p rspawn-nss",
            path.display()
        );
        return path;
    }
    program(name)
}
