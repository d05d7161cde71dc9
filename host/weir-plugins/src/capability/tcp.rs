//! Connections by TCP to granted hosts.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use wasmtime::component::Resource;
use weir_core::{Grant, HostPort};

use super::reach::{Reserved, addresses};
use crate::{
    bindings::tcp::{Error, Host, HostConnection},
    instance::State,
};

/// For connecting, sending and receiving, each.
const MOST_TIME: Duration = Duration::from_secs(10);

const RECEIVE_BYTES: u32 = 1 << 20;

/// An open connection of a plugin.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "the generated bindings name it in public")]
pub struct TcpConnection(TcpStream);

impl Host for State {}

impl HostConnection for State {
    async fn connect(&mut self, address: String) -> wasmtime::Result<Result<Resource<TcpConnection>, Error>> {
        let place: HostPort = match address.parse() {
            Ok(place) => place,
            Err(error) => return Ok(Err(Error::Failed(format!("{error}")))),
        };
        let granted = self.used.grants.iter().any(|grant| matches!(grant, Grant::Tcp(known) if *known == place));
        if !granted {
            return Ok(Err(Error::Denied(self.used.denied(&format!("tcp '{place}'")))));
        }
        let resolver = Arc::clone(&self.services.resolver);
        let connect = async {
            let found = addresses(resolver.as_ref(), &place.host).await?;
            let found: Vec<SocketAddr> = found.into_iter().map(|address| (address, place.port).into()).collect();
            let stream = TcpStream::connect(found.as_slice()).await?;
            stream.set_nodelay(true)?;
            Ok(stream)
        };
        Ok(match in_time(connect).await {
            Ok(stream) => Ok(self.table.push(TcpConnection(stream))?),
            Err(error) if error.get_ref().is_some_and(|inner| inner.is::<Reserved>()) => {
                Err(Error::Denied(Reserved.to_string()))
            }
            Err(error) => Err(Error::Failed(format!("cannot connect: {error}"))),
        })
    }

    async fn send(&mut self, this: Resource<TcpConnection>, data: Vec<u8>) -> wasmtime::Result<Result<(), Error>> {
        let TcpConnection(stream) = self.table.get_mut(&this)?;
        Ok(in_time(stream.write_all(&data)).await.map_err(|error| Error::Failed(format!("cannot send: {error}"))))
    }

    async fn receive(&mut self, this: Resource<TcpConnection>, limit: u32) -> wasmtime::Result<Result<Vec<u8>, Error>> {
        let TcpConnection(stream) = self.table.get_mut(&this)?;
        let mut bytes = vec![0; limit.clamp(1, RECEIVE_BYTES) as usize];
        Ok(match in_time(stream.read(&mut bytes)).await {
            Ok(count) => {
                bytes.truncate(count);
                Ok(bytes)
            }
            Err(error) => Err(Error::Failed(format!("cannot receive: {error}"))),
        })
    }

    async fn drop(&mut self, this: Resource<TcpConnection>) -> wasmtime::Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = || io::Error::new(io::ErrorKind::TimedOut, format!("not within {MOST_TIME:?}"));
    timeout(MOST_TIME, work).await.unwrap_or_else(|_| Err(late()))
}
