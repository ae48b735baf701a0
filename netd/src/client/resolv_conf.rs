//! The name servers that leases bring: `/run/netd/resolv.conf`, and `/etc/resolv.conf`
//! where nobody else's is there.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

use crate::dhcp::client::Settings;
use crate::profiles::ClientProfile;
use crate::worker::Queue;

const OWN: &str = "/run/netd/resolv.conf";
const SYSTEM: &str = "/etc/resolv.conf";
/// Relative, so that it leads to the container's file from outside as well.
const LINK: &str = "../run/netd/resolv.conf";
/// What a file of netd's begins with.
const MARK: &str = "# Written by netd";

/// What one link brings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    servers: Vec<Ipv4Addr>,
    search: Vec<String>,
}

impl Names {
    /// What of a lease is asked for.
    pub fn of(settings: &Settings, profile: &ClientProfile) -> Self {
        let mut names = Self::default();
        if profile.use_dns {
            names.servers.clone_from(&settings.dns);
        }
        if profile.use_domains {
            let domains = settings.search.iter().chain(&settings.domain);
            for domain in domains {
                if !names.search.contains(domain) {
                    names.search.push(domain.clone());
                }
            }
        }
        names
    }
}

/// What all links bring.
#[derive(Debug)]
pub(super) struct Resolver {
    links: BTreeMap<u32, Names>,
    queue: Queue,
}

impl Resolver {
    pub fn new(queue: Queue) -> Self {
        Self {
            links: BTreeMap::new(),
            queue,
        }
    }

    /// A link brings this.
    pub fn set(&mut self, index: u32, names: Names) {
        // A server that names none leaves what is there as it is.
        let is_new = names != Names::default() || self.links.contains_key(&index);
        if is_new && self.links.get(&index) != Some(&names) {
            self.links.insert(index, names);
            self.write();
        }
    }

    /// A link brings nothing any more.
    pub fn remove(&mut self, index: u32) {
        if self.links.remove(&index).is_some() {
            self.write();
        }
    }

    fn write(&self) {
        let text = text(self.links.values());
        self.queue.add(move || match write(&text) {
            Ok(()) => {
                if let Err(error) = claim() {
                    tracing::info!("{SYSTEM} stays as it is, name servers are in {OWN}: {error}");
                }
            }
            Err(error) => tracing::warn!("cannot write {OWN}: {error}"),
        });
    }
}

fn text<'a>(links: impl Iterator<Item = &'a Names> + Clone) -> String {
    let mut text = format!("{MARK}, by what DHCP servers say; changes are lost.\n");
    let search: Vec<&str> = links
        .clone()
        .flat_map(|names| &names.search)
        .map(String::as_str)
        .collect();
    // Writing into a String does not fail.
    if !search.is_empty() {
        let _ = writeln!(text, "search {}", search.join(" "));
    }
    for server in links.flat_map(|names| &names.servers) {
        let _ = writeln!(text, "nameserver {server}");
    }
    text
}

fn write(text: &str) -> io::Result<()> {
    let path = Path::new(OWN);
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let draft = path.with_file_name(".resolv.conf.new");
    fs::write(&draft, text)?;
    fs::rename(draft, path)
}

/// Makes `/etc/resolv.conf` a link to netd's file, where it is missing or netd's own.
///
/// # Errors
/// Where that cannot be written.
pub fn claim() -> io::Result<()> {
    match fs::symlink_metadata(SYSTEM) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            std::os::unix::fs::symlink(LINK, SYSTEM)
        }
        Err(error) => Err(error),
        Ok(found) if found.is_file() && is_ours() => {
            let draft = "/etc/.resolv.conf.netd";
            let _ = fs::remove_file(draft);
            std::os::unix::fs::symlink(LINK, draft)?;
            fs::rename(draft, SYSTEM)
        }
        Ok(_) => Ok(()),
    }
}

fn is_ours() -> bool {
    fs::read(SYSTEM).is_ok_and(|bytes| bytes.starts_with(MARK.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_links_servers_and_domains_stand_in_one_file() {
        let names = |server: &str, search: &[&str]| Names {
            servers: vec![server.parse().unwrap()],
            search: search.iter().map(|name| (*name).to_owned()).collect(),
        };
        let links = [
            names("9.9.9.9", &["a.test", "b.test"]),
            names("1.1.1.1", &[]),
        ];
        let text = text(links.iter());
        assert!(text.starts_with(MARK), "{text}");
        assert!(
            text.ends_with("\nsearch a.test b.test\nnameserver 9.9.9.9\nnameserver 1.1.1.1\n"),
            "{text}"
        );
    }

    #[test]
    fn what_is_not_asked_for_is_left_out() {
        let settings = Settings {
            dns: vec!["9.9.9.9".parse().unwrap()],
            domain: Some("a.test".into()),
            search: vec!["b.test".into(), "a.test".into()],
            ..Settings::default()
        };
        let all = Names::of(&settings, &ClientProfile::default());
        assert_eq!(all.search, ["b.test", "a.test"]);
        let none = ClientProfile {
            use_dns: false,
            use_domains: false,
            ..ClientProfile::default()
        };
        assert_eq!(Names::of(&settings, &none), Names::default());
    }
}
