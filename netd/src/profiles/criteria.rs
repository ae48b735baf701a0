//! Which links a file is for: its section `[Match]`.

use super::glob;
use crate::network_file::{Wrong, words};

/// What a file can tell links by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkFacts {
    /// Its name, then its alternative names.
    pub names: Vec<String>,
    /// Its kind as `ip -d link` shows it, such as `veth`.
    pub kind: String,
    /// Its type, `ether` for anything with an Ethernet address.
    pub link_type: String,
}

/// What a file can tell hosts by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// The host's name.
    pub name: String,
    /// Its machine id, 32 hexadecimal digits.
    pub machine_id: Option<String>,
}

impl HostFacts {
    /// Reads what this host is.
    #[must_use]
    pub fn read() -> Self {
        let id = std::fs::read_to_string("/etc/machine-id").ok();
        Self {
            name: rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned(),
            machine_id: id
                .map(|id| id.trim().to_owned())
                .filter(|id| !id.is_empty()),
        }
    }
}

/// What a link and its host must be for a file to be theirs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Criteria {
    pub name: Patterns,
    pub kind: Patterns,
    pub driver: Patterns,
    pub link_type: Patterns,
    pub host: Patterns,
}

impl Criteria {
    /// Whether nothing was said at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether all that was said is true.
    pub fn fit(&self, link: &LinkFacts, host: &HostFacts) -> bool {
        let host: Vec<&str> = [host.name.as_str()]
            .into_iter()
            .chain(host.machine_id.as_deref())
            .collect();
        let names: Vec<&str> = link.names.iter().map(String::as_str).collect();
        self.name.fit(&names)
            && self.kind.fit(&[&link.kind])
            // The driver of a veth, and of a bridge, is called as its kind is.
            && self.driver.fit(&[&link.kind])
            && self.link_type.fit(&[&link.link_type])
            && self.host.fit(&host)
    }
}

/// A list of patterns: one of them fits, and none that was negated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Patterns {
    wanted: Vec<String>,
    unwanted: Vec<String>,
}

impl Patterns {
    /// Adds the patterns of a value, all of them negated where it begins with `!`. An
    /// empty value takes all away.
    pub fn add(&mut self, value: &str) -> Result<(), Wrong> {
        if value.is_empty() {
            *self = Self::default();
            return Ok(());
        }
        let (list, words) = match value.strip_prefix('!') {
            Some(rest) => (&mut self.unwanted, words(rest)?),
            None => (&mut self.wanted, words(value)?),
        };
        list.extend(words);
        Ok(())
    }

    fn fit(&self, names: &[&str]) -> bool {
        let any = |patterns: &[String]| {
            patterns
                .iter()
                .any(|pattern| names.iter().any(|name| glob::matches(pattern, name)))
        };
        !any(&self.unwanted) && (self.wanted.is_empty() || any(&self.wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(names: &[&str]) -> LinkFacts {
        LinkFacts {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            kind: "veth".into(),
            link_type: "ether".into(),
        }
    }

    fn host() -> HostFacts {
        HostFacts {
            name: "alpha".into(),
            machine_id: Some("0123456789abcdef0123456789abcdef".into()),
        }
    }

    #[test]
    fn one_pattern_fits_and_no_negated_one() {
        let mut criteria = Criteria::default();
        criteria.name.add("ve-a* ve-b*").unwrap();
        criteria.name.add("!ve-bad \"ve-worse\"").unwrap();
        for (names, fit) in [
            (&["ve-a1"][..], true),
            (&["ve-b"], true),
            (&["ve-c"], false),
            (&["ve-bad"], false),
            (&["ve-x1f3", "ve-a-long-name"], true),
            (&["ve-a1", "ve-worse"], false),
        ] {
            assert_eq!(criteria.fit(&link(names), &host()), fit, "{names:?}");
        }
    }

    #[test]
    fn negated_alone_means_all_others() {
        let mut criteria = Criteria::default();
        criteria.name.add("!ve-a*").unwrap();
        assert!(criteria.fit(&link(&["ve-b"]), &host()));
        assert!(!criteria.fit(&link(&["ve-a"]), &host()));
    }

    #[test]
    fn an_empty_value_takes_all_away() {
        let mut criteria = Criteria::default();
        criteria.name.add("ve-a").unwrap();
        criteria.name.add("").unwrap();
        assert!(criteria.is_empty());
    }

    #[test]
    fn everything_that_is_said_must_be_true() {
        let facts = link(&["ve-a"]);
        type Part = fn(&mut Criteria) -> &mut Patterns;
        let parts: [(Part, &str, &str); 5] = [
            (|c| &mut c.name, "ve-*", "vb-*"),
            (|c| &mut c.kind, "veth", "bridge"),
            (|c| &mut c.driver, "veth", "!veth"),
            (|c| &mut c.link_type, "ether", "loopback"),
            (|c| &mut c.host, "al*", "!0123456789abcdef0123456789abcdef"),
        ];
        let mut all = Criteria::default();
        for (part, yes, _) in parts {
            part(&mut all).add(yes).unwrap();
        }
        assert!(all.fit(&facts, &host()));
        for (part, _, no) in parts {
            let mut but_one = all.clone();
            part(&mut but_one).add("").unwrap();
            part(&mut but_one).add(no).unwrap();
            assert!(!but_one.fit(&facts, &host()), "{no}");
        }
    }
}
