//! Tells the service manager that started rspawn how it goes (sd_notify(3)).

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;

use rustix::net::{
    AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sendto, socket_with,
};

/// Whether a service manager listens.
#[must_use]
pub fn is_awaited() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// Sends `state`, such as `READY=1`, if a service manager listens.
///
/// # Errors
/// As sendto(2).
pub fn notify(state: &str) -> io::Result<()> {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else {
        return Ok(());
    };
    let address = address_of(&path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    sendto(&socket, state.as_bytes(), SendFlags::NOSIGNAL, &address)?;
    Ok(())
}

fn address_of(path: &OsStr) -> io::Result<SocketAddrUnix> {
    Ok(match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddrUnix::new_abstract_name(name)?,
        None => SocketAddrUnix::new(path)?,
    })
}
