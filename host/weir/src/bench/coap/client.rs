//! Clients of CoAP that send one request after the other.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use tokio::{net::UdpSocket, time::timeout};
use weir_coap::{
    codec::{Kind, Message, Token, decode, encode, option},
    codes::Code,
};
use weir_tls::{PskKey, dtls::DtlsClient};

use crate::bench::hub::DeviceKey;

/// How long an answer may take before a request is sent again (RFC 7252 §4.8), and how often it is.
const PATIENCE: Duration = Duration::from_secs(2);
const TRIES: u32 = 5;

/// What a small device says.
const PAYLOAD: &[u8] = br#"{"temp":21.5,"hum":40}"#;

#[derive(Debug, Clone)]
pub(super) struct Request(Message);

pub(super) fn request(path: &str, query: Option<&str>) -> Request {
    let mut message = Message::new(Kind::Confirmable, Code::POST, 0);
    path.split('/').for_each(|segment| message.add(option::URI_PATH, segment));
    query.into_iter().for_each(|query| message.add(option::URI_QUERY, query));
    message.payload = PAYLOAD.to_vec();
    Request(message)
}

/// Whether somebody answers at all.
pub(super) async fn answers(server: SocketAddr) -> Result<()> {
    let socket = connected(server).await?;
    socket.send(&encode(&Message::empty(Kind::Confirmable, 1))).await?;
    timeout(Duration::from_millis(100), socket.recv(&mut [0; 64])).await??;
    Ok(())
}

async fn connected(server: SocketAddr) -> Result<UdpSocket> {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).await.context("cannot open a socket")?;
    socket.connect(server).await?;
    Ok(socket)
}

#[derive(Debug)]
pub(super) struct Client {
    socket: UdpSocket,
    request: Message,
    pub(super) latencies: Vec<u32>,
    pub(super) sent_again: u64,
}

impl Client {
    pub(super) async fn open(server: SocketAddr, Request(request): Request) -> Result<Self> {
        let socket = connected(server).await?;
        let mut client = Self { socket, request, latencies: Vec::new(), sent_again: 0 };
        client.ask().await?;
        client.latencies.clear();
        Ok(client)
    }

    /// Sends the request and waits for its answer.
    pub(super) async fn ask(&mut self) -> Result<()> {
        self.request.id = self.request.id.wrapping_add(1);
        self.request.token = Token::from_slice(&self.request.id.to_be_bytes());
        let datagram = encode(&self.request);
        let began = Instant::now();
        for tried in 0..TRIES {
            self.sent_again += u64::from(tried > 0);
            self.socket.send(&datagram).await?;
            if let Ok(answered) = timeout(PATIENCE, self.answer()).await {
                answered?;
                self.latencies.push(u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX));
                return Ok(());
            }
        }
        bail!("a request was not answered")
    }

    async fn answer(&self) -> Result<()> {
        let mut buffer = [0; 2_048];
        loop {
            let length = self.socket.recv(&mut buffer).await?;
            let message = decode(buffer.get(..length).unwrap_or_default())?;
            if message.kind == Kind::Confirmable {
                self.socket.send(&encode(&Message::empty(Kind::Acknowledgement, message.id))).await?;
            }
            if message.token == self.request.token {
                ensure!(message.code.class() == 2, "a request was refused: {}", message.code);
                return Ok(());
            }
        }
    }
}

/// A client with a session of DTLS.
#[derive(Debug)]
pub(super) struct Handshaken {
    socket: UdpSocket,
    dtls: DtlsClient,
}

impl Handshaken {
    pub(super) async fn open(server: SocketAddr, DeviceKey { identity, key }: &DeviceKey) -> Result<Self> {
        let socket = connected(server).await?;
        let dtls = DtlsClient::connect(identity, &PskKey::new(key.clone()))?;
        let mut client = Self { socket, dtls };
        while !client.dtls.is_open() {
            client.flush().await?;
            client.receive().await?;
        }
        client.flush().await?;
        Ok(client)
    }

    pub(super) async fn ask(&mut self, path: &str) -> Result<()> {
        let Request(mut request) = request(path, None);
        request.token = Token::from_slice(&[1]);
        self.dtls.send(&encode(&request))?;
        self.flush().await?;
        loop {
            for content in self.receive().await? {
                let message = decode(&content)?;
                if message.token == request.token {
                    ensure!(message.code.class() == 2, "a request was refused: {}", message.code);
                    return Ok(());
                }
            }
        }
    }

    async fn flush(&mut self) -> Result<()> {
        while let Some(datagram) = self.dtls.transmit() {
            self.socket.send(&datagram).await?;
        }
        Ok(())
    }

    async fn receive(&mut self) -> Result<Vec<Vec<u8>>> {
        let mut buffer = [0; 4_096];
        let length = timeout(PATIENCE, self.socket.recv(&mut buffer)).await.context("the hub did not answer")??;
        let datagram = buffer.get(..length).unwrap_or_default().to_vec();
        Ok(self.dtls.receive(datagram)?)
    }
}
