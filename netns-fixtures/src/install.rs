//! The programs under test in a host.

use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::command::Running;
use crate::host::Host;
use crate::programs::{nss_module, program};
use crate::wait::wait_until;

/// The cgroup of a host in which netd runs.
pub const NETD_CGROUP: &str = "netd.service";
/// Where netd is installed.
pub const NETD: &str = "/usr/lib/rspawn/netd";

const SUPERVISOR_SOCKET: &str = "/run/rspawn/supervisor.sock";

impl Host {
    /// Puts the built programs and the NSS module into place, as `make install`
    /// does, and `rspawn` into the hosts line of nsswitch.conf.
    ///
    /// # Panics
    /// When one of them has not been built.
    pub fn install(&self) {
        for (name, path) in [
            ("rspawn", "/usr/bin/rspawn"),
            ("rspawnctl", "/usr/bin/rspawnctl"),
            ("netd", NETD),
        ] {
            self.copy(&program(name), path);
        }
        self.install_nss_module();
    }

    /// Puts the NSS module alone into place, and into nsswitch.conf.
    ///
    /// # Panics
    /// When it has not been built.
    pub fn install_nss_module(&self) {
        let directory = self.run("dirname \"$(ls /usr/lib/*/libnss_files.so.2 /usr/lib/*/libc.so.6 2>/dev/null | head -1)\"");
        self.copy(&nss_module(), &format!("{directory}/libnss_rspawn.so.2"));
        self.run("sed -i 's/^hosts:.*/hosts: files rspawn dns/' /etc/nsswitch.conf");
    }

    fn copy(&self, from: &Path, to: &str) {
        // A copy, so that a build that goes on meanwhile is not seen.
        let content = fs::read(from).unwrap();
        self.write_program(to, content);
    }

    /// Starts netd and waits until it takes registrations.
    ///
    /// # Panics
    /// When it does not within ten seconds.
    pub fn start_netd(&self) -> Running<'_> {
        self.start_netd_with(&[])
    }

    /// Starts netd with further arguments, as [`Host::start_netd`].
    ///
    /// # Panics
    /// When it does not take registrations within ten seconds.
    pub fn start_netd_with(&self, arguments: &[&str]) -> Running<'_> {
        let mut netd = self
            .command(NETD)
            .args(arguments)
            .env("RUST_BACKTRACE", "1")
            .cgroup(NETD_CGROUP)
            .spawn("netd");
        let serves = wait_until(Duration::from_secs(10), || {
            self.netd_serves() || netd.ended().is_some()
        });
        assert!(
            serves && netd.ended().is_none(),
            "netd does not serve:\n{}",
            netd.stderr()
        );
        netd
    }

    /// Whether something listens on netd's socket.
    #[must_use]
    pub fn netd_serves(&self) -> bool {
        // Of another type than ours, so that netd sees no connection at all; a
        // socket that nobody listens on refuses.
        self.enter(|| {
            UnixStream::connect(SUPERVISOR_SOCKET)
                .is_err_and(|error| error.raw_os_error() == Some(libc::EPROTOTYPE))
        })
    }

    /// Waits until netd no longer listens.
    ///
    /// # Panics
    /// When it still does after ten seconds.
    pub fn wait_for_no_netd(&self) {
        let gone = wait_until(Duration::from_secs(10), || {
            self.enter(|| {
                UnixStream::connect(SUPERVISOR_SOCKET).is_err_and(|error| {
                    matches!(
                        error.kind(),
                        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound
                    )
                })
            })
        });
        assert!(gone, "netd still listens");
    }
}
