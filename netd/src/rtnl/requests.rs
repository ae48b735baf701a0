//! Changes of links and addresses.

use ipnetwork::IpNetwork;
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressFlags, AddressMessage, AddressProtocol,
};
use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::{Handle, LinkUnspec};

use super::{ADDRESS_PROTOCOL, RtnlError};

/// Changes the host's links.
pub struct Requests {
    handle: Handle,
}

impl Requests {
    /// Opens the socket for requests, in the caller's network namespace. Must be
    /// called within a tokio runtime.
    ///
    /// # Errors
    /// [`RtnlError::Open`].
    pub fn new() -> Result<Self, RtnlError> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(RtnlError::Open)?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// Sets a link up.
    ///
    /// # Errors
    /// [`RtnlError::Link`].
    pub async fn set_up(&self, index: u32) -> Result<(), RtnlError> {
        let message = LinkUnspec::new_with_index(index).up().build();
        self.set(index, "set up", message).await
    }

    /// Sets a link down and gives it another name. In two requests: before 6.2 the
    /// kernel looks whether the link is up before it does anything, and renames none
    /// that is.
    ///
    /// # Errors
    /// [`RtnlError::Link`].
    pub async fn set_down_as(&self, index: u32, name: &str) -> Result<(), RtnlError> {
        let down = LinkUnspec::new_with_index(index).down().build();
        self.set(index, "set down", down).await?;
        let renamed = LinkUnspec::new_with_index(index)
            .name(name.to_owned())
            .build();
        self.set(index, "rename", renamed).await
    }

    async fn set(
        &self,
        index: u32,
        what: &'static str,
        message: LinkMessage,
    ) -> Result<(), RtnlError> {
        let done = self.handle.link().set(message).execute().await;
        done.map_err(|source| RtnlError::Link {
            what,
            index,
            source,
        })
    }

    /// Takes alternative names from a link.
    ///
    /// # Errors
    /// [`RtnlError::Link`].
    pub async fn remove_altnames(&self, index: u32, names: &[String]) -> Result<(), RtnlError> {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.handle
            .link()
            .property_del(index)
            .alt_ifname(&names)
            .execute()
            .await
            .map_err(|source| RtnlError::Link {
                what: "take the altnames of",
                index,
                source,
            })
    }

    /// Adds an address, marked as netd's; one that is there already is updated.
    ///
    /// # Errors
    /// [`RtnlError::Address`].
    pub async fn add_address(&self, index: u32, address: IpNetwork) -> Result<(), RtnlError> {
        let mut request = self
            .handle
            .address()
            .add(index, address.ip(), address.prefix())
            .replace();
        mark(request.message_mut(), address);
        request
            .execute()
            .await
            .map_err(|source| RtnlError::Address {
                what: "add",
                address,
                index,
                source,
            })
    }

    /// Removes an address.
    ///
    /// # Errors
    /// [`RtnlError::Address`].
    pub async fn remove_address(&self, index: u32, address: IpNetwork) -> Result<(), RtnlError> {
        let message = self
            .handle
            .address()
            .add(index, address.ip(), address.prefix())
            .message_mut()
            .clone();
        self.handle
            .address()
            .del(message)
            .execute()
            .await
            .map_err(|source| RtnlError::Address {
                what: "remove",
                address,
                index,
                source,
            })
    }
}

fn mark(message: &mut AddressMessage, address: IpNetwork) {
    message
        .attributes
        .push(AddressAttribute::Protocol(AddressProtocol::Other(
            ADDRESS_PROTOCOL,
        )));
    if address.is_ipv6() {
        // Nobody else can have it: the subnet is this link's alone. Without the
        // probe it serves at once.
        message
            .attributes
            .push(AddressAttribute::Flags(AddressFlags::Nodad));
    }
}
