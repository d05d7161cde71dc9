//! Streams by certificate carry any bytes, in any portions, in both directions at once, and end as the peer ended them.

use std::{io::ErrorKind, sync::Arc};

use rustls::{
    ProtocolVersion, SupportedProtocolVersion,
    version::{TLS12, TLS13},
};
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::hub::{client_config_of, now};
use crate::{Acceptor, AcceptorOptions, Authority, Now, Proofs, ServerCertificates, TlsStream};

/// More than sockets hold, so that both sides have to wait for each other.
const BYTES: usize = 8 * 1024 * 1024;

type Client = tokio_rustls::client::TlsStream<TcpStream>;

async fn pair(versions: &[&'static SupportedProtocolVersion]) -> (TlsStream, Client) {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::open(folder.path(), now()).unwrap();
    let certificates = Arc::new(ServerCertificates::new(authority.server_certificate(&[], now()).unwrap(), []));
    let acceptor = Acceptor::new(AcceptorOptions::default(), certificates, Proofs::default(), Now::new(now)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client_config_of(&authority, None, versions)));
    let (accepted, connected) = tokio::join!(
        async { acceptor.accept(listener.accept().await.unwrap().0).await.unwrap().0 },
        connector.connect(ServerName::try_from("localhost").unwrap(), tcp),
    );
    (accepted, connected.unwrap())
}

/// Bytes that differ from their neighbours, and from those a record further on.
fn bytes() -> Vec<u8> {
    (0..BYTES).map(|at| (at.wrapping_mul(31) ^ (at >> 11)) as u8).collect()
}

async fn read_in_portions(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut all = Vec::new();
    let mut portion = vec![0; 70_000];
    for size in [1, 5, 333, 16_384, 70_000].into_iter().cycle() {
        match stream.read(&mut portion[..size]).await.unwrap() {
            0 => break,
            read => all.extend_from_slice(&portion[..read]),
        }
    }
    all
}

#[tokio::test]
async fn bytes_arrive_as_they_were_sent() {
    for version in [&TLS12, &TLS13] {
        let (server, mut client) = pair(&[version]).await;
        let (mut reading, mut writing) = tokio::io::split(server);
        let echo = async move {
            tokio::io::copy_buf(&mut tokio::io::BufReader::with_capacity(50_000, &mut reading), &mut writing)
                .await
                .unwrap();
            writing.shutdown().await.unwrap();
        };
        let sent = bytes();
        let (before, after) = sent.split_at(BYTES / 3);
        if version.version == ProtocolVersion::TLSv1_3 {
            client.get_mut().1.refresh_traffic_keys().unwrap();
        }
        let (mut back, mut forth) = tokio::io::split(client);
        let (received, (), ()) = tokio::join!(read_in_portions(&mut back), echo, async {
            forth.write_all(b"first, ").await.unwrap();
            for part in [before, after] {
                forth.write_all(part).await.unwrap();
            }
            forth.shutdown().await.unwrap();
        });
        assert!(received == [b"first, ", sent.as_slice()].concat(), "{:?}: {} bytes", version.version, received.len());
    }
}

#[tokio::test]
async fn a_stream_that_was_cut_is_not_one_that_ended() {
    let (mut server, mut client) = pair(&[&TLS13]).await;
    client.write_all(b"all").await.unwrap();
    client.shutdown().await.unwrap();
    let mut read = Vec::new();
    assert_eq!(server.read_to_end(&mut read).await.unwrap(), 3);

    let (mut server, mut client) = pair(&[&TLS13]).await;
    client.write_all(b"half").await.unwrap();
    drop(client.into_inner());
    assert_eq!(server.read_to_end(&mut read).await.unwrap_err().kind(), ErrorKind::UnexpectedEof);
    assert_eq!(read, b"allhalf");
}
