//! An encrypted stream, whichever library encrypts it.

use std::{
    fmt,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::{prefixed::Prefixed, x509::X509Stream};

/// A TLS connection whose handshake is over. `shutdown` sends close_notify before it closes.
pub struct TlsStream(Library);

enum Library {
    /// Boxed, because it is large and the other kind is a pointer.
    Rustls(Box<X509Stream>),
    Openssl(tokio_openssl::SslStream<Prefixed>),
}

impl TlsStream {
    pub(crate) fn rustls(stream: Box<X509Stream>) -> Self {
        Self(Library::Rustls(stream))
    }

    pub(crate) fn openssl(stream: tokio_openssl::SslStream<Prefixed>) -> Self {
        Self(Library::Openssl(stream))
    }

    /// The stream below, for its addresses and socket options.
    pub fn tcp(&self) -> &TcpStream {
        match &self.0 {
            Library::Rustls(stream) => stream.tcp(),
            Library::Openssl(stream) => stream.get_ref().tcp(),
        }
    }

    /// Version and suite, for logs: `TLSv1.3 TLS13_AES_256_GCM_SHA384`.
    pub fn protection(&self) -> String {
        match &self.0 {
            Library::Rustls(stream) => {
                let session = stream.session();
                let version = match session.protocol_version() {
                    Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
                    _ => "TLSv1.2",
                };
                let suite = session.negotiated_cipher_suite().map(|suite| suite.suite());
                format!("{version} {}", suite.and_then(|suite| suite.as_str()).unwrap_or("?"))
            }
            Library::Openssl(stream) => {
                let ssl = stream.ssl();
                format!("{} {}", ssl.version_str(), ssl.current_cipher().map_or("?", |cipher| cipher.name()))
            }
        }
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Library::Rustls(stream) => Pin::new(stream).poll_read(cx, buf),
            Library::Openssl(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Library::Rustls(stream) => Pin::new(stream).poll_write(cx, buf),
            Library::Openssl(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Library::Rustls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Library::Openssl(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.0 {
            Library::Rustls(stream) => stream.is_write_vectored(),
            Library::Openssl(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Library::Rustls(stream) => Pin::new(stream).poll_flush(cx),
            Library::Openssl(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Library::Rustls(stream) => Pin::new(stream).poll_shutdown(cx),
            Library::Openssl(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream").field("protection", &self.protection()).finish_non_exhaustive()
    }
}
