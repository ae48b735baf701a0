//! Hosts with rspawn, and hosts with systemd's programs.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use netns_fixtures::{Host, Running, tree_cache, wait_until};

use crate::process::{self, Process};

const SOON: Duration = Duration::from_secs(15);

/// The suite whose tree both sides start.
pub const SUITE: &str = "bookworm";

/// A host whose names come from `service` (an NSS module) alone, so that a name
/// that is not there yet is not asked of anybody else.
pub fn host_with_names_from(service: &str) -> Host {
    let host = Host::new();
    host.run(&format!(
        "sed -i 's/^hosts:.*/hosts: {service}/' /etc/nsswitch.conf"
    ));
    host
}

/// A host with rspawn, without netd.
pub fn ours() -> Host {
    let host = Host::new();
    host.install();
    host.run("sed -i 's/^hosts:.*/hosts: rspawn/' /etc/nsswitch.conf");
    host
}

/// Systemd's programs that give a container its network and its name.
pub struct Systemd<'a> {
    running: Vec<Running<'a>>,
}

impl<'a> Systemd<'a> {
    /// Starts the bus, machined and networkd in a host without udev.
    pub fn start(host: &'a Host) -> Self {
        install_mymachines(host);
        Self::with(host, &[("machined", "machine1"), ("networkd", "network1")])
    }

    /// Starts the bus and networkd in a host without udev.
    pub fn networkd(host: &'a Host) -> Self {
        Self::with(host, &[("networkd", "network1")])
    }

    /// The process id of the daemon that was started last, networkd.
    pub fn networkd_pid(&self) -> u32 {
        self.running.last().expect("it was started").pid()
    }

    fn with(host: &'a Host, daemons: &[(&str, &str)]) -> Self {
        // /sys is read-only so that networkd does not wait for udev.
        host.run(
            "mkdir -p /run/dbus /run/systemd/machines /run/systemd/netif/links /run/systemd/netif/leases /run/systemd/netif/lldp
             chown -R systemd-network: /run/systemd/netif
             mount -o remount,bind,ro /sys",
        );
        let mut running = vec![
            host.command("dbus-daemon")
                .args(["--system", "--nofork", "--nopidfile", "--nosyslog"])
                .cgroup("dbus.service")
                .spawn("dbus"),
        ];
        let bus = "/run/dbus/system_bus_socket";
        assert!(wait_until(SOON, || host.exists(bus)), "the bus starts");
        for (name, owned) in daemons {
            running.push(
                host.command(format!("/lib/systemd/systemd-{name}"))
                    .env("SYSTEMD_LOG_TARGET", "console")
                    .cgroup(&format!("systemd-{name}.service"))
                    .spawn(name),
            );
            let up = wait_until(SOON, || {
                host.run("busctl --no-legend --no-pager list")
                    .contains(&format!("org.freedesktop.{owned} "))
            });
            assert!(up, "{name} starts");
        }
        Self { running }
    }
}

/// netd, and how long it took to be ready.
pub struct Netd<'a> {
    running: Running<'a>,
    /// From the program's start until it said so (sd_notify(3)).
    pub ready: Duration,
}

impl<'a> Netd<'a> {
    /// Starts it, and waits until it is ready.
    pub fn start(host: &'a Host) -> Self {
        let socket = "/run/bench-ready";
        let notified = host.enter(|| {
            let _ = std::fs::remove_file(socket);
            UnixDatagram::bind(socket).unwrap()
        });
        notified
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        let command = host
            .command(netns_fixtures::NETD)
            .env("NOTIFY_SOCKET", socket)
            .cgroup(netns_fixtures::NETD_CGROUP);
        let started = Instant::now();
        let running = command.spawn("netd");
        process::tell_of_at_failure(running.pid());
        let mut told = [0; 4096];
        loop {
            let Ok(length) = notified.recv(&mut told) else {
                panic!("netd does not get ready: {}", running.stderr());
            };
            if told[..length].windows(7).any(|part| part == b"READY=1") {
                break;
            }
        }
        Self {
            running,
            ready: started.elapsed(),
        }
    }

    /// Its process.
    pub fn process(&self) -> Process {
        Process(self.running.pid())
    }

    /// Ends it by SIGKILL. Gives how long the kernel took until the process was gone.
    pub fn kill(mut self) -> Duration {
        let started = Instant::now();
        self.running.signal(libc::SIGKILL);
        self.running.wait(Duration::from_secs(180));
        started.elapsed()
    }
}

/// Puts systemd's NSS module into a host.
fn install_mymachines(host: &Host) {
    let found = host.run(&format!(
        "ls {}/mymachines/usr/lib/*/libnss_mymachines.so.2 | head -n 1",
        tree_cache().display()
    ));
    let module = PathBuf::from(found);
    host.run(&format!(
        "cp {} $(dirname $(ls /usr/lib/*/libnss_systemd.so.2 | head -n 1))/",
        module.display()
    ));
}

/// Makes sure that systemd's NSS module is on the machine.
pub fn fetch_mymachines() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/setup/mymachines.sh");
    let status = Command::new(script)
        .stdout(std::process::Stdio::null())
        .status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "libnss-mymachines can be fetched"
    );
}
