//! The servers of others, each with the same subnet and the same times.

use netns_fixtures::{Host, Running, wait_until};
use rspawn_tests::SOON;

use super::Lan;

/// Who serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Dnsmasq,
    Kea,
    Udhcpd,
    /// systemd's, of the machine or of a Debian tree.
    Networkd,
    NetworkdOf(&'static str),
}

impl Kind {
    /// Whether it knows rapid commit (RFC 4039).
    pub fn knows_rapid_commit(self) -> bool {
        match self {
            Self::Dnsmasq | Self::NetworkdOf(_) => true,
            Self::Kea | Self::Udhcpd | Self::Networkd => false,
        }
    }
}

/// What is served: 10.77.SUBNET.50 to 59 of a /24 whose first address is the server's, for
/// so many seconds.
#[derive(Clone, Copy, Debug)]
pub struct Serving {
    pub subnet: u8,
    pub seconds: u32,
}

impl Serving {
    fn net(self) -> String {
        format!("10.77.{}", self.subnet)
    }

    /// An address of the subnet.
    pub fn address(self, last: &str) -> String {
        format!("{}.{last}", self.net())
    }
}

/// Serves, and knows what it knew.
pub fn serve<'a>(host: &'a Host, lan: &Lan<'a>, kind: Kind, serving: Serving) -> Running<'a> {
    match kind {
        Kind::Dnsmasq => dnsmasq(lan, serving),
        Kind::Kea => kea(host, lan, serving),
        Kind::Udhcpd => udhcpd(host, lan, serving),
        Kind::Networkd => networkd(host, lan, serving, None),
        Kind::NetworkdOf(suite) => networkd(host, lan, serving, Some(suite)),
    }
}

/// Ends a server, which may write down what it knows.
pub fn end(mut server: Running<'_>) {
    server.signal(libc::SIGTERM);
    server.wait(SOON);
}

fn dnsmasq<'a>(lan: &Lan<'a>, serving: Serving) -> Running<'a> {
    // Nothing below two minutes is taken; the times at which is renewed are.
    let (renew, rebind) = (serving.seconds / 2, serving.seconds * 7 / 8);
    let range = format!("{},{},120", serving.address("50"), serving.address("59"));
    super::dnsmasq(
        lan,
        &range,
        &[
            "--dhcp-rapid-commit",
            "-O",
            &format!("option:T1,{renew}"),
            "-O",
            &format!("option:T2,{rebind}"),
        ],
    )
}

fn kea<'a>(host: &'a Host, lan: &Lan<'a>, serving: Serving) -> Running<'a> {
    super::kea_of(host, lan, &serving.net(), serving.seconds)
}

fn udhcpd<'a>(host: &'a Host, lan: &Lan<'a>, serving: Serving) -> Running<'a> {
    let Serving { seconds, .. } = serving;
    let (first, last, router) = (
        serving.address("50"),
        serving.address("59"),
        serving.address("1"),
    );
    super::udhcpd(
        host,
        lan,
        &format!(
            "start {first}\nend {last}\noption subnet 255.255.255.0\noption router {router}\n\
             option lease {seconds}\nmin_lease 1\n"
        ),
    )
}

/// networkd with a namespace of mounts of its own, in which a tree's has its root.
fn networkd<'a>(
    host: &'a Host,
    lan: &Lan<'a>,
    serving: Serving,
    suite: Option<&'static str>,
) -> Running<'a> {
    let root = match suite {
        None => String::new(),
        Some(suite) if host.exists(format!("/tmp/{suite}")) => format!("/tmp/{suite}"),
        Some(suite) => {
            let tree = host.tree(suite);
            host.run(&format!("ln -s {} /tmp/{suite}", tree.display()));
            format!("/tmp/{suite}")
        }
    };
    host.write(
        format!("{root}/etc/systemd/network/10-lan.network"),
        format!(
            "[Match]\nName=eth0\n[Network]\nAddress={}/24\nDHCPServer=yes\nKeepConfiguration=static\n\
             LinkLocalAddressing=no\n[DHCPServer]\nPoolOffset=50\nPoolSize=10\n\
             EmitDNS=no\nEmitNTP=no\nPersistLeases=no\nDefaultLeaseTimeSec={seconds}\nMaxLeaseTimeSec={seconds}\n",
            serving.address("1"),
            seconds = serving.seconds,
        ),
    );
    // It sets the address itself.
    lan.run("ip address flush dev eth0");
    let mut networkd = lan
        .command("unshare")
        .args(["-m", "sh", "-euc"])
        .arg(format!(
            "# With a /sys that can be written to it would wait for udev.
             if [ -n '{root}' ]; then
                 mount -t proc proc {root}/proc; mount -t tmpfs tmpfs {root}/run
                 mount --bind /sys {root}/sys
             fi
             mount -o remount,bind,ro {root}/sys
             mkdir -p {root}/run/systemd/netif/links {root}/run/systemd/netif/leases
             mkdir -p {root}/run/systemd/netif/lldp {root}/var/lib/systemd/network
             chroot {root}/ chown -R systemd-network: /run/systemd/netif /var/lib/systemd/network
             exec chroot {root}/ /lib/systemd/systemd-networkd"
        ))
        .env("SYSTEMD_LOG_LEVEL", "debug")
        .env("SYSTEMD_LOG_TARGET", "console")
        .spawn("networkd");
    // 67.
    let serves = || lan.run("cat /proc/net/udp").contains(":0043 ");
    let waited = wait_until(SOON, || serves() || networkd.ended().is_some());
    assert!(waited && networkd.ended().is_none());
    networkd
}
