//! PID 1 where the payload is not made for it: reaps what nobody else does, and
//! hands signals on.

use std::ffi::CString;
use std::io;

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};

use crate::signals::SIGRTMIN_PLUS_3;
use crate::sys::clone::fork;
use crate::sys::process::{close_from, exit_now, hide_arguments};
use crate::sys::signalfd::{block, wait_for};

/// Exit code where the payload was killed by a signal.
const KILLED: i32 = 255;
const NAME: &[u8] = b"rspawn-init";
const HANDED_ON: [i32; 8] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGWINCH,
    libc::SIGCONT,
];
/// What systemd takes as requests to shut down: halt, power off, reboot, kexec.
const SHUT_DOWN: std::ops::RangeInclusive<i32> = SIGRTMIN_PLUS_3..=SIGRTMIN_PLUS_3 + 3;

/// The init is a copy of rspawn's process and holds its program's file as
/// /proc/1/exe. While the container shares the host's users, its root could keep that
/// and write to it once rspawn runs nowhere, as it could write to the host's files in
/// other ways (file handles of the tree's file system, for one): such a root is not to
/// be trusted with more than the host's own.
///
/// Goes on twice: as the payload, which comes back from here, and as its init,
/// which does not and ends with the payload's exit code.
///
/// # Errors
/// As fork(2), or /proc is not there.
pub fn split() -> io::Result<()> {
    let signals: Vec<i32> = HANDED_ON
        .into_iter()
        .chain(SHUT_DOWN)
        .chain([libc::SIGCHLD])
        .collect();
    block(&signals);
    // Before there is anybody who could look.
    hide_arguments(NAME)?;
    let (closed, open) = pipe_with(PipeFlags::CLOEXEC)?;
    // SAFETY: this process has one thread.
    #[allow(unsafe_code)]
    let child = unsafe { fork() }?;
    match child {
        None => {
            // Until init has closed everything: nothing of the host is to be found
            // there.
            drop(open);
            rustix::io::read(&closed, &mut [0; 1])?;
            Ok(())
        }
        Some(payload) => look_after(payload, &signals),
    }
}

fn look_after(payload: Pid, signals: &[i32]) -> ! {
    if let Ok(name) = CString::new(NAME) {
        rustix::thread::set_name(&name).ok();
    }
    rustix::process::setsid().ok();
    close_from(0);
    loop {
        match wait_for(signals) {
            Ok(libc::SIGCHLD) => reap(payload),
            Ok(signal) => {
                let signal = if SHUT_DOWN.contains(&signal) {
                    Some(Signal::TERM)
                } else {
                    Signal::from_named_raw(signal)
                };
                if let Some(signal) = signal {
                    kill_process(payload, signal).ok();
                }
            }
            Err(_) => {}
        }
    }
}

/// Reaps every process that ended, and ends itself if one is the payload.
fn reap(payload: Pid) {
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if pid == payload {
            exit_now(status.exit_status().unwrap_or(KILLED));
        }
    }
}
