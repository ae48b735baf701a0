//! The kernel spoken to directly, so that what is measured is nobody's overhead.

pub mod batch;
pub mod clone;
pub mod dhcp;
pub mod monitor;
