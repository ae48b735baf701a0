//! The file of a zone's leases: any bytes, and lines of which each is whole but says what it
//! likes. What is read is what the last line of each address says.
#![no_main]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use netd::leases::{Change, Clocks, Kept, leases_in, parse_line, sealed};
use registry::Mac;

#[derive(Arbitrary, Debug)]
struct File<'a> {
    wall: u32,
    since_boot: u32,
    lines: Vec<Line<'a>>,
    /// What was being written when the power failed.
    torn: &'a [u8],
    raw: &'a [u8],
}

#[derive(Arbitrary, Debug)]
enum Line<'a> {
    Boot(bool),
    Free(u8),
    Lease {
        last: u8,
        client: &'a [u8],
        name: Option<&'a str>,
        wall: u32,
        boot: u32,
    },
    /// Any text with the right checksum.
    Sealed(&'a str),
    Bytes(&'a [u8]),
}

const BOOT: &str = "3f2c8a1e9d4b4c0f8e6a7b5c4d3e2f10";

impl Line<'_> {
    fn change(&self) -> Option<Change> {
        Some(match *self {
            Self::Boot(true) => Change::Boot(BOOT.to_owned()),
            Self::Boot(false) => Change::Boot("another".to_owned()),
            Self::Free(last) => Change::Freed(address(last)),
            Self::Lease {
                last,
                client,
                name,
                wall,
                boot,
            } => Change::Leased(Kept {
                address: address(last),
                mac: Mac([2, 0, 0, 0, 0, last]),
                client: client.iter().copied().chain([1]).take(255).collect(),
                hostname: name.map(str::to_owned),
                until_wall: Duration::from_secs(wall.into()),
                until_boot: Duration::from_secs(boot.into()),
            }),
            Self::Sealed(_) | Self::Bytes(_) => return None,
        })
    }

    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Sealed(text) => sealed(text.replace('\n', " ")).into_bytes(),
            Self::Bytes(bytes) => {
                let one_line = bytes.iter().filter(|byte| **byte != b'\n');
                one_line.copied().chain([b'\n']).collect()
            }
            whole => whole.change().map_or(Vec::new(), |change| {
                let line = change.line();
                let read = parse_line(line.trim_end_matches('\n').as_bytes());
                assert_eq!(read.as_ref(), Ok(&change));
                line.into_bytes()
            }),
        }
    }
}

fn address(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 50, 0, last)
}

fuzz_target!(|file: File<'_>| {
    let clocks = Clocks {
        now: Instant::now(),
        wall: Duration::from_secs(file.wall.into()),
        since_boot: Duration::from_secs(file.since_boot.into()),
    };
    let _ = leases_in(file.raw, BOOT, &clocks);
    let mut bytes: Vec<u8> = file.lines.iter().flat_map(Line::bytes).collect();
    // Without a line end it is not whole.
    bytes.extend(file.torn.iter().filter(|byte| **byte != b'\n'));
    let read = leases_in(&bytes, BOOT, &clocks);
    assert!(read.iter().all(|kept| kept.until_boot > clocks.since_boot));
    assert!(read.is_sorted_by_key(|kept| kept.address));
    if file.lines.iter().all(|line| line.change().is_some()) {
        assert_eq!(read, expected(&file, &clocks));
    }
    // Written anew, it says the same.
    let again: String = std::iter::once(Change::Boot(BOOT.to_owned()))
        .chain(read.iter().cloned().map(Change::Leased))
        .map(|change| change.line())
        .collect();
    assert_eq!(leases_in(again.as_bytes(), BOOT, &clocks), read);
});

/// What the lines say, read in the plainest way.
fn expected(file: &File<'_>, clocks: &Clocks) -> Vec<Kept> {
    let mut leases = BTreeMap::new();
    let mut is_this_boot = false;
    for change in file.lines.iter().filter_map(Line::change) {
        match change {
            Change::Boot(id) => is_this_boot = id == BOOT,
            Change::Freed(address) => drop(leases.remove(&address)),
            Change::Leased(mut kept) => {
                if is_this_boot {
                    let left = kept.until_boot.saturating_sub(clocks.since_boot);
                    kept.until_wall = clocks.wall + left;
                } else {
                    let left = kept.until_wall.saturating_sub(clocks.wall);
                    kept.until_boot = if left.is_zero() {
                        left
                    } else {
                        clocks.since_boot + left
                    };
                }
                leases.insert(kept.address, kept);
            }
        }
    }
    let live = leases.into_values();
    live.filter(|kept| kept.until_boot > clocks.since_boot)
        .collect()
}
