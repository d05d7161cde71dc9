//! The other side of DTLS by a pre-shared key, for measurements and tests.

use std::{fmt, io};

use openssl::{
    error::ErrorStack,
    ssl::{ErrorCode, Ssl, SslContext, SslMethod, SslOptions, SslStream, SslVersion},
};

use super::{Datagrams, MTU};
use crate::PskKey;

/// Bytes of one record's content.
const RECORD: usize = 2_048;

/// A client of one server: a state machine that takes and gives datagrams.
pub struct DtlsClient {
    stream: SslStream<Datagrams>,
    is_open: bool,
}

impl DtlsClient {
    /// Begins a handshake with a server that knows the key of `identity`; what it says is [`DtlsClient::transmit`]'s.
    pub fn connect(identity: &str, key: &PskKey) -> io::Result<Self> {
        let (identity, key) = (identity.to_owned(), key.clone());
        let stream = || {
            let mut builder = SslContext::builder(SslMethod::dtls_client())?;
            builder.set_max_proto_version(Some(SslVersion::DTLS1_2))?;
            builder.set_options(SslOptions::NO_QUERY_MTU);
            builder.set_cipher_list("PSK-AES128-CCM8:@SECLEVEL=0")?;
            builder.set_psk_client_callback(move |_, _, name, secret| {
                let own = key.as_bytes();
                // Without a key the handshake fails.
                if name.len() <= identity.len() || secret.len() < own.len() {
                    return Ok(0);
                }
                name.iter_mut().zip(identity.bytes().chain([0])).for_each(|(place, byte)| *place = byte);
                secret.iter_mut().zip(own).for_each(|(place, byte)| *place = *byte);
                Ok(own.len())
            });
            let mut ssl = Ssl::new(&builder.build())?;
            ssl.set_mtu(MTU)?;
            SslStream::new(ssl, Datagrams::default())
        };
        let stream = stream().map_err(|error: ErrorStack| io::Error::other(error))?;
        let mut client = Self { stream, is_open: false };
        client.shake()?;
        Ok(client)
    }

    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// Takes a datagram of the server, and gives what is in it.
    pub fn receive(&mut self, datagram: Vec<u8>) -> io::Result<Vec<Vec<u8>>> {
        self.stream.get_mut().put(datagram);
        self.shake()?;
        let mut contents = Vec::new();
        while self.is_open {
            let mut buffer = [0; RECORD];
            match self.stream.ssl_read(&mut buffer) {
                Ok(length) => contents.extend(buffer.get(..length).map(<[u8]>::to_vec)),
                Err(error) if error.code() == ErrorCode::WANT_READ => break,
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Ok(contents)
    }

    pub fn send(&mut self, content: &[u8]) -> io::Result<()> {
        self.stream.ssl_write(content).map(|_| ()).map_err(io::Error::other)
    }

    /// The next datagram to send.
    pub fn transmit(&mut self) -> Option<Vec<u8>> {
        self.stream.get_mut().outgoing.pop_front()
    }

    fn shake(&mut self) -> io::Result<()> {
        if self.is_open {
            return Ok(());
        }
        match self.stream.connect() {
            Ok(()) => self.is_open = true,
            Err(error) if error.code() == ErrorCode::WANT_READ => {}
            Err(error) => return Err(io::Error::other(error)),
        }
        Ok(())
    }
}

impl fmt::Debug for DtlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DtlsClient").field("is_open", &self.is_open).finish_non_exhaustive()
    }
}
