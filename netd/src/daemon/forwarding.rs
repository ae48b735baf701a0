//! Forwarding between containers and the outside.

use super::Daemon;
use crate::{log, sysctl};

impl Daemon {
    /// Has the host forward what containers send, and what comes back.
    pub(super) fn reconcile_forwarding(&self) {
        let uplinks: Vec<String> = self
            .world
            .uplinks(registry::LINK_GROUP)
            .map(|link| link.name.clone())
            .collect();
        let names: Vec<&str> = uplinks.iter().map(String::as_str).collect();
        if let Err(error) = sysctl::enable_forwarding(&names, &self.sysctl_undo) {
            tracing::error!(
                "containers may not reach the outside: {}",
                log::chain(&error)
            );
        }
        self.refresh_dhcp();
    }
}
