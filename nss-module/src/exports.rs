//! The functions that the C library calls, by the names it makes of ours.
//!
//! Safety, for all of them: the C library passes strings that end with a NUL
//! byte, a buffer that is `buflen` bytes long and its own, and places for the
//! results that are valid or, where nsswitch's functions allow it, null.

#![allow(unsafe_code)]

use libc::{c_char, c_int, c_void, hostent, size_t, socklen_t};
use registry_core::RecordBuf;

use crate::answer::{self, AddressTuple};
use crate::buffer::Buffer;
use crate::query::{self, Family};
use crate::status::{Failure, Status, Verdict, resolver};

#[link(name = "c")]
unsafe extern "C" {
    fn __h_errno_location() -> *mut c_int;
}

/// Where the caller wants the two error numbers.
struct Errors {
    errno: *mut c_int,
    h_errno: *mut c_int,
}

/// The buffer that the caller gives.
struct Room {
    at: *mut c_char,
    len: size_t,
}

/// The end of every function's arguments.
fn caller(at: *mut c_char, len: size_t, errno: *mut c_int, h_errno: *mut c_int) -> (Errors, Room) {
    (Errors { errno, h_errno }, Room { at, len })
}

/// The IPv4 addresses of a name.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _nss_rspawn_gethostbyname_r(
    name: *const c_char,
    result: *mut hostent,
    buffer: *mut c_char,
    buflen: size_t,
    errnop: *mut c_int,
    h_errnop: *mut c_int,
) -> c_int {
    let (errors, room) = caller(buffer, buflen, errnop, h_errnop);
    // SAFETY: the arguments are the caller's.
    answer_with(errors, || unsafe {
        by_name(name, libc::AF_INET, result, room)
    })
}

/// The addresses of a name that are of one family.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _nss_rspawn_gethostbyname2_r(
    name: *const c_char,
    family: c_int,
    result: *mut hostent,
    buffer: *mut c_char,
    buflen: size_t,
    errnop: *mut c_int,
    h_errnop: *mut c_int,
) -> c_int {
    let (errors, room) = caller(buffer, buflen, errnop, h_errnop);
    // SAFETY: the arguments are the caller's.
    answer_with(errors, || unsafe { by_name(name, family, result, room) })
}

/// The addresses of a name that are of one family, with how long they hold and
/// the canonical name.
///
/// # Safety
/// See the module; `ttlp` and `canonp` may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _nss_rspawn_gethostbyname3_r(
    name: *const c_char,
    family: c_int,
    result: *mut hostent,
    buffer: *mut c_char,
    buflen: size_t,
    errnop: *mut c_int,
    h_errnop: *mut c_int,
    ttlp: *mut i32,
    canonp: *mut *mut c_char,
) -> c_int {
    let (errors, room) = caller(buffer, buflen, errnop, h_errnop);
    answer_with(errors, || {
        // SAFETY: the arguments are the caller's; by_name has filled in `result`.
        unsafe {
            by_name(name, family, result, room)?;
            put(canonp, (*result).h_name);
            put(ttlp, 0);
        }
        Ok(())
    })
}

/// All addresses of a name.
///
/// # Safety
/// See the module; `ttlp` may be null, and `*pat` is null or one tuple to fill in.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _nss_rspawn_gethostbyname4_r(
    name: *const c_char,
    pat: *mut *mut AddressTuple,
    buffer: *mut c_char,
    buflen: size_t,
    errnop: *mut c_int,
    h_errnop: *mut c_int,
    ttlp: *mut i32,
) -> c_int {
    let errors = Errors {
        errno: errnop,
        h_errno: h_errnop,
    };
    answer_with(errors, || {
        // SAFETY: the arguments are the caller's; `chain` gives a tuple that is whole.
        unsafe {
            let name = query::name(name)?;
            let mut bytes = RecordBuf::new();
            let record = bytes.by_name(&name)?;
            let mut buffer = Buffer::new(buffer.cast(), buflen);
            let first = answer::chain(&mut buffer, &record.name(), record.addresses())?;
            if (*pat).is_null() {
                *pat = first;
            } else {
                (*pat).write(*first);
            }
            put(ttlp, 0);
        }
        Ok(())
    })
}

/// The name that belongs to an address.
///
/// # Safety
/// See the module; `address` is `len` bytes long.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _nss_rspawn_gethostbyaddr_r(
    address: *const c_void,
    len: socklen_t,
    family: c_int,
    result: *mut hostent,
    buffer: *mut c_char,
    buflen: size_t,
    errnop: *mut c_int,
    h_errnop: *mut c_int,
) -> c_int {
    let (errors, room) = caller(buffer, buflen, errnop, h_errnop);
    // SAFETY: the arguments are the caller's.
    answer_with(errors, || unsafe {
        by_address(query::address(address, len, family)?, result, room)
    })
}

/// The name that belongs to an address, with how long it holds.
///
/// # Safety
/// See the module; `address` is `len` bytes long, `ttlp` may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _nss_rspawn_gethostbyaddr2_r(
    address: *const c_void,
    len: socklen_t,
    family: c_int,
    result: *mut hostent,
    buffer: *mut c_char,
    buflen: size_t,
    errnop: *mut c_int,
    h_errnop: *mut c_int,
    ttlp: *mut i32,
) -> c_int {
    let (errors, room) = caller(buffer, buflen, errnop, h_errnop);
    answer_with(errors, || {
        // SAFETY: the arguments are the caller's.
        unsafe {
            by_address(query::address(address, len, family)?, result, room)?;
            put(ttlp, 0);
        }
        Ok(())
    })
}

/// # Safety
/// As the exported functions.
unsafe fn by_name(
    name: *const c_char,
    family: c_int,
    result: *mut hostent,
    room: Room,
) -> Result<(), Failure> {
    let family = Family::for_name(family)?;
    // SAFETY: the caller's promise.
    let name = unsafe { query::name(name) }?;
    let mut bytes = RecordBuf::new();
    let record = bytes.by_name(&name)?;
    let ips = record.addresses().map(|address| address.ip);
    // SAFETY: the caller's promise.
    let mut buffer = unsafe { Buffer::new(room.at.cast(), room.len) };
    let host = answer::host(&mut buffer, &record.name(), family, ips)?;
    // SAFETY: the caller's promise.
    unsafe { result.write(host) };
    Ok(())
}

/// # Safety
/// As the exported functions.
unsafe fn by_address(
    ip: core::net::IpAddr,
    result: *mut hostent,
    room: Room,
) -> Result<(), Failure> {
    let mut bytes = RecordBuf::new();
    // A socket for both families shows IPv4 peers as ::ffff:a.b.c.d.
    let record = bytes.by_address(ip.to_canonical())?;
    // SAFETY: the caller's promise.
    let mut buffer = unsafe { Buffer::new(room.at.cast(), room.len) };
    let asked = core::iter::once(ip);
    let host = answer::host(&mut buffer, &record.name(), Family::of(ip), asked)?;
    // SAFETY: the caller's promise.
    unsafe { result.write(host) };
    Ok(())
}

/// Looks up, and tells the caller of the outcome in all the places where it
/// may look. The error number of a call that succeeds is as it was before.
fn answer_with(errors: Errors, look_up: impl FnOnce() -> Result<(), Failure>) -> c_int {
    // SAFETY: both locations are valid for the calling thread at any time.
    let (errno, h_errno) = unsafe { (libc::__errno_location(), __h_errno_location()) };
    // SAFETY: as above.
    let before = unsafe { *errno };
    let outcome = look_up();
    // SAFETY: as above. `errors.errno` is most often the very same place, so what
    // it is to hold is written last.
    unsafe {
        *errno = before;
        match outcome.map_err(Failure::verdict) {
            Ok(()) => {
                put(errors.h_errno, resolver::SUCCESS);
                // Some callers look here, whatever place they named.
                *h_errno = resolver::SUCCESS;
                Status::Success as c_int
            }
            Err(Verdict {
                status,
                errno,
                h_errno,
            }) => {
                put(errors.errno, errno);
                put(errors.h_errno, h_errno);
                status as c_int
            }
        }
    }
}

/// # Safety
/// `place` must be valid or null.
unsafe fn put<T>(place: *mut T, value: T) {
    if !place.is_null() {
        // SAFETY: the caller's promise.
        unsafe { place.write(value) };
    }
}
