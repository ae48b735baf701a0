//! A place in which the module is tried with the real C library: mount and
//! network namespaces with a registry and an nsswitch.conf of their own.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing
)]

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What runs in the namespaces before the program. The addresses are for
/// AI_ADDRCONFIG, which asks for none of a family that the host doesn't have.
const PREPARE: &str = r#"
set -e
mount --bind "$WORLD/run" /run
mount --bind "$WORLD/nsswitch.conf" /etc/nsswitch.conf
mount --bind "$WORLD/hosts" /etc/hosts
ip link set lo up
ip address add 198.51.100.1/32 dev lo
ip address add 2001:db8:ffff::1/128 dev lo nodad
exec "$@"
"#;

/// Address family numbers, as a program's arguments.
pub const UNSPEC: &str = "0";
pub const INET: &str = "2";
pub const INET6: &str = "10";

/// A file system of its own, with a registry that tests write by hand.
pub struct World {
    root: tempfile::TempDir,
}

impl World {
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let world = Self { root };
        fs::create_dir_all(world.path("run/rspawn/machines")).unwrap();
        fs::create_dir_all(world.path("run/rspawn/addresses")).unwrap();
        fs::create_dir(world.path("lib")).unwrap();
        symlink(module(), world.path("lib/libnss_rspawn.so.2")).unwrap();
        fs::write(world.path("hosts"), "127.0.0.1 localhost\n").unwrap();
        world.nsswitch("hosts: files rspawn dns\n");
        world
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.root.path().join(below)
    }

    pub fn nsswitch(&self, text: &str) {
        fs::write(self.path("nsswitch.conf"), text).unwrap();
    }

    pub fn record_path(&self, name: &str) -> PathBuf {
        self.path("run/rspawn/machines").join(name)
    }

    /// Writes a whole record, and the links of its addresses.
    pub fn machine(&self, name: &str, addresses: &[&str]) {
        fs::write(self.record_path(name), record(name, addresses)).unwrap();
        for address in addresses {
            let ip = address.split('%').next().unwrap();
            let link = self.path("run/rspawn/addresses").join(ip);
            symlink(format!("../machines/{name}"), link).unwrap();
        }
    }

    /// Runs a program, and gives what it printed and its exit code.
    pub fn run(&self, program: &str, arguments: &[&str]) -> (String, i32) {
        let output = Command::new("timeout")
            .args([
                "--kill-after=1",
                "60",
                "unshare",
                "--mount",
                "--net",
                "--propagation=private",
            ])
            .args(["sh", "-c", PREPARE, "sh", program])
            .args(arguments)
            .env("WORLD", self.root.path())
            .env("LD_LIBRARY_PATH", self.path("lib"))
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.is_empty(), "{program} {arguments:?}: {errors}");
        (
            String::from_utf8(output.stdout).unwrap(),
            output.status.code().unwrap(),
        )
    }

    /// The lines that getent prints, words apart by one space. None: not found.
    pub fn getent(&self, database: &str, key: &str) -> Option<Vec<String>> {
        let (output, code) = self.run("getent", &[database, key]);
        match code {
            0 => Some(output.lines().map(one_spaced).collect()),
            2 => None,
            code => panic!("getent {database} {key} ends with {code}"),
        }
    }

    /// Runs the C program.
    pub fn caller(&self, arguments: &[&str]) -> String {
        let program = self.path("caller");
        if !program.exists() {
            compile(&program);
        }
        let (output, code) = self.run(program.to_str().unwrap(), arguments);
        assert_eq!(code, 0, "caller {arguments:?}");
        output.trim_end().to_owned()
    }

    /// Calls a function of the module with a buffer that is large and aligned.
    pub fn call(&self, function: &str, what: &str, family: &str) -> String {
        self.caller(&["call", function, what, family, "8192", "0"])
    }
}

/// The text of a whole record.
pub fn record(name: &str, addresses: &[&str]) -> String {
    let mut text = format!("VERSION=1\nNAME={name}\nCLASS=container\nSERVICE=rspawn\nLEADER=1\n");
    for address in addresses {
        writeln!(text, "ADDRESS={address}").unwrap();
    }
    text + "END=1\n"
}

fn one_spaced(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn compile(program: &Path) {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/caller.c");
    // -rdynamic: the module is to find the program's open, read and close.
    let output = Command::new("gcc")
        .args([
            "-Wall",
            "-Wextra",
            "-Werror",
            "-O1",
            "-rdynamic",
            "-pthread",
            "-o",
        ])
        .args([program.as_os_str(), source.as_ref()])
        .arg("-ldl")
        .output()
        .unwrap();
    succeeded("gcc", &output);
}

/// The module as it is installed: built for release.
pub fn module() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    // Cargo builds a cdylib for no test of its own accord.
    let output = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--release",
            "--offline",
            "--package",
            "rspawn-nss",
        ])
        .arg("--target-dir")
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    succeeded("cargo build", &output);
    target.join("release/libnss_rspawn.so")
}

/// The output of a program that looks at the module.
pub fn inspect(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .arg(module())
        .output()
        .unwrap();
    succeeded(program, &output);
    String::from_utf8(output.stdout).unwrap()
}

fn succeeded(what: &str, output: &Output) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {errors}");
}
