//! What the kernel says of a socket, where the library's types cannot hold every answer.
#![allow(unsafe_code)]

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

/// SIOCGSKNS of the kernel's sockios.h: a descriptor of a socket's network namespace.
const SIOCGSKNS: u32 = 0x894c;

/// A network namespace: device and inode of its file (ioctl_nsfs(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NetworkNamespace(u64, u64);

/// The process and the user who connected (unix(7), SO_PEERCRED). The process is 0 where
/// it is outside this PID namespace, which `rustix::net::UCred` has no value for.
pub(super) fn peer(socket: &impl AsFd) -> io::Result<(i32, u32)> {
    // SAFETY: every value of these integers is one of the kernel's structure.
    let credentials: libc::ucred = unsafe { option(socket, libc::SO_PEERCRED) }?;
    Ok((credentials.pid, credentials.uid))
}

/// A pidfd of the process that connected (SO_PEERPIDFD).
pub(super) fn peer_pidfd(socket: &impl AsFd) -> io::Result<OwnedFd> {
    // SAFETY: a descriptor is an integer.
    let descriptor: RawFd = unsafe { option(socket, libc::SO_PEERPIDFD) }?;
    // SAFETY: the kernel has made the descriptor for this call, and nothing else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Reads an option of a socket's.
///
/// # Safety
/// `T` is the option's type, and any bytes are a value of it.
unsafe fn option<T>(socket: &impl AsFd, name: libc::c_int) -> io::Result<T> {
    let mut value = MaybeUninit::<T>::zeroed();
    let mut length = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, for which there is room.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            value.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is zeroed or written to, and any bytes are a value.
    Ok(unsafe { value.assume_init() })
}

/// The network namespace that a socket was made in.
pub(super) fn network_of(socket: &impl AsFd) -> io::Result<NetworkNamespace> {
    // SAFETY: the call takes no further argument.
    let descriptor =
        unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::Ioctl::from(SIOCGSKNS)) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has made the descriptor for this call, and nothing else has it.
    let namespace = unsafe { OwnedFd::from_raw_fd(descriptor) };
    let stat = rustix::fs::fstat(&namespace)?;
    Ok(NetworkNamespace(stat.st_dev, stat.st_ino))
}

/// netd's own network namespace, the host's.
pub(super) fn own_network() -> io::Result<NetworkNamespace> {
    let stat = rustix::fs::stat("/proc/thread-self/ns/net")?;
    Ok(NetworkNamespace(stat.st_dev, stat.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn the_kernel_tells_who_connected_and_where_a_socket_is() {
        let (socket, _other) = UnixStream::pair().unwrap();
        let (pid, uid) = peer(&socket).unwrap();
        assert_eq!(u32::try_from(pid).unwrap(), std::process::id());
        assert_eq!(uid, rustix::process::geteuid().as_raw());
        if let Ok(pidfd) = peer_pidfd(&socket) {
            let pid = registry::leader::pid_of(pidfd).unwrap();
            assert_eq!(pid, Some(std::process::id()));
        }
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(network_of(&udp).unwrap(), own_network().unwrap());
        assert!(network_of(&std::fs::File::open("/dev/null").unwrap()).is_err());
    }
}
