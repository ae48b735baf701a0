//! The machines that run, and their records for others to read.

mod claims;
mod machine;
mod registry_dir;

pub use claims::Claims;
pub use machine::{Attachment, Machine};
pub use registry_dir::{RegistryDir, RegistryDirError};
