//! The adapter, over a pipe. What a whole hub does with a WebSocket client is in `tests/integration/websocket.rs`.

mod frames;
mod requests;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use weir_broker::Metrics;

use super::WebSocket;

pub(super) const BINARY: u8 = 0x2;
pub(super) const TEXT: u8 = 0x1;
pub(super) const CONTINUATION: u8 = 0x0;
pub(super) const CLOSE: u8 = 0x8;
pub(super) const PING: u8 = 0x9;
pub(super) const PONG: u8 = 0xa;
pub(super) const FINAL: u8 = 0x80;

const LIMIT: u64 = 100_000;

/// A frame as a client sends it. `first` is the opcode, and what is set beside it.
pub(super) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x12, 0x34, 0x56, 0x78];
    let mut bytes = vec![first];
    match payload.len() {
        length @ ..126 => bytes.push(0x80 | length as u8),
        length @ 126..65_536 => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// Both ends of a WebSocket: the hub's, and the bytes of the client's.
pub(super) fn open() -> (WebSocket<DuplexStream>, DuplexStream) {
    let (near, far) = duplex(1024 * 1024);
    (WebSocket::new(near, &[], LIMIT, Metrics::default()), far)
}

/// What the hub reads until the end, or why it cannot, and what it has sent by then.
pub(super) async fn exchange(sent: &[u8]) -> (std::io::Result<Vec<u8>>, Vec<u8>) {
    let (mut near, mut far) = open();
    let mut read = Vec::new();
    let hub = async {
        let outcome = near.read_to_end(&mut read).await.map(|_| ());
        drop(near);
        outcome
    };
    let client = async {
        far.write_all(sent).await.unwrap();
        far.shutdown().await.unwrap();
        let mut heard = Vec::new();
        far.read_to_end(&mut heard).await.unwrap();
        heard
    };
    let (outcome, heard) = tokio::join!(hub, client);
    (outcome.map(|()| read), heard)
}
