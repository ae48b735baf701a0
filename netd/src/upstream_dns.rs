//! The name servers that the host asks, for containers to ask as well.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

/// Where the host's name servers stand, best first. Behind a resolver of the
/// host's own, which containers cannot reach, stand the real ones in a file of
/// its manager's.
const FILES: [&str; 4] = [
    "/etc/resolv.conf",
    "/run/systemd/resolve/resolv.conf",
    "/run/NetworkManager/no-stub-resolv.conf",
    "/run/resolvconf/resolv.conf",
];
/// The most servers that are handed on.
const SERVERS_MAX: usize = 8;

/// Name servers and domain of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamDns {
    /// Servers that containers can reach, in order.
    pub servers: Vec<IpAddr>,
    /// The first search domain.
    pub domain: Option<String>,
}

impl UpstreamDns {
    /// Reads what the host uses now.
    #[must_use]
    pub fn read() -> Self {
        Self::read_from(&FILES)
    }

    /// The directories and files that say so, to watch for changes.
    #[must_use]
    pub fn files() -> &'static [&'static str] {
        &FILES
    }

    fn read_from(files: &[impl AsRef<Path>]) -> Self {
        let mut dns = Self::default();
        for file in files {
            let Ok(text) = fs::read_to_string(file) else {
                continue;
            };
            let found = Self::parse(&text);
            dns.domain = dns.domain.or(found.domain);
            if !found.servers.is_empty() {
                dns.servers = found.servers;
                break;
            }
        }
        dns
    }

    /// Reads a resolv.conf(5). Servers that only the host itself reaches are left
    /// out.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut dns = Self::default();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            match (words.next(), words.next()) {
                (Some("nameserver"), Some(server)) => {
                    let server = server.parse().ok().filter(is_reachable);
                    if dns.servers.len() < SERVERS_MAX {
                        dns.servers.extend(server);
                    }
                }
                (Some("search" | "domain"), Some(domain)) => {
                    let domain = domain.trim_end_matches('.');
                    dns.domain = (is_domain(domain)).then(|| domain.to_owned());
                }
                _ => {}
            }
        }
        dns
    }
}

fn is_reachable(server: &IpAddr) -> bool {
    let link_local = match server {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !(server.is_loopback() || server.is_unspecified() || server.is_multicast() || link_local)
}

/// Whether a text can be a domain that is handed to others (RFC 1035, section 2.3.1,
/// with underscores as they are in use).
fn is_domain(text: &str) -> bool {
    (1..=253).contains(&text.len())
        && text.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_behind_a_local_resolver_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let (stub, real) = (dir.path().join("stub"), dir.path().join("real"));
        fs::write(
            &stub,
            "nameserver 127.0.0.53\noptions edns0\nsearch example.org\n",
        )
        .unwrap();
        fs::write(
            &real,
            "nameserver 192.0.2.53\nnameserver 2001:db8::53\nnameserver fe80::1%eth0\n",
        )
        .unwrap();
        let files = [dir.path().join("none"), stub, real];
        let dns = UpstreamDns::read_from(&files);
        assert_eq!(
            dns.servers,
            ["192.0.2.53", "2001:db8::53"].map(|ip| ip.parse::<IpAddr>().unwrap())
        );
        assert_eq!(dns.domain.as_deref(), Some("example.org"));
    }

    #[test]
    fn what_containers_cannot_reach_is_left_out() {
        let text = "nameserver 127.0.0.1\nnameserver ::1\nnameserver 0.0.0.0\nnameserver x\n\
            nameserver\nnameserver 169.254.1.1\nsearch ../etc\n";
        assert_eq!(UpstreamDns::parse(text), UpstreamDns::default());
    }
}
