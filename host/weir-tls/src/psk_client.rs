//! The other side of TLS-PSK: a device that has nothing but its key, for measurements and tests.

use std::{io, pin::Pin};

use openssl::{
    error::ErrorStack,
    ex_data::Index,
    ssl::{Ssl, SslContext, SslMethod, SslVersion},
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_openssl::SslStream;

use crate::PskKey;

/// Makes encrypted streams, each with a key of its own. Cloning shares what all have in common.
#[derive(Clone)]
pub struct PskConnector {
    context: SslContext,
    device: Index<Ssl, Device>,
}

impl std::fmt::Debug for PskConnector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PskConnector").finish_non_exhaustive()
    }
}

struct Device {
    identity: String,
    key: PskKey,
}

impl PskConnector {
    pub fn new() -> io::Result<Self> {
        let device = Ssl::new_ex_index().map_err(failed)?;
        let context = || {
            let mut builder = SslContext::builder(SslMethod::tls_client())?;
            // A key of this kind is for TLS 1.2. It proves the server too.
            builder.set_max_proto_version(Some(SslVersion::TLS1_2))?;
            builder.set_cipher_list("PSK-AES128-GCM-SHA256")?;
            builder.set_psk_client_callback(move |ssl, _, identity, key| {
                // Without a key the handshake fails.
                Ok(ssl.ex_data(device).map_or(0, |device: &Device| show(device, identity, key)))
            });
            Ok(builder.build())
        };
        Ok(Self { context: context().map_err(failed)?, device })
    }

    /// Encrypts a connection to a server that knows the key of `identity`.
    pub async fn connect<S>(&self, identity: &str, key: PskKey, io: S) -> io::Result<SslStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut ssl = Ssl::new(&self.context).map_err(failed)?;
        ssl.set_ex_data(self.device, Device { identity: identity.to_owned(), key });
        let mut stream = SslStream::new(ssl, io).map_err(failed)?;
        Pin::new(&mut stream).connect().await.map_err(io::Error::other)?;
        Ok(stream)
    }
}

/// Writes an identity, with a zero byte at its end, and a key. Says how long the key is; 0 if they do not fit.
fn show(device: &Device, identity: &mut [u8], key: &mut [u8]) -> usize {
    let own = device.key.as_bytes();
    if identity.len() <= device.identity.len() || key.len() < own.len() {
        return 0;
    }
    for (place, byte) in identity.iter_mut().zip(device.identity.bytes().chain([0])) {
        *place = byte;
    }
    for (place, byte) in key.iter_mut().zip(own) {
        *place = *byte;
    }
    own.len()
}

fn failed(error: ErrorStack) -> io::Error {
    io::Error::other(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_shown_whole_or_not_at_all() {
        let device = Device { identity: "dev".to_owned(), key: PskKey::new([1, 2]) };
        let mut identity = [9; 5];
        let mut key = [9; 3];
        assert_eq!(show(&device, &mut identity, &mut key), 2);
        assert_eq!((identity, key), (*b"dev\0\x09", [1, 2, 9]));
        assert_eq!(show(&device, &mut [0; 3], &mut key), 0);
        assert_eq!(show(&device, &mut identity, &mut [0; 1]), 0);
    }
}
