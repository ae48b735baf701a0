//! The system calls that have no safe form.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::Pid;
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Which side of a fork this is.
pub enum Fork {
    /// The process that forked, with its child.
    Parent(Pid),
    /// The new process.
    Child,
}

/// Forks. Only for a process that has a single thread.
pub fn fork() -> io::Result<Fork> {
    // SAFETY: the holder, the only caller, starts no thread, so that the child
    // finds every lock free.
    match unsafe { libc::fork() } {
        0 => Ok(Fork::Child),
        pid => Pid::from_raw(pid)
            .filter(|_| pid > 0)
            .map(Fork::Parent)
            .ok_or_else(io::Error::last_os_error),
    }
}

/// Gives the calling thread new namespaces.
pub fn unshare(flags: UnshareFlags) -> io::Result<()> {
    assert!(
        !flags.contains(UnshareFlags::FILES),
        "descriptors stay shared"
    );
    // SAFETY: the table of descriptors stays shared, see above.
    Ok(unsafe { unshare_unsafe(flags) }?)
}

/// Makes the process that `command` starts enter the cgroup whose `cgroup.procs`
/// is `procs`, before it executes its program.
pub fn enter_cgroup(command: &mut Command, procs: OwnedFd) {
    // SAFETY: write is async-signal-safe, nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            let written = libc::write(procs.as_raw_fd(), c"0".as_ptr().cast(), 1);
            if written == 1 {
                Ok(())
            } else {
                Err(io::Error::last_os_error())
            }
        });
    }
}

/// Makes the process that `command` starts the leader of a session whose
/// controlling terminal is its standard input.
pub fn take_terminal(command: &mut Command) {
    // SAFETY: both calls are async-signal-safe, nothing is allocated.
    unsafe {
        command.pre_exec(|| {
            if libc::setsid() < 0 || libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        });
    }
}

/// Sets the link `lo` of the calling thread's network namespace up.
pub fn loopback_up() -> io::Result<()> {
    let socket = rustix_socket()?;
    // SAFETY: all-zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the request is a valid ifreq that outlives the call.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn rustix_socket() -> io::Result<OwnedFd> {
    Ok(std::net::UdpSocket::bind("0.0.0.0:0")?.into())
}

/// Lets the calling process outlive an interrupt from the terminal, so that the
/// program in the foreground decides what becomes of it.
pub fn ignore_interrupts() {
    for signal in [libc::SIGINT, libc::SIGQUIT] {
        // SAFETY: ignoring a signal installs no handler.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Has the kernel reap the children of the calling process.
pub fn ignore_children() {
    // SAFETY: ignoring a signal installs no handler.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
}

/// Sends `signal` to the process `pid`.
///
/// # Panics
/// When the system refuses.
pub fn raise_to(pid: u32, signal: i32) {
    // SAFETY: kill has no memory arguments.
    let result = unsafe { libc::kill(pid as libc::pid_t, signal) };
    assert_eq!(
        result,
        0,
        "signal {signal} to {pid}: {}",
        io::Error::last_os_error()
    );
}

/// A new pseudo terminal: the controlling end and the terminal's end, both close-on-exec.
pub fn pty() -> io::Result<(OwnedFd, OwnedFd)> {
    use std::os::fd::FromRawFd;
    let (mut master, mut slave): (RawFd, RawFd) = (-1, -1);
    // SAFETY: both pointers are valid for writing, the others may be null.
    let result = unsafe {
        libc::openpty(
            &raw mut master,
            &raw mut slave,
            std::ptr::null_mut(),
            std::ptr::null(),
            std::ptr::null(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call gave both to us.
    let ends = unsafe { (OwnedFd::from_raw_fd(master), OwnedFd::from_raw_fd(slave)) };
    for end in [&ends.0, &ends.1] {
        rustix::io::fcntl_setfd(end, rustix::io::FdFlags::CLOEXEC)?;
    }
    Ok(ends)
}

/// The settings of a terminal, as text that can be compared.
pub fn terminal_settings(terminal: BorrowedFd<'_>) -> io::Result<String> {
    // SAFETY: all-zero is a valid termios.
    let mut settings: libc::termios = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is valid for writing.
    if unsafe { libc::tcgetattr(terminal.as_raw_fd(), &raw mut settings) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(format!(
        "{:x} {:x} {:x} {:x} {:?}",
        settings.c_iflag, settings.c_oflag, settings.c_cflag, settings.c_lflag, settings.c_cc
    ))
}

/// Sets the size of a terminal's window.
pub fn set_window_size(terminal: BorrowedFd<'_>, rows: u16, columns: u16) -> io::Result<()> {
    let size = libc::winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the pointer is valid for reading.
    if unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
