//! Listing what is there (NLM_F_DUMP).
//!
//! Each part of a listing is decoded before the next is asked for, so that a host with
//! thousands of links costs little memory.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::address::AddressMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkExtentMask, LinkMessage};
use rtnetlink::packet_route::route::RouteMessage;
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::net::SendFlags;
use rustix::net::netlink::SocketAddrNetlink;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::{Link, LinkAddress, Route, RtnlError};
use crate::netlink::{self, DATAGRAM_MAX};

/// How often a listing that changes overtook is made again. What the last one lacks,
/// events tell.
const ATTEMPTS: u32 = 3;

/// A socket for listings.
#[derive(Debug)]
pub(super) struct Dumps {
    socket: AsyncFd<OwnedFd>,
    sequence: u32,
}

impl Dumps {
    pub fn open() -> io::Result<Self> {
        let socket = super::monitor::open()?;
        // Filters of a request that the kernel does not know are refused, not ignored.
        strict_checks(&socket)?;
        Ok(Self {
            socket: crate::async_fd::watch(socket, Interest::READABLE)?,
            sequence: 0,
        })
    }

    pub async fn links(&mut self) -> Result<Vec<Link>, RtnlError> {
        let mut request = LinkMessage::default();
        request
            .attributes
            .push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        self.list(
            "links",
            RouteNetlinkMessage::GetLink(request),
            |message| match message {
                RouteNetlinkMessage::NewLink(link) => Link::from_message(&link),
                _ => None,
            },
        )
        .await
    }

    pub async fn addresses(&mut self) -> Result<Vec<LinkAddress>, RtnlError> {
        let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        self.list("addresses", request, |message| match message {
            RouteNetlinkMessage::NewAddress(address) => LinkAddress::from_message(&address),
            _ => None,
        })
        .await
    }

    pub async fn routes(&mut self) -> Result<Vec<Route>, RtnlError> {
        let mut routes = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut request = RouteMessage::default();
            request.header.address_family = family;
            let request = RouteNetlinkMessage::GetRoute(request);
            let of_family = self.list("routes", request, |message| match message {
                RouteNetlinkMessage::NewRoute(route) => Route::from_message(&route),
                _ => None,
            });
            routes.extend(of_family.await?);
        }
        Ok(routes)
    }

    async fn list<T>(
        &mut self,
        what: &'static str,
        request: RouteNetlinkMessage,
        read: fn(RouteNetlinkMessage) -> Option<T>,
    ) -> Result<Vec<T>, RtnlError> {
        let failed = |source| RtnlError::Dump { what, source };
        let mut attempt = 1;
        loop {
            crate::operations::count(|done| &done.dumps, 1);
            self.ask(request.clone()).map_err(failed)?;
            let (list, overtaken) = self.answer(read).await.map_err(failed)?;
            if !overtaken || attempt == ATTEMPTS {
                return Ok(list);
            }
            attempt += 1;
        }
    }

    fn ask(&mut self, request: RouteNetlinkMessage) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = NetlinkMessage::from(request);
        message.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        let mut bytes = Vec::new();
        netlink::append(&mut bytes, self.sequence, message);
        let kernel = SocketAddrNetlink::new(0, 0);
        rustix::net::sendto(self.socket.get_ref(), &bytes, SendFlags::empty(), &kernel)?;
        Ok(())
    }

    /// Reads the whole answer, and whether something changed meanwhile.
    async fn answer<T>(
        &self,
        read: fn(RouteNetlinkMessage) -> Option<T>,
    ) -> io::Result<(Vec<T>, bool)> {
        let mut buffer = vec![0; DATAGRAM_MAX];
        let (mut list, mut overtaken) = (Vec::new(), false);
        loop {
            let mut ready = self.socket.readable().await?;
            let socket = self.socket.get_ref().as_fd();
            let Some(datagram) = netlink::receive(socket, &mut buffer)? else {
                ready.clear_ready();
                continue;
            };
            for message in datagram.messages() {
                let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(message)
                else {
                    // Something newer than this program: the rest is worth reading.
                    continue;
                };
                if message.header.sequence_number != self.sequence {
                    continue;
                }
                overtaken |= message.header.flags & NLM_F_DUMP_INTR != 0;
                match message.payload {
                    NetlinkPayload::InnerMessage(inner) => list.extend(read(inner)),
                    // A listing that the kernel could not bring to its end.
                    NetlinkPayload::Done(done) if done.code < 0 => {
                        return Err(io::Error::from_raw_os_error(done.code.saturating_neg()));
                    }
                    NetlinkPayload::Done(_) => return Ok((list, overtaken)),
                    NetlinkPayload::Error(error) if error.code.is_some() => {
                        return Err(error.to_io());
                    }
                    _ => {}
                }
            }
        }
    }
}

#[allow(unsafe_code)]
fn strict_checks(socket: &OwnedFd) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open, and the value lives as long as the call and has the
    // length that is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_NETLINK,
            libc::NETLINK_GET_STRICT_CHK,
            std::ptr::from_ref(&on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    /// What comes of a listing that ends with this code (struct nlmsgerr).
    async fn ended_with(code: i32) -> io::Result<(Vec<Link>, bool)> {
        const NLMSG_DONE: u16 = 3;
        let (kernel, socket) = UnixDatagram::pair().unwrap();
        let dumps = Dumps {
            socket: crate::async_fd::watch(socket.into(), Interest::READABLE).unwrap(),
            sequence: 7,
        };
        let mut done = 20_u32.to_ne_bytes().to_vec();
        done.extend(NLMSG_DONE.to_ne_bytes());
        done.extend([2, 0]);
        done.extend(7_u32.to_ne_bytes());
        done.extend([0; 4]);
        done.extend(code.to_ne_bytes());
        kernel.send(&done).unwrap();
        dumps.answer(|_| None).await
    }

    #[tokio::test]
    async fn a_listing_that_breaks_off_is_an_error() {
        assert_eq!(ended_with(0).await.unwrap(), (Vec::new(), false));
        let error = ended_with(-libc::ENOMEM).await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOMEM));
    }
}
