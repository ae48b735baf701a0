//! What rspawn tells systemd-networkd, and netd takes back where rspawn cannot.

use std::path::{Path, PathBuf};

/// Where networkd's files for this boot stand (systemd.network(5)).
const FILES: &str = "/run/systemd/network";

/// The file that has networkd leave the link of this name alone. Its name sorts
/// before all others that could match the link as well.
#[must_use]
pub fn keep_off_file(link: &str) -> PathBuf {
    Path::new(FILES).join(format!("00-rspawn-{link}.network"))
}
