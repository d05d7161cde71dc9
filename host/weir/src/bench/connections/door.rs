//! The ways into a broker: TCP, TLS by certificate or by key, and WebSocket over either.
//!
//! Only the beginning of a connection is encrypted by this side. Once a client is idle, what its encryption needs is
//! forgotten and the socket alone is kept, so that fifty thousand clients cost little more than their sockets.

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream as StdStream},
    os::fd::AsFd,
    path::Path,
    sync::Arc,
};

use anyhow::{Context, Result, ensure};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpSocket,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use weir_tls::{PskConnector, PskKey};

use super::crowd::Opening;
use crate::bench::{
    hub::DeviceKey,
    wire::{self, ANSWER_TIMEOUT, Login},
};

/// The upgrade to WebSocket with the key of RFC 6455, section 1.3, and what a server must make of that.
const UPGRADE: &[u8] = b"GET /mqtt HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
const ACCEPTED: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// Bytes of an answer to the upgrade.
const UPGRADE_BYTES: usize = 4 * 1024;

#[derive(Debug)]
pub(super) struct Door {
    lock: Lock,
    websocket: bool,
}

enum Lock {
    None,
    Tls(TlsConnector),
    Psk(PskConnector),
}

impl std::fmt::Debug for Lock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Tls(_) => "Tls",
            Self::Psk(_) => "Psk",
        })
    }
}

/// A connection that can be encrypted.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Door {
    pub(super) fn plain() -> Self {
        Self { lock: Lock::None, websocket: false }
    }

    /// TLS of a server that the authority in the file `ca` vouches for.
    pub(super) fn tls(ca: &Path) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(ca).context("the authority's certificate")? {
            roots.add(certificate?)?;
        }
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Ok(Self { lock: Lock::Tls(Arc::new(config).into()), websocket: false })
    }

    /// TLS by the key of each device.
    pub(super) fn psk() -> Result<Self> {
        Ok(Self { lock: Lock::Psk(PskConnector::new()?), websocket: false })
    }

    pub(super) fn with_websocket(self) -> Self {
        Self { websocket: true, ..self }
    }

    /// Connects, logs in, subscribes, and keeps the socket alone.
    pub(super) async fn open(
        &self,
        opening: &Opening,
        source: Ipv4Addr,
        login: &Login,
        key: Option<&DeviceKey>,
        topic: Option<&str>,
    ) -> Result<StdStream> {
        let opened = timeout(ANSWER_TIMEOUT, async {
            let socket = TcpSocket::new_v4().context("socket")?;
            socket.bind(SocketAddr::V4(SocketAddrV4::new(source, 0))).context("bind")?;
            let tcp = socket.connect(opening.address).await.context("connect")?;
            tcp.set_nodelay(true)?;
            let kept = StdStream::from(tcp.as_fd().try_clone_to_owned().context("dup")?);
            let mut stream: Box<dyn Stream> = match (&self.lock, key) {
                (Lock::None, _) => Box::new(tcp),
                (Lock::Tls(connector), _) => {
                    let name = ServerName::IpAddress(opening.address.ip().into());
                    Box::new(connector.connect(name, tcp).await.context("TLS")?)
                }
                (Lock::Psk(connector), Some(DeviceKey { identity, key })) => {
                    let key = PskKey::new(key.as_slice());
                    Box::new(connector.connect(identity, key, tcp).await.context("TLS-PSK")?)
                }
                (Lock::Psk(_), None) => anyhow::bail!("a device has no key"),
            };
            if self.websocket {
                upgrade(&mut stream).await.context("WebSocket")?;
            }
            let connack = self.exchange(&mut stream, &wire::connect_packet(login, opening.keep_alive)).await;
            wire::check_connack(&connack.context("CONNECT")?)?;
            if let Some(topic) = topic {
                let suback = self.exchange(&mut stream, &wire::subscribe_packet(topic, 1)).await;
                wire::check_suback(&suback.context("SUBSCRIBE")?, 1)?;
            }
            Ok(kept)
        });
        opened.await.context("no answer in time")?
    }

    /// Sends a packet and reads an answer of a length that is known.
    async fn exchange<const N: usize>(&self, stream: &mut Box<dyn Stream>, packet: &[u8]) -> Result<[u8; N]> {
        let mut answer = [0; N];
        if !self.websocket {
            stream.write_all(packet).await?;
            stream.flush().await?;
            stream.read_exact(&mut answer).await?;
            return Ok(answer);
        }
        stream.write_all(&binary_frame(packet)).await?;
        stream.flush().await?;
        let mut filled = 0;
        while filled < N {
            let mut head = [0; 2];
            stream.read_exact(&mut head).await?;
            let [first, length] = head;
            // Whole or in fragments, and never masked by a server.
            ensure!(matches!(first, 0x82 | 0x02 | 0x80 | 0x00), "a frame {first:02x} came");
            let part = answer.get_mut(filled..filled + usize::from(length)).context("a frame was too long")?;
            stream.read_exact(part).await?;
            filled += usize::from(length);
        }
        Ok(answer)
    }
}

async fn upgrade(stream: &mut Box<dyn Stream>) -> Result<()> {
    stream.write_all(UPGRADE).await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        ensure!(answer.len() < UPGRADE_BYTES, "the answer to the upgrade does not end");
        answer.push(stream.read_u8().await?);
    }
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.lines().next().unwrap_or_default();
    ensure!(status.split(' ').nth(1) == Some("101") && answer.contains(ACCEPTED), "the answer was {status}");
    Ok(())
}

/// A client's frame, masked with zeros, which change nothing.
fn binary_frame(packet: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x82];
    match u8::try_from(packet.len()) {
        Ok(length @ ..126) => frame.push(0x80 | length),
        // CONNECT and SUBSCRIBE are far from 65,536 bytes.
        _ => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(packet.len() as u16).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(packet);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_says_its_length() {
        assert_eq!(binary_frame(b"ab"), b"\x82\x82\0\0\0\0ab");
        assert_eq!(binary_frame(&[7; 125])[..2], [0x82, 0xfd]);
        assert_eq!(binary_frame(&[7; 200])[..8], [0x82, 0xfe, 0, 200, 0, 0, 0, 0]);
        assert_eq!(binary_frame(&[7; 200]).len(), 208);
    }
}
