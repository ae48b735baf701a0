//! What the kernel says of links, addresses and routes.

use futures::channel::mpsc::UnboundedReceiver;
use futures::{StreamExt, TryStreamExt};
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::route::RouteMessage;
use rtnetlink::sys::{AsyncSocket, SocketAddr};
use rtnetlink::{Handle, MulticastGroup};

use super::{Link, LinkAddress, Route, RtnlError};

/// Room for events that were not read yet, in bytes. The kernel gives what its
/// limit allows; what is lost all the same is an [`Event::Overrun`].
const RECEIVE_BUFFER: usize = 8 << 20;

/// A change on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A link is new, or changed.
    Link(Link),
    /// A link is gone; its interface index.
    LinkGone(u32),
    /// An address is new, or changed.
    Address(LinkAddress),
    /// An address is gone.
    AddressGone(LinkAddress),
    /// A route is new.
    Route(Route),
    /// A route is gone.
    RouteGone(Route),
    /// Events were lost: what is there must be read anew.
    Overrun,
}

/// All of the host's links, addresses and routes.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Links.
    pub links: Vec<Link>,
    /// Addresses of all links.
    pub addresses: Vec<LinkAddress>,
    /// Routes of all tables.
    pub routes: Vec<Route>,
}

/// Listens to the kernel.
pub struct Monitor {
    events: UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>,
    dumps: Handle,
}

impl Monitor {
    /// Subscribes to the changes of the caller's network namespace. Must be called
    /// within a tokio runtime, and before the first [`Monitor::snapshot`].
    ///
    /// # Errors
    /// [`RtnlError::Open`].
    pub fn new() -> Result<Self, RtnlError> {
        let (mut connection, _, events) = rtnetlink::new_multicast_connection(&[
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Route,
        ])
        .map_err(RtnlError::Open)?;
        // The larger buffer only makes overruns rarer.
        let _ = connection
            .socket_mut()
            .socket_mut()
            .set_rx_buf_sz(RECEIVE_BUFFER);
        tokio::spawn(connection);
        let (connection, dumps, _) =
            rtnetlink::new_connection_with_strict_check().map_err(RtnlError::Open)?;
        tokio::spawn(connection);
        Ok(Self { events, dumps })
    }

    /// Waits for the next change; `None` when the connection to the kernel ended.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            let (message, _) = self.events.next().await?;
            if let Some(event) = event_of(message) {
                return Some(event);
            }
        }
    }

    /// The next change that is known already, without waiting.
    pub fn try_next(&mut self) -> Option<Event> {
        while let Ok((message, _)) = self.events.try_recv() {
            if let Some(event) = event_of(message) {
                return Some(event);
            }
        }
        None
    }

    /// Reads all that is there. Events of changes that it holds already may follow.
    ///
    /// # Errors
    /// [`RtnlError::Dump`].
    pub async fn snapshot(&self) -> Result<Snapshot, RtnlError> {
        let failed = |what| move |source| RtnlError::Dump { what, source };
        let links: Vec<_> = self
            .dumps
            .link()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(failed("links"))?;
        let addresses: Vec<_> = self
            .dumps
            .address()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(failed("addresses"))?;
        Ok(Snapshot {
            links: links.iter().filter_map(Link::from_message).collect(),
            addresses: addresses
                .iter()
                .filter_map(LinkAddress::from_message)
                .collect(),
            routes: self.routes().await?,
        })
    }

    /// Reads all routes of all tables.
    ///
    /// # Errors
    /// [`RtnlError::Dump`].
    pub async fn routes(&self) -> Result<Vec<Route>, RtnlError> {
        let mut routes = Vec::new();
        for family in [
            rtnetlink::packet_route::AddressFamily::Inet,
            rtnetlink::packet_route::AddressFamily::Inet6,
        ] {
            let mut request = RouteMessage::default();
            request.header.address_family = family;
            let mut stream = self.dumps.route().get(request).execute();
            while let Some(route) = stream.try_next().await.map_err(|source| RtnlError::Dump {
                what: "routes",
                source,
            })? {
                routes.extend(Route::from_message(&route));
            }
        }
        Ok(routes)
    }
}

fn event_of(message: NetlinkMessage<RouteNetlinkMessage>) -> Option<Event> {
    match message.payload {
        NetlinkPayload::Overrun(_) => Some(Event::Overrun),
        NetlinkPayload::InnerMessage(inner) => match inner {
            RouteNetlinkMessage::NewLink(link) => Link::from_message(&link).map(Event::Link),
            RouteNetlinkMessage::DelLink(link) => {
                Link::from_message(&link).map(|link| Event::LinkGone(link.index))
            }
            RouteNetlinkMessage::NewAddress(address) => {
                LinkAddress::from_message(&address).map(Event::Address)
            }
            RouteNetlinkMessage::DelAddress(address) => {
                LinkAddress::from_message(&address).map(Event::AddressGone)
            }
            RouteNetlinkMessage::NewRoute(route) => Route::from_message(&route).map(Event::Route),
            RouteNetlinkMessage::DelRoute(route) => {
                Route::from_message(&route).map(Event::RouteGone)
            }
            _ => None,
        },
        _ => None,
    }
}
