//! A hub and clients of OpenSSL that pass each other datagrams in memory.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use openssl::{
    pkey::PKey,
    ssl::{ErrorCode, Ssl, SslContext, SslContextBuilder, SslMethod, SslStream, SslVerifyMode, SslVersion},
    x509::X509,
};
use weir_core::{DeviceId, Fingerprint};

use super::*;
use crate::{
    AcceptError, Authorities, Authority, DeviceRequest, Now, Peer, Proofs, PskKey, ServerCertificates, Trust,
    x509::CertificateRefusal,
};

const KEY: &[u8] = b"a key of a device";
const IDENTITY: &str = "A1B2C3D4E5dev";

#[derive(Debug)]
struct Hub {
    authority: Authority,
    acceptor: DtlsAcceptor,
    _folder: tempfile::TempDir,
}

/// Believes the hub's authority, and has one certificate revoked.
#[derive(Debug)]
struct Believed(Arc<Authorities>, Option<Fingerprint>);

impl Trust for Believed {
    fn authorities(&self) -> Arc<Authorities> {
        Arc::clone(&self.0)
    }

    fn pinned(&self, _certificate: &Fingerprint) -> Option<DeviceId> {
        None
    }

    fn accepts_only_pins(&self, _device: &DeviceId) -> bool {
        false
    }

    fn is_revoked(&self, certificate: &Fingerprint) -> bool {
        self.1.as_ref() == Some(certificate)
    }
}

fn now() -> weir_core::Timestamp {
    weir_core::Timestamp(1_900_000_000_000)
}

impl Hub {
    fn new() -> Self {
        Self::with(|_| None)
    }

    fn with(revoked: impl FnOnce(&Authority) -> Option<Fingerprint>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::open(folder.path(), now()).unwrap();
        let own = authority.server_certificate(&[], now()).unwrap();
        let mut authorities = Authorities::default();
        authorities.add_hub(authority.certificate()).unwrap();
        let trust = Believed(Arc::new(authorities), revoked(&authority));
        let keys = |identity: &str| (identity == IDENTITY).then(|| PskKey::new(KEY));
        let proofs = Proofs { certificates: Some(Arc::new(trust)), keys: Some(Arc::new(keys)) };
        let shown = Arc::new(ServerCertificates::new(own, []));
        let acceptor = DtlsAcceptor::new(DtlsOptions::default(), shown, proofs, Now::new(now)).unwrap();
        Self { authority, acceptor, _folder: folder }
    }
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

fn client(prepare: impl FnOnce(&mut SslContextBuilder)) -> SslStream<Datagrams> {
    let mut builder = SslContext::builder(SslMethod::dtls_client()).unwrap();
    builder.set_max_proto_version(Some(SslVersion::DTLS1_2)).unwrap();
    builder.set_options(openssl::ssl::SslOptions::NO_QUERY_MTU);
    prepare(&mut builder);
    let mut ssl = Ssl::new(&builder.build()).unwrap();
    ssl.set_mtu(MTU).unwrap();
    SslStream::new(ssl, Datagrams::default()).unwrap()
}

fn with_key(suite: &str, identity: &'static str, key: &'static [u8]) -> SslStream<Datagrams> {
    client(|builder| {
        builder.set_cipher_list(&format!("{suite}:@SECLEVEL=0")).unwrap();
        builder.set_psk_client_callback(move |_, _, name, secret| {
            name[..identity.len()].copy_from_slice(identity.as_bytes());
            secret[..key.len()].copy_from_slice(key);
            Ok(key.len())
        });
    })
}

fn with_certificate(authority: &Authority) -> SslStream<Datagrams> {
    let device = authority.issue(&DeviceRequest::new("A1B2C3D4E5/dev".parse().unwrap()), now()).unwrap();
    certified(&device.certificate_pem, &device.private_key_pem)
}

fn certified(certificate: &str, key: &str) -> SslStream<Datagrams> {
    client(|builder| {
        builder.set_verify(SslVerifyMode::NONE);
        builder.set_certificate(&X509::from_pem(certificate.as_bytes()).unwrap()).unwrap();
        builder.set_private_key(&PKey::private_key_from_pem(key.as_bytes()).unwrap()).unwrap();
    })
}

/// Passes datagrams until the client has nothing to say. Gives the hub's side, if the cookie came back.
fn shake(hub: &Hub, client: &mut SslStream<Datagrams>, from: SocketAddr) -> Option<Box<DtlsSession>> {
    let mut doorstep = Doorstep::new(hub.acceptor.clone());
    let mut session: Option<Box<DtlsSession>> = None;
    for _ in 0..20 {
        let shaken = client.connect();
        let sent: Vec<Vec<u8>> = client.get_mut().outgoing.drain(..).collect();
        let nothing_sent = sent.is_empty();
        for datagram in sent {
            match &mut session {
                Some(session) => assert!(session.receive(datagram).is_empty()),
                None => match doorstep.knock(&datagram, from).unwrap() {
                    Knock::Answer(answer) => {
                        assert!(answer.len() < datagram.len(), "nobody is a lever for a flood elsewhere");
                        client.get_mut().put(answer);
                    }
                    Knock::Session(begun) => session = Some(begun),
                    Knock::Nothing => {}
                },
            }
        }
        if let Some(session) = &mut session {
            std::iter::from_fn(|| session.transmit()).for_each(|datagram| client.get_mut().put(datagram));
        }
        let wants_more = shaken.is_err_and(|error| error.code() == ErrorCode::WANT_READ);
        if nothing_sent || !wants_more && client.get_mut().incoming.is_empty() {
            break;
        }
    }
    session
}

#[test]
fn keys_are_proved_by_every_suite() {
    let hub = Hub::new();
    for suite in crate::psk::suites(true).split(':') {
        let mut client = with_key(suite, IDENTITY, KEY);
        let mut session = shake(&hub, &mut client, address(1)).unwrap();
        assert_eq!(session.peer(), Some(&Peer::Psk { identity: IDENTITY.into() }), "{suite}");
        // In both directions, and with buffers that are given back in between.
        for round in 0..3_u8 {
            let content = vec![round; 1_100];
            client.ssl_write(&content).unwrap();
            let datagram = client.get_mut().outgoing.pop_front().unwrap();
            assert_eq!(session.receive(datagram), std::slice::from_ref(&content), "{suite}");
            session.send(&content);
            let datagram = session.transmit().unwrap();
            client.get_mut().put(datagram);
            let mut buffer = [0; 2_048];
            let length = client.ssl_read(&mut buffer).unwrap();
            assert_eq!(buffer[..length], content, "{suite}");
        }
        session.close();
        let farewell = session.transmit().unwrap();
        client.get_mut().put(farewell);
        assert_eq!(client.ssl_read(&mut [0; 16]).unwrap_err().code(), ErrorCode::ZERO_RETURN);
        assert!(session.is_closed());
    }
}

#[test]
fn certificates_are_verified_as_by_tls() {
    let hub = Hub::new();
    let mut client = with_certificate(&hub.authority);
    let session = shake(&hub, &mut client, address(1)).unwrap();
    let Some(Peer::Certificate(peer)) = session.peer() else { panic!("{session:?}") };
    assert_eq!(peer.device, "A1B2C3D4E5/dev".parse().ok());

    // Of another hub.
    let mut client = with_certificate(&Hub::new().authority);
    let mut session = shake(&hub, &mut client, address(1)).unwrap();
    let failure = session.failure();
    let expected = CertificateRefusal::UnknownAuthority;
    assert!(matches!(&failure, Some(AcceptError::Certificate { refusal, .. }) if *refusal == expected), "{failure:?}");
    // None at all.
    let mut client = client_without_proof();
    let mut session = shake(&hub, &mut client, address(1)).unwrap();
    assert!(matches!(session.failure(), Some(AcceptError::Handshake(_))));

    // One that was revoked is told so.
    let mut made = None;
    let hub = Hub::with(|authority| {
        let device = authority.issue(&DeviceRequest::new("A1B2C3D4E5/dev".parse().unwrap()), now()).unwrap();
        let fingerprint = device.fingerprint;
        made = Some(device);
        Some(fingerprint)
    });
    let device = made.unwrap();
    let mut client = certified(&device.certificate_pem, &device.private_key_pem);
    let mut session = shake(&hub, &mut client, address(1)).unwrap();
    assert!(matches!(session.failure(), Some(AcceptError::Certificate { refusal: CertificateRefusal::Revoked, .. })));
}

fn client_without_proof() -> SslStream<Datagrams> {
    client(|builder| builder.set_verify(SslVerifyMode::NONE))
}

#[test]
fn a_wrong_key_proves_nothing_and_is_named_when_it_is_given_up() {
    let hub = Hub::new();
    for (identity, key, known) in [(IDENTITY, &b"another"[..], true), ("nobody", KEY, false)] {
        let mut client = with_key("PSK-AES128-CCM8", identity, key);
        let mut session = shake(&hub, &mut client, address(1)).unwrap();
        assert_eq!(session.peer(), None);
        let error = session.give_up();
        assert!(
            matches!(&error, AcceptError::Psk { identity: shown, known: is } if **shown == *identity && *is == known),
            "{error:?}"
        );
    }
}

#[test]
fn a_cookie_is_good_at_its_own_address_alone() {
    let hub = Hub::new();
    let mut doorstep = Doorstep::new(hub.acceptor.clone());
    let mut client = with_key("PSK-AES128-CCM8", IDENTITY, KEY);
    let _waits = client.connect();
    let first = client.get_mut().outgoing.pop_front().unwrap();
    let Knock::Answer(cookie) = doorstep.knock(&first, address(1)).unwrap() else { panic!("no cookie") };
    client.get_mut().put(cookie);
    let _waits = client.connect();
    let second = client.get_mut().outgoing.pop_front().unwrap();
    assert_eq!(hello_random(&first), hello_random(&second));
    assert!(matches!(doorstep.knock(&second, address(2)).unwrap(), Knock::Answer(_)));
    assert!(matches!(doorstep.knock(&second, address(1)).unwrap(), Knock::Session(_)));
    // What is no ClientHello, and one that is cut off, is answered by nothing.
    for datagram in [&b""[..], &[22; 100], &second[..20], &[0x40, 1, 0, 1]] {
        assert!(matches!(doorstep.knock(datagram, address(1)).unwrap(), Knock::Nothing));
    }
    let mut cut = second.clone();
    cut.truncate(second.len() - 10);
    assert!(!matches!(doorstep.knock(&cut, address(1)).unwrap(), Knock::Session(_)));
    // And the next stranger is served.
    assert!(matches!(doorstep.knock(&first, address(3)).unwrap(), Knock::Answer(_)));
}

#[test]
fn a_flight_that_was_lost_is_sent_again() {
    let hub = Hub::new();
    let mut doorstep = Doorstep::new(hub.acceptor.clone());
    let mut client = with_key("PSK-AES128-CCM8", IDENTITY, KEY);
    let mut session = loop {
        let _waits = client.connect();
        let datagram = client.get_mut().outgoing.pop_front().unwrap();
        match doorstep.knock(&datagram, address(1)).unwrap() {
            Knock::Answer(answer) => client.get_mut().put(answer),
            Knock::Session(session) => break session,
            Knock::Nothing => panic!("no answer"),
        }
    };
    let lost: Vec<Vec<u8>> = std::iter::from_fn(|| session.transmit()).collect();
    assert!(!lost.is_empty());
    let due = session.deadline().unwrap();
    assert!(due > Instant::now() && due < Instant::now() + Duration::from_secs(5));
    // OpenSSL has a clock of its own, so its time is waited for.
    let mut again = Vec::new();
    while again.is_empty() {
        std::thread::sleep(due.saturating_duration_since(Instant::now()).min(Duration::from_millis(50)));
        session.elapsed(Instant::now().max(due));
        again.extend(std::iter::from_fn(|| session.transmit()));
    }
    again.into_iter().for_each(|datagram| client.get_mut().put(datagram));
    for _ in 0..4 {
        let _may_wait = client.connect();
        let sent: Vec<Vec<u8>> = client.get_mut().outgoing.drain(..).collect();
        sent.into_iter().for_each(|datagram| assert!(session.receive(datagram).is_empty()));
        std::iter::from_fn(|| session.transmit()).for_each(|datagram| client.get_mut().put(datagram));
    }
    assert!(session.peer().is_some());
}
