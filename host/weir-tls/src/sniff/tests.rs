use std::{
    io::{self, Read, Write},
    sync::{Arc, LazyLock},
};

use openssl::ssl::{Ssl, SslContext, SslMethod, SslVersion};
use proptest::prelude::*;
use rustls::{ClientConfig, ClientConnection, RootCertStore, crypto::ring};

use super::*;

const PSK: Offer = Offer { tls12: true, tls13: false };
const BOTH: Offer = Offer { tls12: true, tls13: true };
const NONE: Offer = Offer { tls12: false, tls13: false };

/// Keeps what is written, and never answers.
#[derive(Debug, Default)]
struct Capture(Vec<u8>);

impl Read for Capture {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

impl Write for Capture {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn of_rustls() -> Vec<u8> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let mut client = ClientConnection::new(Arc::new(config), "hub".try_into().unwrap()).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    hello
}

fn of_openssl(suites: Option<&str>, key: bool, max: Option<SslVersion>) -> Vec<u8> {
    let mut builder = SslContext::builder(SslMethod::tls_client()).unwrap();
    if let Some(suites) = suites {
        builder.set_cipher_list(suites).unwrap();
    }
    builder.set_max_proto_version(max).unwrap();
    if key {
        builder.set_psk_client_callback(|_, _, identity, key| {
            identity[..5].copy_from_slice(b"dev-1");
            key[..4].copy_from_slice(b"key!");
            Ok(4)
        });
    }
    let ssl = Ssl::new(&builder.build()).unwrap();
    let error = ssl.connect(Capture::default()).unwrap_err();
    match error {
        openssl::ssl::HandshakeError::WouldBlock(stream) => stream.get_ref().0.clone(),
        other => panic!("{other:?}"),
    }
}

/// The same message, cut into records of `size` bytes.
fn cut(hello: &[u8], size: usize) -> Vec<u8> {
    let records = hello[RECORD_HEADER..].chunks(size).map(|chunk| {
        let length = u16::try_from(chunk.len()).unwrap().to_be_bytes();
        [&[HANDSHAKE_RECORD, 3, 1], &length[..], chunk].concat()
    });
    records.collect::<Vec<_>>().concat()
}

static REAL: LazyLock<Vec<(&str, Vec<u8>, Offer)>> = LazyLock::new(real);

fn real() -> Vec<(&'static str, Vec<u8>, Offer)> {
    let tls12 = Some(SslVersion::TLS1_2);
    vec![
        ("rustls", of_rustls(), NONE),
        ("openssl", of_openssl(None, false, None), NONE),
        ("openssl 1.2", of_openssl(None, false, tls12), NONE),
        ("the vendor's two suites", of_openssl(Some("PSK-AES128-CBC-SHA:PSK-AES256-CBC-SHA"), true, tls12), PSK),
        ("mosquitto", of_openssl(Some("PSK"), true, None), BOTH),
        ("everything and a key", of_openssl(None, true, None), BOTH),
        // Listed without a key, OpenSSL leaves them out.
        ("suites without a key", of_openssl(Some("ALL:PSK"), false, tls12), NONE),
    ]
}

#[test]
fn real_clients_are_told_apart_however_their_hello_is_cut() {
    for (what, hello, offer) in REAL.iter() {
        for size in [1, 2, 3, 100, 16_384] {
            let stream = cut(hello, size);
            assert_eq!(inspect(&stream), Progress::Hello(*offer), "{what}, records of {size}");
            for end in 0..stream.len() {
                match inspect(&stream[..end]) {
                    Progress::Need(bytes) => assert!(end < bytes && bytes <= stream.len(), "{what}: {end} {bytes}"),
                    other => panic!("{what}: {other:?} after {end} bytes"),
                }
            }
        }
        let more = [&hello[..], b"whatever follows"].concat();
        assert_eq!(inspect(&more), Progress::Hello(*offer), "{what}");
    }
}

#[test]
fn tickets_of_another_server_are_no_keys() {
    let extension = |age: [u8; 4]| [&b"\0\x0a\0\x04dev1"[..], &age, b"\0\x02\x01\0"].concat();
    assert_eq!(has_external_key(&extension([0; 4])), Some(true));
    assert_eq!(has_external_key(&extension([0, 0, 1, 0])), Some(false));
    assert_eq!(has_external_key(b"\0\x0a\0\x04dev"), None);
}

#[test]
fn other_protocols_are_known_by_their_first_bytes() {
    let check = |bytes: &[u8], expected| assert_eq!(inspect(bytes), expected, "{bytes:?}");
    check(b"\x10", Progress::NotTls);
    check(b"GET / HTTP/1.1\r\n", Progress::NotTls);
    check(b"\x80\x2e\x01\x00\x02", Progress::NotTls); // SSL 2
    check(b"\x16\x02", Progress::NotTls);
    check(b"", Progress::Need(5));
    check(b"\x16\x03\x01\0\0", Progress::Malformed);
    check(b"\x16\x03\x01\x40\x01", Progress::Malformed);
    check(b"\x16\x03\x01\0\x01\x01\x17", Progress::Malformed);
    check(b"\x16\x03\x01\0\x04\x0b\0\0\0", Progress::Malformed);
    check(b"\x16\x03\x01\0\x04\x01\xff\0\0", Progress::Need(0xff_0000));
}

proptest! {
    #[test]
    fn any_bytes_get_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        if let Progress::Need(needed) = inspect(&bytes) {
            prop_assert!(needed > bytes.len());
        }
    }

    #[test]
    fn any_handshake_gets_an_answer(body in proptest::collection::vec(any::<u8>(), 0..600), size in 1..200_usize) {
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        let hello = [&[HANDSHAKE_RECORD, 3, 1, 0, 0, CLIENT_HELLO], &length[1..], &body[..]].concat();
        prop_assert!(matches!(inspect(&cut(&hello, size)), Progress::Hello(_) | Progress::Malformed));
    }

    #[test]
    fn a_changed_byte_does_no_harm(at in any::<prop::sample::Index>(), value in any::<u8>(), which in 0..7_usize) {
        let mut hello = REAL[which].1.clone();
        let at = at.index(hello.len());
        hello[at] = value;
        if let Progress::Need(needed) = inspect(&hello) {
            prop_assert!(needed > hello.len());
        }
    }
}
