//! What is mounted in the container, and where. All of this runs inside, after the
//! tree has become the root: an absolute path never leads out of it.

pub mod api;
pub mod devices;
pub mod network_files;
pub mod ops;
pub mod root;
pub mod run_host;
pub mod target;
