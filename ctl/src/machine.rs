//! Machines as the registry's directory shows them.

use std::fs;
use std::io;

use registry::record::key;
use registry::{LookupError, MachineName, Record, RecordBuf};
use serde::Serialize;

use crate::os_release::OsRelease;

/// A machine that runs.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Its name.
    #[serde(rename = "machine")]
    pub name: String,
    /// `container`.
    pub class: String,
    /// The manager that registered it.
    pub service: String,
    /// Process id of its first process.
    #[serde(skip)]
    pub leader: u32,
    /// The operating system in it, as far as the caller may look.
    #[serde(flatten)]
    pub os: OsRelease,
    /// Its addresses, in the order in which its name resolves.
    pub addresses: Vec<String>,
    /// When it was registered, microseconds since the epoch.
    #[serde(skip)]
    pub since: u64,
    /// Machine id, or empty.
    #[serde(skip)]
    pub id: String,
    /// `host`, `private`, `veth`, `bridge` or `zone`.
    pub network: String,
    /// Name of the host's end of its link, or empty.
    #[serde(skip)]
    pub link: String,
    /// Its cgroup, or empty.
    #[serde(skip)]
    pub cgroup: String,
}

/// Why a machine cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// There is none of that name.
    #[error("no machine '{0}' is running (see: rspawnctl list)")]
    Unknown(String),
    /// The record is there, but cannot be used.
    #[error("the record of machine '{0}' is damaged; restarting netd writes it anew")]
    Damaged(String),
    /// The record or the directory cannot be read.
    #[error("cannot read {path}")]
    Unreadable {
        /// Which one.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Machine {
    /// Reads one machine.
    ///
    /// # Errors
    /// [`MachineError`].
    pub fn find(name: &str) -> Result<Self, MachineError> {
        let unknown = || MachineError::Unknown(name.to_owned());
        let machine = MachineName::from_query(name.as_bytes()).map_err(|_| unknown())?;
        let mut buffer = RecordBuf::new();
        match buffer.by_name(&machine) {
            Ok(record) => Ok(Self::from_record(&record)),
            Err(LookupError::NotFound) => Err(unknown()),
            Err(LookupError::Io(errno)) => Err(MachineError::Unreadable {
                path: format!("{}/{machine}", registry::MACHINES_DIR),
                source: io::Error::from_raw_os_error(errno),
            }),
            Err(LookupError::Malformed(_)) => Err(MachineError::Damaged(machine.to_string())),
        }
    }

    /// Reads all machines, by name. One that ends meanwhile is left out.
    ///
    /// # Errors
    /// The directory cannot be read; that it is not there is no error.
    pub fn all() -> Result<Vec<Self>, MachineError> {
        let list = match fs::read_dir(registry::MACHINES_DIR) {
            Ok(list) => list,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => {
                return Err(MachineError::Unreadable {
                    path: registry::MACHINES_DIR.into(),
                    source,
                });
            }
        };
        let mut machines: Vec<Self> = list
            .flatten()
            .filter_map(|entry| Self::find(entry.file_name().to_str()?).ok())
            .collect();
        machines.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(machines)
    }

    fn from_record(record: &Record<'_>) -> Self {
        let text = |key| record.get(key).unwrap_or_default().to_owned();
        let number = |key| {
            record
                .get(key)
                .and_then(|value| value.parse().ok())
                .unwrap_or(0)
        };
        let leader = u32::try_from(number(key::LEADER)).unwrap_or(0);
        Self {
            name: record.name().to_string(),
            class: text(key::CLASS),
            service: text(key::SERVICE),
            leader,
            os: OsRelease::of_process(leader),
            addresses: record
                .addresses()
                .map(|address| address.to_string())
                .collect(),
            since: number(key::REALTIME),
            id: text(key::ID),
            network: text(key::NETWORK),
            link: text(key::LINK),
            cgroup: text(key::CGROUP),
        }
    }
}
