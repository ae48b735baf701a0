//! Forwarding between containers and the outside.

use super::Daemon;
use crate::log::Pace;
use crate::{log, sysctl};

/// That forwarding was restored is said at this pace.
static RESTORED: Pace = Pace::new();

impl Daemon {
    /// Has the host forward what containers send, and what comes back.
    pub(super) fn reconcile_forwarding(&mut self) {
        let uplinks: Vec<String> = self
            .world
            .uplinks(registry::LINK_GROUP)
            .map(|link| link.name.clone())
            .collect();
        let names: Vec<&str> = uplinks.iter().map(String::as_str).collect();
        match sysctl::enable_forwarding(&names, &self.sysctl_undo) {
            Ok(written) if !written.is_empty() => {
                let paths: Vec<String> = written
                    .iter()
                    .map(|path| path.display().to_string())
                    .collect();
                // A new uplink's own switch was never on.
                let for_all = paths.iter().any(|path| path.contains("/all/"));
                if std::mem::replace(&mut self.forwards, true) && for_all {
                    RESTORED.say(|more| {
                        tracing::warn!("restored: forwarding, in {}{more}", paths.join(", "));
                    });
                } else {
                    tracing::info!("forwarding switched on, in {}", paths.join(", "));
                }
            }
            Ok(_) => self.forwards = true,
            Err(error) => tracing::error!(
                "containers may not reach the outside: {}",
                log::chain(&error)
            ),
        }
        self.refresh_dhcp();
    }
}
