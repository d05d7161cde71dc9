//! A hub that is only its encrypted listener: it answers one line in capitals and closes.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, crypto::ring};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
    time::timeout,
};
use weir_core::{DeviceId, Timestamp};

use super::trust::{SharedTrust, TrustSnapshot};
use crate::{
    AcceptError, Acceptor, AcceptorOptions, Authorities, Authority, DeviceCertificate, DeviceRequest, HostName, Now,
    Peer, Proofs, PskKey, ServerCertificates, TlsStream, Trust,
};

pub(super) const PATIENCE: Duration = Duration::from_secs(20);
pub(super) const KEY: [u8; 16] = *b"0123456789abcdef";

pub(super) struct Hub {
    pub(super) folder: TempDir,
    pub(super) authority: Authority,
    pub(super) certificates: Arc<ServerCertificates>,
    pub(super) trust: Arc<SharedTrust>,
    pub(super) port: u16,
    clock: Arc<AtomicI64>,
    accepted: mpsc::Receiver<Result<Accepted, AcceptError>>,
    _tasks: JoinSet<()>,
}

#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) peer: Peer,
    pub(super) protection: String,
}

impl Hub {
    pub(super) async fn start() -> Self {
        Self::with(AcceptorOptions { handshake_timeout: PATIENCE, ..AcceptorOptions::default() }).await
    }

    pub(super) async fn with(options: AcceptorOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let start = now();
        let authority = Authority::open(&folder.path().join("tls"), start).unwrap();
        let names: [HostName; 1] = ["hub.example.org".parse().unwrap()];
        let certificates = Arc::new(ServerCertificates::new(authority.server_certificate(&names, start).unwrap(), []));
        let trust = Arc::new(SharedTrust::new(snapshot(&authority)));
        // Ahead of the clock by which certificates are made here, so that they are valid at once.
        let clock = Arc::new(AtomicI64::new(start.0 + 60_000));
        let read = Arc::clone(&clock);
        let proofs = Proofs {
            certificates: Some(Arc::<SharedTrust>::clone(&trust) as Arc<dyn Trust>),
            keys: Some(Arc::new(|identity: &str| (identity == "A1B2C3D4E5dev").then(|| PskKey::new(KEY)))),
        };
        let now = Now::new(move || Timestamp(read.load(Ordering::Relaxed)));
        let acceptor = Acceptor::new(options, certificates.clone(), proofs, now).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, accepted) = mpsc::channel(100);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                connections.spawn(serve(acceptor.clone(), tcp, sender.clone()));
            }
        });
        Self { folder, authority, certificates, trust, port, clock, accepted, _tasks: tasks }
    }

    /// What the hub said to the connection that came next.
    pub(super) async fn next(&mut self) -> Result<Accepted, AcceptError> {
        timeout(PATIENCE, self.accepted.recv()).await.unwrap().unwrap()
    }

    pub(super) fn advance(&self, by: Duration) {
        self.clock.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::Relaxed);
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(super) fn issue(&self, device: &str) -> DeviceCertificate {
        self.authority.issue(&DeviceRequest::new(device.parse().unwrap()), now()).unwrap()
    }

    /// `openssl s_client` with these arguments. It sends a line and ends when the hub closes.
    pub(super) async fn s_client(&self, arguments: &str) -> Output {
        let connect = format!("s_client -quiet -connect 127.0.0.1:{} {arguments}", self.port);
        openssl(self.folder.path(), &connect, "hello\n").await
    }

    /// A rustls client that trusts the hub's authority and may have a certificate.
    pub(super) async fn connect(&self, host: &'static str, own: Option<&DeviceCertificate>) -> std::io::Result<Client> {
        let tcp = TcpStream::connect(("127.0.0.1", self.port)).await?;
        let connector = tokio_rustls::TlsConnector::from(Arc::new(client_config(&self.authority, own)));
        connector.connect(ServerName::try_from(host).unwrap(), tcp).await
    }
}

pub(super) type Client = tokio_rustls::client::TlsStream<TcpStream>;

/// Sends a line, reads the answer to the end.
pub(super) async fn talk(client: &mut Client) -> std::io::Result<String> {
    client.write_all(b"hello\n").await?;
    let mut answer = String::new();
    timeout(PATIENCE, client.read_to_string(&mut answer)).await.unwrap()?;
    Ok(answer)
}

pub(super) fn client_config(authority: &Authority, own: Option<&DeviceCertificate>) -> ClientConfig {
    client_config_of(authority, own, rustls::ALL_VERSIONS)
}

pub(super) fn client_config_of(
    authority: &Authority,
    own: Option<&DeviceCertificate>,
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate().der().clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    match own {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let chain = CertificateDer::pem_slice_iter(own.certificate_pem.as_bytes()).map(Result::unwrap).collect();
            let key = PrivateKeyDer::from_pem_slice(own.private_key_pem.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    }
}

/// Runs `openssl` with arguments that have no spaces within.
pub(super) async fn openssl(folder: &Path, arguments: &str, input: &'static str) -> Output {
    let mut child = Command::new("openssl")
        .args(arguments.split_whitespace())
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let ended = tokio::task::spawn_blocking(move || {
        // It may have ended already.
        let _sent = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output()
    });
    timeout(PATIENCE, ended).await.unwrap().unwrap().unwrap()
}

pub(super) async fn made(folder: &Path, arguments: &str) {
    let output = openssl(folder, arguments, "").await;
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

pub(super) fn snapshot(authority: &Authority) -> TrustSnapshot {
    let mut authorities = Authorities::default();
    authorities.add_hub(authority.certificate()).unwrap();
    TrustSnapshot { authorities: Arc::new(authorities), ..TrustSnapshot::default() }
}

pub(super) fn device(text: &str) -> DeviceId {
    text.parse().unwrap()
}

pub(super) fn now() -> Timestamp {
    Timestamp(i64::try_from(UnixTime::now().as_secs()).unwrap() * 1_000)
}

async fn serve(acceptor: Acceptor, tcp: TcpStream, accepted: mpsc::Sender<Result<Accepted, AcceptError>>) {
    let (mut stream, peer) = match acceptor.accept(tcp).await {
        Ok(ok) => ok,
        Err(error) => return accepted.send(Err(error)).await.unwrap(),
    };
    let protection = stream.protection();
    accepted.send(Ok(Accepted { peer, protection })).await.unwrap();
    answer(&mut stream).await;
}

/// Whatever goes wrong here is the client's to notice.
async fn answer(stream: &mut TlsStream) {
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        if !matches!(stream.read_buf(&mut line).await, Ok(1..)) {
            return;
        }
    }
    if stream.write_all(&line.to_ascii_uppercase()).await.is_ok() {
        let _closed = stream.shutdown().await;
    }
}
