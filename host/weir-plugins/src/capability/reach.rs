//! Names to addresses, and which addresses no plugin reaches, whoever granted the name.

use std::{io, net::IpAddr, sync::Arc};

use weir_core::{
    address::{Class, class},
    seams::BoxFuture,
};

/// Names to addresses.
pub trait Resolve: Send + Sync {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;
}

pub type Resolver = Arc<dyn Resolve>;

/// As the operating system does it.
#[derive(Debug)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// An address that is not connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("plugins do not connect to link-local, multicast, unspecified, reserved or cloud metadata addresses")]
pub(super) struct Reserved;

/// The addresses of a host that may be connected to. A grant names a host and a port, and so permits a private address;
/// one that is nobody's to use is refused whatever name leads to it.
pub(super) async fn addresses(resolver: &dyn Resolve, host: &str) -> io::Result<Vec<IpAddr>> {
    let found = match host.parse::<IpAddr>() {
        Ok(address) => vec![address],
        Err(_) => resolver.resolve(host).await?,
    };
    if found.iter().any(|address| class(*address) == Class::Reserved) {
        return Err(io::Error::other(Reserved));
    }
    match found.is_empty() {
        true => Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address")),
        false => Ok(found),
    }
}
