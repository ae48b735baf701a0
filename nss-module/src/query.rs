//! What the C library asks, as values that cannot be wrong.

use core::ffi::CStr;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libc::{c_char, c_int, c_void, socklen_t};
use registry_core::MachineName;
use registry_core::name::NAME_MAX;

use crate::status::Failure;

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// AF_INET
    V4,
    /// AF_INET6
    V6,
}

impl Family {
    /// The family of a look-up by name, where AF_UNSPEC means AF_INET.
    ///
    /// # Errors
    /// [`Failure::UnknownFamily`] for every other number.
    pub const fn for_name(number: c_int) -> Result<Self, Failure> {
        match number {
            libc::AF_INET | libc::AF_UNSPEC => Ok(Self::V4),
            libc::AF_INET6 => Ok(Self::V6),
            _ => Err(Failure::UnknownFamily),
        }
    }

    /// The family that an address belongs to.
    pub const fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// The number by which the system knows the family.
    pub const fn number(self) -> c_int {
        match self {
            Self::V4 => libc::AF_INET,
            Self::V6 => libc::AF_INET6,
        }
    }

    /// Length of an address in words of 32 bits.
    pub const fn words(self) -> usize {
        match self {
            Self::V4 => 1,
            Self::V6 => 4,
        }
    }
}

/// The machine that a look-up asks for.
///
/// # Errors
/// [`Failure::NoMachine`] for what is no machine's name.
///
/// # Safety
/// `text` must point to a string that ends with a NUL byte, or be null.
#[allow(unsafe_code)]
pub unsafe fn name(text: *const c_char) -> Result<MachineName, Failure> {
    if text.is_null() {
        return Err(Failure::NoMachine);
    }
    // SAFETY: the caller's promise.
    let text = unsafe { CStr::from_ptr(text) }.to_bytes();
    // The longest name, and the dot of a fully qualified one.
    if text.len() > NAME_MAX + 1 {
        return Err(Failure::NoMachine);
    }
    MachineName::from_query(text).map_err(|_| Failure::NoMachine)
}

/// The address that a reverse look-up asks for.
///
/// # Errors
/// [`Failure::UnknownFamily`] if family and length are no address's.
///
/// # Safety
/// `address` must point to `len` readable bytes.
#[allow(unsafe_code)]
pub unsafe fn address(
    address: *const c_void,
    len: socklen_t,
    family: c_int,
) -> Result<IpAddr, Failure> {
    const V4_LEN: socklen_t = size_of::<Ipv4Addr>() as socklen_t;
    const V6_LEN: socklen_t = size_of::<Ipv6Addr>() as socklen_t;
    if address.is_null() {
        return Err(Failure::UnknownFamily);
    }
    match (family, len) {
        // SAFETY: as long as the caller says; an array of bytes needs no alignment.
        (libc::AF_INET, V4_LEN) => Ok(IpAddr::from(unsafe { *address.cast::<[u8; 4]>() })),
        // SAFETY: as above.
        (libc::AF_INET6, V6_LEN) => Ok(IpAddr::from(unsafe { *address.cast::<[u8; 16]>() })),
        _ => Err(Failure::UnknownFamily),
    }
}

#[cfg(test)]
#[allow(unsafe_code)]
mod tests {
    use super::*;
    use std::ffi::CString;

    fn ask(text: &str) -> Result<MachineName, Failure> {
        let text = CString::new(text).unwrap();
        // SAFETY: a string with its NUL byte.
        unsafe { name(text.as_ptr()) }
    }

    #[test]
    fn names_fold_to_lower_case_and_lose_their_last_dot() {
        assert_eq!(ask("Web.").unwrap().as_str(), "web");
        let longest = format!("{}.b", "a".repeat(62));
        assert_eq!(ask(&format!("{longest}.")).unwrap().as_str(), longest);
    }

    #[test]
    fn what_is_no_name_is_no_machine() {
        let long = "a.".repeat(40);
        for text in ["", ".", "..", "a_b", "../x", "a/b", "-a", "w\u{e9}b", &long] {
            assert_eq!(ask(text), Err(Failure::NoMachine), "{text:?}");
        }
        // SAFETY: null is allowed.
        assert_eq!(unsafe { name(core::ptr::null()) }, Err(Failure::NoMachine));
    }

    #[test]
    fn an_address_needs_its_length_and_family() {
        let bytes = [192u8, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];
        let ask = |offset: usize, len, family| {
            // SAFETY: 16 bytes from `offset` on are there.
            unsafe { address(bytes[offset..].as_ptr().cast(), len, family) }
        };
        assert_eq!(ask(0, 4, libc::AF_INET), Ok(IpAddr::from([192, 0, 2, 1])));
        assert_eq!(ask(1, 4, libc::AF_INET), Ok(IpAddr::from([0, 2, 1, 0])));
        assert!(ask(0, 16, libc::AF_INET6).is_ok_and(|ip| ip.is_ipv6()));
        for (len, family) in [
            (16, libc::AF_INET),
            (4, libc::AF_INET6),
            (0, libc::AF_INET),
            (4, libc::AF_UNSPEC),
            (4, 99),
        ] {
            assert_eq!(
                ask(0, len, family),
                Err(Failure::UnknownFamily),
                "{len} {family}"
            );
        }
    }

    #[test]
    fn a_name_without_a_family_means_ipv4() {
        assert_eq!(Family::for_name(libc::AF_UNSPEC), Ok(Family::V4));
        assert_eq!(Family::for_name(libc::AF_INET6), Ok(Family::V6));
        assert_eq!(Family::for_name(99), Err(Failure::UnknownFamily));
    }
}
