//! What the kernel tells of links while somebody configures them.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::net::{RecvFlags, recv};

use super::batch::{messages, socket};

const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
/// RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR and RTNLGRP_IPV6_IFADDR as bits.
const GROUPS: u32 = 1 | 1 << 4 | 1 << 8;
/// How often it is looked. Being woken for every event would take a good part of
/// the processor from the one that is measured.
const EVERY: Duration = Duration::from_millis(1);

/// Hears what becomes of links.
#[derive(Debug)]
pub struct Monitor {
    socket: OwnedFd,
    buffer: Vec<u8>,
    links: HashMap<u32, Seen>,
    removed: u32,
}

#[derive(Debug, Default)]
struct Seen {
    up: bool,
    address: bool,
    configured: Option<Instant>,
}

impl Monitor {
    /// Hears from now on, in the calling thread's network namespace.
    ///
    /// # Errors
    /// As socket(2).
    pub fn open() -> io::Result<Self> {
        Ok(Self {
            socket: socket(GROUPS)?,
            buffer: vec![0; 1 << 16],
            links: HashMap::new(),
            removed: 0,
        })
    }

    /// Waits until all links from `first` on, as many as `count`, are up with an IPv4
    /// address. Gives when each one was, in order of time; those that never were are
    /// missing, and told.
    pub fn configured(&mut self, first: u32, count: u32, patience: Duration) -> Vec<Instant> {
        let deadline = Instant::now() + patience;
        let wanted = first..first + count;
        loop {
            self.take();
            let links = self
                .links
                .iter()
                .filter(|(index, _)| wanted.contains(index));
            let mut when: Vec<Instant> = links.filter_map(|(_, link)| link.configured).collect();
            let over = Instant::now() > deadline;
            if over {
                self.tell_missing(wanted.clone());
            }
            if over || when.len() == count as usize {
                when.sort_unstable();
                return when;
            }
            std::thread::sleep(EVERY);
        }
    }

    fn tell_missing(&self, mut wanted: std::ops::Range<u32>) {
        let is_missing = |index: &u32| {
            let seen = self.links.get(index);
            seen.is_none_or(|link| link.configured.is_none())
        };
        let missing: Vec<_> = wanted
            .by_ref()
            .filter(is_missing)
            .take(10)
            .map(|index| (index, self.links.get(&index)))
            .collect();
        eprintln!("links that are not configured, by index: {missing:?}");
    }

    /// How many addresses were removed so far.
    pub fn removed(&mut self) -> u32 {
        self.take();
        self.removed
    }

    fn take(&mut self) {
        while let Ok((length, _)) = recv(
            &self.socket,
            self.buffer.as_mut_slice(),
            RecvFlags::DONTWAIT,
        ) {
            let now = Instant::now();
            for message in messages(&self.buffer[..length]) {
                let word = |at: usize| {
                    let bytes = message.body.get(at..at + 4);
                    bytes.map_or(0, |bytes| u32::from_ne_bytes(bytes.try_into().unwrap()))
                };
                let index = word(4);
                match message.kind {
                    RTM_NEWLINK => self.links.entry(index).or_default().up = word(8) & 1 != 0,
                    RTM_NEWADDR if message.body.first() == Some(&(libc::AF_INET as u8)) => {
                        self.links.entry(index).or_default().address = true;
                    }
                    RTM_DELADDR => self.removed += 1,
                    _ => continue,
                }
                if let Some(link) = self.links.get_mut(&index)
                    && link.up
                    && link.address
                {
                    link.configured.get_or_insert(now);
                }
            }
        }
    }
}
