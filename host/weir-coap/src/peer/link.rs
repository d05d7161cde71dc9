//! The way to a peer: datagrams of a socket that many share, plain or encrypted.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{net::UdpSocket, time::Instant};
use weir_tls::dtls::DtlsSession;

/// Where a peer is.
pub(crate) struct Link {
    socket: Arc<UdpSocket>,
    address: SocketAddr,
    /// With how long it is kept for a peer that says nothing.
    encrypted: Option<(Box<DtlsSession>, Duration)>,
}

impl Link {
    pub(crate) fn plain(socket: Arc<UdpSocket>, address: SocketAddr) -> Self {
        Self { socket, address, encrypted: None }
    }

    pub(crate) fn encrypted(
        socket: Arc<UdpSocket>,
        address: SocketAddr,
        session: Box<DtlsSession>,
        kept: Duration,
    ) -> Self {
        Self { socket, address, encrypted: Some((session, kept)) }
    }

    /// What is in a datagram.
    pub(crate) fn open(&mut self, datagram: Vec<u8>) -> Vec<Vec<u8>> {
        match &mut self.encrypted {
            None => vec![datagram],
            Some((session, _)) => session.receive(datagram),
        }
    }

    pub(crate) async fn send(&mut self, datagram: &[u8]) {
        match &mut self.encrypted {
            None => self.put(datagram).await,
            Some((session, _)) => {
                session.send(datagram);
                self.flush().await;
            }
        }
    }

    /// Sends what the encryption has to say.
    pub(crate) async fn flush(&mut self) {
        while let Some((session, _)) = &mut self.encrypted
            && let Some(datagram) = session.transmit()
        {
            self.put(&datagram).await;
        }
    }

    /// Tells the peer that nothing follows.
    pub(crate) async fn close(&mut self) {
        if let Some((session, _)) = &mut self.encrypted {
            session.close();
            self.flush().await;
        }
    }

    pub(crate) fn elapsed(&mut self) {
        if let Some((session, _)) = &mut self.encrypted {
            session.elapsed(Instant::now().into_std());
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.encrypted.as_ref().and_then(|(session, _)| session.deadline()).map(Instant::from_std)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.encrypted.as_ref().is_some_and(|(session, _)| session.is_closed())
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        self.encrypted.is_some()
    }

    /// Whether the peer is kept although it was silent for so long.
    pub(crate) fn outlives_silence(&self, silent: Duration) -> bool {
        self.encrypted.as_ref().is_some_and(|(_, kept)| silent < *kept)
    }

    /// A datagram that cannot be sent is one that was lost on the way.
    async fn put(&self, datagram: &[u8]) {
        if let Err(error) = self.socket.send_to(datagram, self.address).await {
            tracing::debug!(%error, "a datagram could not be sent");
        }
    }
}
