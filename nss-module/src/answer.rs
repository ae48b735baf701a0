//! Answers, packed into the caller's buffer.
//!
//! Pointers and addresses stand first and the text last, so that a buffer that
//! begins aligned loses no byte between them.

use core::mem::MaybeUninit;
use core::net::IpAddr;
use core::ptr;

use libc::{c_char, c_int, hostent};
use registry_core::{Address, MachineName};

use crate::buffer::Buffer;
use crate::query::Family;
use crate::status::Failure;

/// `struct gaih_addrtuple` of nss.h: one address in a chain of them.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct AddressTuple {
    /// The next one, null after the last.
    pub next: *mut AddressTuple,
    /// The canonical name.
    pub name: *mut c_char,
    /// AF_INET or AF_INET6
    pub family: c_int,
    /// In network byte order; an IPv4 address has the first word alone.
    pub addr: [u32; 4],
    /// Interface index of a link-local address, else 0.
    pub scope: u32,
}

/// Packs a host with those of its `ips` that are of `family`.
///
/// # Errors
/// [`Failure::NoAddress`] without any, [`Failure::BufferTooSmall`].
pub fn host(
    buffer: &mut Buffer<'_>,
    name: &MachineName,
    family: Family,
    ips: impl Iterator<Item = IpAddr> + Clone,
) -> Result<hostent, Failure> {
    let ips = ips.filter(|ip| Family::of(*ip) == family);
    let count = ips.clone().count();
    if count == 0 {
        return Err(Failure::NoAddress);
    }
    let list = buffer.reserve::<*mut c_char>(count + 1)?;
    let aliases = buffer.reserve::<*mut c_char>(1)?;
    let addresses = buffer.reserve::<u32>(count * family.words())?;
    let name = text(buffer, name)?;

    fill(aliases, core::iter::once(ptr::null_mut()));
    fill(
        addresses,
        ips.flat_map(|ip| words(ip).into_iter().take(family.words())),
    );
    let first = addresses.as_mut_ptr();
    let pointers = (0..count).map(|i| first.wrapping_add(i * family.words()).cast::<c_char>());
    fill(list, pointers.chain(core::iter::once(ptr::null_mut())));
    Ok(hostent {
        h_name: name,
        h_aliases: aliases.as_mut_ptr().cast(),
        h_addrtype: family.number(),
        h_length: (family.words() * size_of::<u32>()) as c_int,
        h_addr_list: list.as_mut_ptr().cast(),
    })
}

/// Packs all `addresses` as a chain, and gives its first link.
///
/// # Errors
/// [`Failure::NoAddress`] without any, [`Failure::BufferTooSmall`].
pub fn chain(
    buffer: &mut Buffer<'_>,
    name: &MachineName,
    addresses: impl Iterator<Item = Address> + Clone,
) -> Result<*mut AddressTuple, Failure> {
    let count = addresses.clone().count();
    if count == 0 {
        return Err(Failure::NoAddress);
    }
    let tuples = buffer.reserve::<AddressTuple>(count)?;
    let name = text(buffer, name)?;

    let first: *mut AddressTuple = tuples.as_mut_ptr().cast();
    let links = addresses.enumerate().map(|(i, address)| AddressTuple {
        next: if i + 1 < count {
            first.wrapping_add(i + 1)
        } else {
            ptr::null_mut()
        },
        name,
        family: Family::of(address.ip).number(),
        addr: words(address.ip),
        scope: scope(address),
    });
    fill(tuples, links);
    Ok(first)
}

/// Packs a name with its NUL byte.
fn text(buffer: &mut Buffer<'_>, name: &MachineName) -> Result<*mut c_char, Failure> {
    let name = name.as_bytes();
    let to = buffer.reserve::<u8>(name.len() + 1)?;
    fill(to, name.iter().copied().chain(core::iter::once(0)));
    Ok(to.as_mut_ptr().cast())
}

fn fill<T: Copy>(to: &mut [MaybeUninit<T>], from: impl Iterator<Item = T>) {
    for (slot, value) in to.iter_mut().zip(from) {
        slot.write(value);
    }
}

fn words(ip: IpAddr) -> [u32; 4] {
    match ip {
        IpAddr::V4(ip) => [u32::from_ne_bytes(ip.octets()), 0, 0, 0],
        IpAddr::V6(ip) => {
            let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = ip.octets();
            [[a, b, c, d], [e, f, g, h], [i, j, k, l], [m, n, o, p]].map(u32::from_ne_bytes)
        }
    }
}

/// The scope of an address; a routable one with a scope could be reached by
/// that one interface alone.
fn scope(address: Address) -> u32 {
    match address.ip {
        IpAddr::V6(ip) if ip.is_unicast_link_local() => address.scope,
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
