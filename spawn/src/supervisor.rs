//! Looks after a container until its payload ends: one loop over descriptors.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, pidfd_send_signal};
use rustix::stdio::{stdin, stdout};

use crate::config::{Config, ConsoleMode};
use crate::console::{EscapeWatch, RawTerminal, copy_window_size, duplicate};
use crate::container::Container;
use crate::error::{Doing, StepError, one_line};
use crate::netd_client::{Event, Watch};
use crate::pump::{CHUNK, End, Pump};
use crate::sys::process::send_signal;
use crate::sys::signalfd::SignalFd;
use crate::tell;

/// `^D`: what a terminal's line discipline takes for the end of the input.
const END_OF_INPUT: u8 = 4;

/// How many of the payload's notifications are read before anything else is looked at.
const NOTIFICATIONS_A_TURN: u32 = 64;

/// The signals that the supervisor takes.
pub const SIGNALS: [i32; 5] = [
    libc::SIGTERM,
    libc::SIGINT,
    libc::SIGHUP,
    libc::SIGQUIT,
    libc::SIGWINCH,
];

/// How a run of a container ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The payload ended with a code.
    Exited(i32),
    /// The payload switched the machine off.
    PoweredOff,
    /// The payload asked for a new start.
    Rebooted,
    /// The payload was killed by a signal.
    Killed(i32),
}

#[derive(Clone, Copy)]
enum Source {
    Leader,
    Signals,
    Netd,
    Watch,
    Notify,
    Pump(usize, End),
}

/// Looks after one container.
struct Supervisor<'a, 'b> {
    config: &'a Config,
    container: &'a mut Container<'b>,
    signals: &'a SignalFd,
    watch: Option<Watch>,
    /// How often netd was there and did not take the container, since it last did.
    setbacks: u32,
    pumps: Vec<Pump>,
    keyboard: Option<usize>,
    escape: EscapeWatch,
    stopping: bool,
}

/// Looks after `container` until its payload ends. `pumps` copy its streams where
/// it has no console, and are handed back.
///
/// # Errors
/// The container's end could not be waited for.
pub fn supervise(
    config: &Config,
    container: &mut Container<'_>,
    signals: &SignalFd,
    pumps: Vec<Pump>,
) -> Result<(Ended, Vec<Pump>), StepError> {
    let raw = match config.console {
        ConsoleMode::Interactive => {
            RawTerminal::set().doing(|| "set the terminal to raw mode".into())?
        }
        _ => None,
    };
    let mut supervisor = Supervisor {
        config,
        container,
        signals,
        watch: None,
        setbacks: 0,
        pumps,
        keyboard: None,
        escape: EscapeWatch::default(),
        stopping: false,
    };
    supervisor
        .open_console()
        .doing(|| "connect the container's console".into())?;
    supervisor.expect_netd();
    while !supervisor
        .turn()
        .doing(|| "wait for the container".into())?
    {}
    let status = supervisor
        .container
        .wait()
        .doing(|| "wait for the container's end".into())?;
    supervisor.drain();
    let pumps = match supervisor.config.console {
        ConsoleMode::Pipe => supervisor.pumps,
        _ => vec![],
    };
    drop(raw);
    let ended = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Ended::Exited(code),
        (None, Some(libc::SIGHUP)) => Ended::Rebooted,
        (None, Some(libc::SIGINT)) => Ended::PoweredOff,
        (None, signal) => Ended::Killed(signal.unwrap_or(libc::SIGKILL)),
    };
    Ok((ended, pumps))
}

impl Supervisor<'_, '_> {
    fn open_console(&mut self) -> io::Result<()> {
        let Some(console) = &self.container.console else {
            return Ok(());
        };
        rustix::io::ioctl_fionbio(console, true)?;
        copy_window_size(console);
        let output = Pump::new(duplicate(console)?, duplicate(stdout())?);
        self.pumps.push(output.draining());
        if self.config.console == ConsoleMode::Interactive {
            self.keyboard = Some(self.pumps.len());
            self.pumps
                .push(Pump::new(duplicate(stdin())?, duplicate(console)?).typed());
        }
        Ok(())
    }

    fn expect_netd(&mut self) {
        if self.container.netd.is_none() {
            self.watch = Some(Watch::after(self.setbacks));
        }
    }

    /// The connection to netd has come to nothing: there is another try, later each
    /// time.
    fn set_back(&mut self) {
        self.container.netd = None;
        self.expect_netd();
        self.setbacks = self.setbacks.saturating_add(1);
    }

    /// Waits for something and does what it asks for; true if the payload ended.
    fn turn(&mut self) -> io::Result<bool> {
        let now = Instant::now();
        let mut sources = vec![Source::Leader, Source::Signals];
        let mut waited: Vec<(BorrowedFd<'_>, PollFlags)> = vec![
            (self.container.leader().as_fd(), PollFlags::IN),
            (self.signals.as_fd(), PollFlags::IN),
        ];
        let optional = [
            (Source::Netd, self.container.netd.as_ref().map(AsFd::as_fd)),
            (Source::Watch, self.watch.as_ref().and_then(Watch::news)),
            (
                Source::Notify,
                self.container.notify.as_ref().map(AsFd::as_fd),
            ),
        ];
        for (source, fd) in optional {
            if let Some(fd) = fd {
                sources.push(source);
                waited.push((fd, PollFlags::IN));
            }
        }
        for (number, pump) in self.pumps.iter().enumerate() {
            for (end, fd, flags) in pump.interests(now) {
                sources.push(Source::Pump(number, end));
                waited.push((fd, flags));
            }
        }
        let due = self
            .pumps
            .iter()
            .map(Pump::due)
            .chain([self.watch.as_ref().and_then(Watch::due)])
            .flatten()
            .min();
        let timeout = due
            .map(|due| due.saturating_duration_since(now))
            .and_then(|left| Timespec::try_from(left).ok());
        let mut polled: Vec<PollFd<'_>> = waited
            .iter()
            .map(|(fd, flags)| PollFd::new(fd, *flags))
            .collect();
        match poll(&mut polled, timeout.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        let ready: Vec<Source> = sources
            .into_iter()
            .zip(&polled)
            .filter(|(_, polled)| !polled.revents().is_empty())
            .map(|(source, _)| source)
            .collect();
        drop(polled);
        drop(waited);
        let mut ended = false;
        for source in ready {
            match source {
                Source::Leader => ended = true,
                Source::Signals => self.take_signals(),
                Source::Netd => self.take_netd(),
                Source::Watch => {
                    if let Some(watch) = &mut self.watch {
                        watch.take_news();
                    }
                }
                Source::Notify => self.take_notifications(),
                Source::Pump(number, end) => self.pump(number, end),
            }
        }
        self.try_netd();
        Ok(ended)
    }

    fn take_signals(&mut self) {
        while let Some(signal) = self.signals.next() {
            if signal == libc::SIGWINCH {
                if let Some(console) = &self.container.console {
                    copy_window_size(console);
                }
            } else {
                self.stop();
            }
        }
    }

    /// Asks the payload to end; the second time, ends it.
    fn stop(&mut self) {
        match self.config.kill_signal {
            Some(signal) if !self.stopping => {
                self.stopping = true;
                send_signal(self.container.leader(), signal).ok();
                if !self.config.quiet {
                    tell!("asking {} to shut down", self.config.name);
                }
            }
            _ => self.kill(),
        }
    }

    fn kill(&mut self) {
        pidfd_send_signal(self.container.leader(), Signal::KILL).ok();
    }

    fn take_netd(&mut self) {
        let event = self.container.netd.as_ref().and_then(|netd| netd.event());
        let name = &self.config.name;
        match event {
            None | Some(Event::Published) => {}
            Some(Event::Registered(registered)) => {
                self.setbacks = 0;
                if let Err(error) = self.container.take_answer(registered.host0.as_ref()) {
                    tell!("{}", one_line(&error));
                }
            }
            Some(Event::Refused(refusal)) => {
                tell!("netd refuses {name}: {}", refusal.message);
                self.setbacks = self.setbacks.max(1);
                self.set_back();
            }
            // At first it is tried again at once: netd may just be restarting.
            Some(Event::Gone) => self.set_back(),
        }
    }

    fn try_netd(&mut self) {
        let Some(connection) = self.watch.as_mut().and_then(Watch::try_connect) else {
            return;
        };
        match self.container.register_again(connection) {
            Ok(()) => self.watch = None,
            Err(error) => {
                let name = &self.config.name;
                tell!("cannot register {name} with netd: {error}");
                self.setbacks = self.setbacks.max(1);
                self.set_back();
            }
        }
    }

    /// What the payload says of itself is of no interest yet; but it must not wait
    /// for somebody to read it.
    fn take_notifications(&mut self) {
        let mut buffer = [0; 4096];
        if let Some(notify) = &self.container.notify {
            // The payload may say things faster than they are read.
            for _ in 0..NOTIFICATIONS_A_TURN {
                if rustix::io::read(notify, &mut buffer).is_err() {
                    break;
                }
            }
        }
    }

    fn pump(&mut self, number: usize, end: End) {
        let keyboard = self.keyboard == Some(number);
        let Some(pump) = self.pumps.get_mut(number) else {
            return;
        };
        let before = pump.has_ended();
        let mut chunk = [0; CHUNK];
        let read = pump.turn(end, &mut chunk);
        if !keyboard {
            return;
        }
        let kill = self.escape.typed(read, Instant::now());
        if pump.has_ended() && !before {
            pump.add(&[END_OF_INPUT]);
        }
        if kill {
            self.kill();
        }
    }

    /// Copies what the payload said last, unless the user does not want to wait.
    fn drain(&mut self) {
        let signals = self.signals;
        for pump in &mut self.pumps {
            pump.drain(|to| {
                let mut polled = [
                    PollFd::from_borrowed_fd(to, PollFlags::OUT),
                    PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
                ];
                let [to, stop] = match poll(&mut polled, None) {
                    Ok(_) => polled.map(|polled| !polled.revents().is_empty()),
                    Err(_) => return false,
                };
                to && !stop
            });
        }
    }
}
