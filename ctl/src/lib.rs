//! `rspawnctl`: looks at and sets up rspawn's containers.

pub mod nss_switch;
