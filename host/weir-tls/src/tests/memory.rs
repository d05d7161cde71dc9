//! What an idle connection costs. Printed, not asserted: the allocator and other tests have their say. Run it alone:
//! `cargo test -p weir-tls memory -- --nocapture --test-threads 1`.

use std::{net::TcpStream as StdStream, pin::Pin, sync::Arc, time::Duration};

use openssl::ssl::{Ssl, SslContext, SslMethod};
use rustls_pki_types::ServerName;
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::{
    hub::{KEY, client_config, now, snapshot},
    trust::SharedTrust,
};
use crate::{
    Acceptor, AcceptorOptions, Authority, DeviceCertificate, DeviceRequest, Now, Proofs, PskKey, ServerCertificates,
    TlsStream,
};

/// Connections of each kind that come before counting, for what is made once.
const WARM: usize = 50;
const KINDS: usize = 5;

/// Connects, does the handshake, and keeps of it the socket alone.
enum Client {
    Rustls(tokio_rustls::TlsConnector),
    Openssl(SslContext),
}

#[tokio::test]
async fn an_idle_connection_is_small() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::open(folder.path(), now()).unwrap();
    let own = authority.issue(&DeviceRequest::new("A1B2C3D4E5/dev".parse().unwrap()), now()).unwrap();
    let proofs = Proofs {
        certificates: Some(Arc::new(SharedTrust::new(snapshot(&authority)))),
        keys: Some(Arc::new(|_: &str| Some(PskKey::new(KEY)))),
    };
    let certificates = Arc::new(ServerCertificates::new(authority.server_certificate(&[], now()).unwrap(), []));
    let acceptor = Acceptor::new(AcceptorOptions::default(), certificates, proofs, Now::new(now)).unwrap();
    let rustls = |own: Option<&DeviceCertificate>| {
        Client::Rustls(tokio_rustls::TlsConnector::from(Arc::new(client_config(&authority, own))))
    };
    let openssl = |suites: &str| {
        let mut builder = SslContext::builder(SslMethod::tls_client()).unwrap();
        builder.set_cipher_list(suites).unwrap();
        builder.set_max_proto_version(Some(openssl::ssl::SslVersion::TLS1_2)).unwrap();
        builder.set_psk_client_callback(|_, _, identity, key| {
            identity[..5].copy_from_slice(b"dev-1");
            key[..KEY.len()].copy_from_slice(&KEY);
            Ok(KEY.len())
        });
        Client::Openssl(builder.build())
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connections = affordable();
    // All kinds are held to the end: what one gives back would make the next look smaller.
    let mut held: Vec<(TlsStream, StdStream)> = Vec::new();
    let kinds: [_; KINDS] = [
        ("no certificate, TLS 1.3", rustls(None)),
        ("certificate, TLS 1.3", rustls(Some(&own))),
        ("PSK-AES128-CBC-SHA", openssl("PSK-AES128-CBC-SHA")),
        ("PSK-AES128-GCM-SHA256", openssl("PSK-AES128-GCM-SHA256")),
        ("ECDHE-PSK-CHACHA20-POLY1305", openssl("ECDHE-PSK-CHACHA20-POLY1305")),
    ];
    for (what, client) in kinds {
        for _ in 0..WARM {
            held.push(open(&listener, &acceptor, &client).await);
        }
        let before = resident();
        for _ in 0..connections {
            held.push(open(&listener, &acceptor, &client).await);
        }
        let each = resident().saturating_sub(before) as f64 / connections as f64;
        println!("{what}: {each:.1} KiB per connection");
    }
}

async fn open(listener: &TcpListener, acceptor: &Acceptor, client: &Client) -> (TlsStream, StdStream) {
    let address = listener.local_addr().unwrap();
    let connect = async {
        let tcp = TcpStream::connect(address).await.unwrap();
        match client {
            Client::Rustls(connector) => {
                let client = connector.connect(ServerName::try_from("localhost").unwrap(), tcp).await.unwrap();
                client.into_inner().0.into_std().unwrap()
            }
            Client::Openssl(context) => {
                let tcp = tcp.into_std().unwrap();
                let kept = tcp.try_clone().unwrap();
                let tcp = TcpStream::from_std(tcp).unwrap();
                let mut client = tokio_openssl::SslStream::new(Ssl::new(context).unwrap(), tcp).unwrap();
                Pin::new(&mut client).connect().await.unwrap();
                kept
            }
        }
    };
    let accept = async {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(tcp).await.unwrap().0;
        // As whoever serves it does: it waits for the first bytes.
        assert!(timeout(Duration::ZERO, stream.read_u8()).await.is_err());
        stream
    };
    let (stream, client) = tokio::join!(accept, connect);
    (stream, client)
}

/// As many connections of each kind as the limit of open files allows, up to a thousand.
fn affordable() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let files: usize = line.split_whitespace().nth(3).and_then(|limit| limit.parse().ok()).unwrap_or(usize::MAX);
    // Two for each connection, and some for other tests.
    ((files.saturating_sub(200)) / 2 / KINDS).saturating_sub(WARM).clamp(1, 1_000)
}

/// KiB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}
