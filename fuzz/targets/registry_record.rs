//! A machine's record: read by netd, and packed by the NSS module into a caller's buffer
//! of any size at any address.
#![no_main]
#![allow(dead_code)]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use netd::machines::Machine;
use registry::Record;
use registry::record::{ADDRESSES_MAX, RECORD_MAX, key};

// The module is a cdylib, which nothing can link: its sources are part of this target.
#[path = "../../nss-module/src/answer.rs"]
mod answer;
#[path = "../../nss-module/src/buffer.rs"]
mod buffer;
#[path = "../../nss-module/src/query.rs"]
mod query;
#[path = "../../nss-module/src/status.rs"]
mod status;

use answer::AddressTuple;
use buffer::Buffer;
use query::Family;
use status::Failure;

const GUARD: u8 = 0xa5;
/// Room before and behind what the caller hands over.
const MARGIN: usize = 16;

fuzz_target!(|input: (u16, u8, &[u8])| {
    let (len, offset, bytes) = input;
    let Ok(record) = Record::parse(bytes) else {
        return;
    };
    assert!(bytes.len() <= RECORD_MAX);
    assert!(record.addresses().count() <= ADDRESSES_MAX);
    machine_reads_back(&record);
    let (len, offset) = (usize::from(len % 4096), usize::from(offset % 16));
    let mut memory = Memory::new(len, offset);
    memory.pack_chain(&record);
    for family in [Family::V4, Family::V6] {
        memory.pack_host(&record, family);
    }
});

fn machine_reads_back(record: &Record<'_>) {
    let boot = record.get(key::BOOT_ID).unwrap_or_default();
    let Some(machine) = Machine::from_record(record, boot) else {
        return;
    };
    let text = machine.record(boot, record.get(key::LINK));
    let again = Record::parse(text.as_bytes()).expect("what is written is a record");
    assert_eq!(again.name(), record.name());
    let ips: Vec<_> = again.addresses().collect();
    assert!(machine.addresses.starts_with(&ips));
}

/// A caller's buffer amid memory that is not the module's.
struct Memory {
    bytes: Vec<u8>,
    len: usize,
    offset: usize,
}

impl Memory {
    fn new(len: usize, offset: usize) -> Self {
        Self {
            bytes: vec![GUARD; MARGIN + len + 2 * MARGIN],
            len,
            offset,
        }
    }

    fn start(&self) -> usize {
        self.bytes.as_ptr().addr() + MARGIN + self.offset
    }

    fn buffer(&mut self) -> Buffer<'static> {
        let at = self.bytes.as_mut_ptr().wrapping_add(MARGIN + self.offset);
        // SAFETY: the vector outlives every use of the buffer in this program.
        unsafe { Buffer::new(at, self.len) }
    }

    /// Whether `len` bytes at a pointer lie in the buffer.
    fn holds<T>(&self, at: *const T, count: usize) {
        let at = at.addr();
        assert_eq!(at % align_of::<T>(), 0);
        assert!(at >= self.start());
        assert!(at + count * size_of::<T>() <= self.start() + self.len);
    }

    fn is_untouched_around(&self) {
        let from = MARGIN + self.offset;
        let outside = self.bytes[..from]
            .iter()
            .chain(&self.bytes[from + self.len..]);
        assert!(outside.into_iter().all(|byte| *byte == GUARD));
    }

    fn text_is(&self, at: *const libc::c_char, text: &str) {
        self.holds(at, text.len() + 1);
        // SAFETY: the bytes lie in the vector, as was just seen.
        let bytes = unsafe { std::slice::from_raw_parts(at.cast::<u8>(), text.len() + 1) };
        assert_eq!(&bytes[..text.len()], text.as_bytes());
        assert_eq!(bytes[text.len()], 0);
    }

    fn pack_chain(&mut self, record: &Record<'_>) {
        let mut buffer = self.buffer();
        let packed = answer::chain(&mut buffer, &record.name(), record.addresses());
        self.is_untouched_around();
        let mut at = match packed {
            Ok(first) => first,
            Err(Failure::NoAddress) => return assert_eq!(record.addresses().count(), 0),
            Err(failure) => return assert_eq!(failure, Failure::BufferTooSmall),
        };
        for address in record.addresses() {
            self.holds::<AddressTuple>(at, 1);
            // SAFETY: it lies in the vector and is aligned, as was just seen.
            let tuple = unsafe { *at };
            assert_eq!(tuple.family, Family::of(address.ip).number());
            self.text_is(tuple.name, record.name().as_str());
            assert_eq!(ip_of(tuple.family, &tuple.addr), address.ip);
            assert!(tuple.scope == 0 || tuple.scope == address.scope);
            at = tuple.next;
        }
        assert!(at.is_null());
    }

    fn pack_host(&mut self, record: &Record<'_>, family: Family) {
        let ips = record.addresses().map(|address| address.ip);
        let mut buffer = self.buffer();
        let packed = answer::host(&mut buffer, &record.name(), family, ips.clone());
        self.is_untouched_around();
        let wanted = ips.filter(|ip| Family::of(*ip) == family);
        let host = match packed {
            Ok(host) => host,
            Err(Failure::NoAddress) => return assert_eq!(wanted.count(), 0),
            Err(failure) => return assert_eq!(failure, Failure::BufferTooSmall),
        };
        self.text_is(host.h_name, record.name().as_str());
        let mut list = host.h_addr_list;
        for ip in wanted {
            self.holds(list, 1);
            // SAFETY: it lies in the vector and is aligned, as was just seen.
            let at = unsafe { *list }.cast::<u32>();
            self.holds(at, family.words());
            let mut words = [0; 4];
            for (i, word) in words.iter_mut().enumerate().take(family.words()) {
                // SAFETY: as above.
                *word = unsafe { *at.wrapping_add(i) };
            }
            assert_eq!(ip_of(host.h_addrtype, &words), ip);
            list = list.wrapping_add(1);
        }
        self.holds(list, 1);
        // SAFETY: as above.
        assert!(unsafe { *list }.is_null());
    }
}

fn ip_of(family: libc::c_int, words: &[u32; 4]) -> IpAddr {
    match family {
        libc::AF_INET => IpAddr::from(words[0].to_ne_bytes()),
        _ => {
            let mut octets = [0; 16];
            for (to, word) in octets.chunks_exact_mut(4).zip(words) {
                to.copy_from_slice(&word.to_ne_bytes());
            }
            IpAddr::from(octets)
        }
    }
}
