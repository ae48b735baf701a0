//! `libnss_rspawn.so.2`: the C library's way to the names of rspawn's machines.
//!
//! glibc loads this module into every program that resolves a name, once
//! `hosts:` of nsswitch.conf(5) names it. So it has no state, no allocation and
//! no thread, takes no lock and reads no environment, and asks nobody: a look-up
//! opens, reads and closes one record of `/run/rspawn`. A query that cannot be a
//! machine's name costs no system call at all.
//!
//! There is no `getcanonname_r`: canonical names go through `gethostbyname3_r`
//! and `gethostbyname4_r`, whose answers live as long as the caller's buffer.

#![cfg_attr(not(test), no_std)]

mod answer;
mod buffer;
mod exports;
mod query;
mod status;

/// Nothing in this crate can panic, and a test shows that the linker drops this
/// function; the language asks for one all the same.
#[cfg(not(test))]
#[panic_handler]
#[allow(unsafe_code)]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: abort has no preconditions.
    unsafe { libc::abort() }
}
