//! Which addresses a webhook may connect to. Decided on the address itself, never on a name.

use std::net::{IpAddr, UdpSocket};

use weir_core::address::{Class, class};

/// Why an address is not connected to. Says neither name nor address, which may be secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("webhooks do not connect to link-local, multicast, unspecified, reserved or cloud metadata addresses")]
    Reserved,
    #[error("the address is private; only the rules of an administrator may connect to it")]
    Private,
    #[error("the address and port are the hub's own")]
    Own,
}

/// What a connection may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reach {
    /// Loopback, private networks, and this machine.
    pub(super) private: bool,
    /// The port is one that the hub listens on, so this machine is out of reach.
    pub(super) own_port: bool,
}

impl Reach {
    pub(super) fn permit(self, address: IpAddr) -> Result<(), Refusal> {
        match class(address) {
            Class::Reserved => return Err(Refusal::Reserved),
            Class::Private if !self.private => return Err(Refusal::Private),
            Class::Private | Class::Public => {}
        }
        if self.own_port && is_this_machine(address) {
            return Err(Refusal::Own);
        }
        // A public address of this machine leads behind its firewall like a private one.
        if !self.private && is_this_machine(address) {
            return Err(Refusal::Private);
        }
        Ok(())
    }
}

/// Whether the address belongs to this machine: then, and only then, a socket can be bound to it.
fn is_this_machine(address: IpAddr) -> bool {
    let address = address.to_canonical();
    address.is_loopback() || UdpSocket::bind((address, 0)).is_ok()
}
