//! The bus driver's methods that clients call before anything else, answered as a
//! bus with two participants would.

use zbus::fdo;
use zbus::interface;

/// Where the driver's object is.
pub(super) const PATH: &str = "/org/freedesktop/DBus";
/// The name of the driver.
const DRIVER: &str = "org.freedesktop.DBus";
/// The client's own name on this bus of two.
const CLIENT: &str = ":1.1";
/// netd's name on it.
const NETD: &str = ":1.0";
/// The names that netd serves.
const SERVED: [&str; 1] = ["org.rspawn.Netd1"];

/// `org.freedesktop.DBus` (D-Bus Specification, "Message Bus Messages").
pub(super) struct Driver {
    id: String,
}

impl Driver {
    pub(super) fn new(id: String) -> Self {
        Self { id }
    }
}

fn owner_of(name: &str) -> Option<&'static str> {
    match name {
        DRIVER => Some(DRIVER),
        CLIENT => Some(CLIENT),
        NETD => Some(NETD),
        name => SERVED.contains(&name).then_some(NETD),
    }
}

fn no_owner(name: &str) -> fdo::Error {
    fdo::Error::NameHasNoOwner(format!("{name} is not served here"))
}

#[interface(name = "org.freedesktop.DBus", spawn = false)]
impl Driver {
    fn hello(&self) -> &str {
        CLIENT
    }

    fn add_match(&self, rule: &str) {
        // Signals go to whoever is connected; the client sorts them out.
        let _ = rule;
    }

    fn remove_match(&self, rule: &str) {
        let _ = rule;
    }

    fn get_name_owner(&self, name: &str) -> fdo::Result<&'static str> {
        owner_of(name).ok_or_else(|| no_owner(name))
    }

    fn name_has_owner(&self, name: &str) -> bool {
        owner_of(name).is_some()
    }

    fn list_names(&self) -> Vec<&'static str> {
        [DRIVER, NETD, CLIENT].into_iter().chain(SERVED).collect()
    }

    fn list_activatable_names(&self) -> Vec<&'static str> {
        Vec::new()
    }

    fn start_service_by_name(&self, name: &str, flags: u32) -> fdo::Result<u32> {
        let _ = flags;
        const ALREADY_RUNNING: u32 = 2;
        owner_of(name)
            .map(|_| ALREADY_RUNNING)
            .ok_or_else(|| no_owner(name))
    }

    fn request_name(&self, name: &str, flags: u32) -> fdo::Result<u32> {
        let _ = flags;
        Err(fdo::Error::AccessDenied(format!(
            "{name} cannot be had on this socket"
        )))
    }

    #[zbus(name = "GetConnectionUnixProcessID")]
    fn get_connection_unix_process_id(&self, name: &str) -> fdo::Result<u32> {
        owner_of(name)
            .map(|_| std::process::id())
            .ok_or_else(|| no_owner(name))
    }

    fn get_connection_unix_user(&self, name: &str) -> fdo::Result<u32> {
        owner_of(name).map(|_| 0).ok_or_else(|| no_owner(name))
    }

    fn get_id(&self) -> &str {
        &self.id
    }
}
