//! Clients with certificates, good and bad.

use std::{sync::Arc, time::Duration};

use weir_core::{Classify, ErrorKind, ProductId, Voucher};

use super::{
    hub::{Hub, device, made, now, openssl, snapshot, talk},
    trust::TrustSnapshot,
};
use crate::{
    AcceptError, Authorities, Authority, Certificate, CertificateError, CertificatePeer, CertificateRefusal,
    DeviceRequest, Peer, ServerCertificate, fingerprint_of,
};

const NEW_KEY: &str = "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";

/// What a hub believes to which this product registered its authority.
fn of_product(product: ProductId, authority: &Certificate) -> Result<Authorities, CertificateError> {
    let mut authorities = Authorities::default();
    authorities.add_product(product, authority).map(|()| authorities)
}

fn certificate(peer: Peer) -> CertificatePeer {
    match peer {
        Peer::Certificate(peer) => peer,
        other => panic!("{other:?}"),
    }
}

fn refusal(error: AcceptError) -> CertificateRefusal {
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    match error {
        AcceptError::Certificate { refusal, .. } => refusal,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_certificate_of_the_hub_names_its_device() {
    let mut hub = Hub::start().await;
    let own = hub.issue("A1B2C3D4E5/dev:1");
    let mut client = hub.connect("hub.example.org", Some(&own)).await.unwrap();
    assert_eq!(talk(&mut client).await.unwrap(), "HELLO\n");
    let accepted = hub.next().await.unwrap();
    assert!(accepted.protection.starts_with("TLSv1.3 TLS13_"), "{}", accepted.protection);
    let peer = certificate(accepted.peer);
    assert_eq!((peer.device, peer.voucher), (Some(device("A1B2C3D4E5/dev:1")), Voucher::Hub));
    assert_eq!(peer.fingerprint, own.fingerprint);
    assert_eq!(peer.anchor, Some(hub.authority.certificate().anchor().unwrap()));
}

#[tokio::test]
async fn openssl_shows_a_certificate_in_both_versions() {
    let mut hub = Hub::start().await;
    let own = hub.issue("A1B2C3D4E5/dev");
    hub.write("d.pem", &own.certificate_pem);
    hub.write("d.key", &own.private_key_pem);
    hub.write("ca.pem", &hub.authority.certificate().to_pem());
    for version in ["tls1_2", "tls1_3"] {
        let verify = "-CAfile ca.pem -verify_return_error -verify_hostname hub.example.org";
        let output = hub.s_client(&format!("-{version} -cert d.pem -key d.key {verify}")).await;
        assert_eq!(output.stdout, b"HELLO\n", "{version}: {}", String::from_utf8_lossy(&output.stderr));
        let peer = certificate(hub.next().await.unwrap().peer);
        assert_eq!(peer.device, Some(device("A1B2C3D4E5/dev")), "{version}");
    }
}

#[tokio::test]
async fn without_a_certificate_a_client_is_nobody_yet() {
    let mut hub = Hub::start().await;
    let mut client = hub.connect("localhost", None).await.unwrap();
    assert_eq!(talk(&mut client).await.unwrap(), "HELLO\n");
    assert_eq!(hub.next().await.unwrap().peer, Peer::Anonymous);
}

#[tokio::test]
async fn version_1_is_refused_with_what_to_do_and_what_to_do_works() {
    let mut hub = Hub::start().await;
    let folder = hub.folder.path().to_owned();
    made(&folder, &format!("{NEW_KEY} -x509 -subj /CN=Ours -keyout ca.key -out ca.pem")).await;
    made(&folder, &format!("{NEW_KEY} -subj /CN=dev -keyout d.key -out device.csr")).await;
    made(&folder, "x509 -req -in device.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out v1.pem").await;
    let ours = Certificate::parse(&std::fs::read(hub.path("ca.pem")).unwrap()).unwrap();
    let trusting = |pins| {
        let product = "A1B2C3D4E5".parse().unwrap();
        let authorities = Arc::new(of_product(product, &ours).unwrap());
        TrustSnapshot { authorities, pins, ..TrustSnapshot::default() }
    };
    let v1 = std::fs::read(hub.path("v1.pem")).unwrap();
    let pinned = fingerprint_of(&openssl::x509::X509::from_pem(&v1).unwrap().to_der().unwrap());
    // Even if it is pinned.
    for pins in [Default::default(), [(pinned, device("A1B2C3D4E5/dev"))].into()] {
        hub.trust.replace(trusting(pins));
        for version in ["tls1_2", "tls1_3"] {
            let output = hub.s_client(&format!("-{version} -cert v1.pem -key d.key")).await;
            assert!(output.stdout.is_empty());
            let error = hub.next().await.unwrap_err();
            assert!(error.to_string().contains("openssl x509 -req"), "{error}");
            assert_eq!(refusal(error), CertificateRefusal::NotVersion3);
        }
    }
    // The same at registration.
    let error = Certificate::parse(&v1).unwrap_err();
    assert!(matches!(error, CertificateError::Version { version: 1 }), "{error:?}");

    // The commands of the message, word by word.
    hub.trust.replace(trusting(Default::default()));
    let message = error.to_string();
    let commands = message.split_once("with: ").unwrap().1;
    let (echo, command) = commands.split_once("; openssl ").unwrap();
    assert_eq!(echo, "echo extendedKeyUsage=clientAuth > v3.ext");
    hub.write("v3.ext", "extendedKeyUsage=clientAuth\n");
    made(&folder, command).await;
    let output = hub.s_client("-cert device.pem -key d.key").await;
    assert_eq!(output.stdout, b"HELLO\n");
    let peer = certificate(hub.next().await.unwrap().peer);
    assert_eq!(peer.device, Some(device("A1B2C3D4E5/dev")));
    assert_eq!(peer.voucher, Voucher::Product("A1B2C3D4E5".parse().unwrap()));
}

#[tokio::test]
async fn an_unknown_authority_is_refused_and_told_so() {
    let mut hub = Hub::start().await;
    let extension = "-addext basicConstraints=critical,CA:FALSE";
    let make = format!("{NEW_KEY} -x509 -subj /CN=A1B2C3D4E5dev -keyout d.key -out d.pem");
    for (make, expected, alert) in [
        (format!("{make} {extension}"), CertificateRefusal::UnknownAuthority, "unknown ca"),
        // As `openssl req -x509` makes it by itself, it is one of an authority.
        (make, CertificateRefusal::NotForClients, "unsupported certificate"),
    ] {
        made(hub.folder.path(), &make).await;
        for version in ["tls1_2", "tls1_3"] {
            let output = hub.s_client(&format!("-{version} -cert d.pem -key d.key")).await;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.stdout.is_empty() && said.contains(alert), "{version}: {said}");
            assert_eq!(refusal(hub.next().await.unwrap_err()), expected);
        }
    }

    let stranger = Authority::open(&hub.path("stranger"), now()).unwrap();
    let own = stranger.issue(&DeviceRequest::new(device("A1B2C3D4E5/dev")), now()).unwrap();
    assert!(refused_client(&hub, &own).await);
    assert_eq!(refusal(hub.next().await.unwrap_err()), CertificateRefusal::UnknownAuthority);
}

async fn refused_client(hub: &Hub, own: &crate::DeviceCertificate) -> bool {
    match hub.connect("localhost", Some(own)).await {
        Ok(mut client) => talk(&mut client).await.is_err(),
        Err(_) => true,
    }
}

#[tokio::test]
async fn what_is_pinned_needs_no_authority() {
    let mut hub = Hub::start().await;
    made(hub.folder.path(), &format!("{NEW_KEY} -x509 -days 30 -subj /CN=whoever -keyout d.key -out d.pem")).await;
    let pinned = Certificate::parse(&std::fs::read(hub.path("d.pem")).unwrap()).unwrap();
    let pins = |name: &str| [(pinned.fingerprint(), device(name))].into();
    hub.trust.replace(TrustSnapshot { pins: pins("A1B2C3D4E5/pinned"), ..snapshot(&hub.authority) });
    assert_eq!(hub.s_client("-cert d.pem -key d.key").await.stdout, b"HELLO\n");
    let peer = certificate(hub.next().await.unwrap().peer);
    assert_eq!((peer.device, peer.voucher), (Some(device("A1B2C3D4E5/pinned")), Voucher::Pin));

    // The certificate without its key is worth nothing.
    made(hub.folder.path(), &format!("{NEW_KEY} -x509 -subj /CN=whoever -keyout x.key -out x.pem")).await;
    assert!(hub.s_client("-cert d.pem -key x.key").await.stdout.is_empty());

    hub.advance(Duration::from_secs(31 * 86_400));
    assert!(hub.s_client("-cert d.pem -key d.key").await.stdout.is_empty());
    let mut refused = hub.next().await;
    while !matches!(refused, Err(AcceptError::Certificate { .. })) {
        refused = hub.next().await;
    }
    assert_eq!(refusal(refused.unwrap_err()), CertificateRefusal::Expired);
}

#[tokio::test]
async fn revocation_holds_from_the_next_handshake_on() {
    let mut hub = Hub::start().await;
    let (first, second) = (hub.issue("A1B2C3D4E5/first"), hub.issue("A1B2C3D4E5/second"));
    assert!(!refused_client(&hub, &first).await);
    hub.next().await.unwrap();
    hub.trust.replace(TrustSnapshot { revocations: [first.fingerprint].into(), ..snapshot(&hub.authority) });
    assert!(refused_client(&hub, &first).await);
    assert_eq!(refusal(hub.next().await.unwrap_err()), CertificateRefusal::Revoked);
    assert!(!refused_client(&hub, &second).await);
    hub.next().await.unwrap();
}

#[tokio::test]
async fn a_device_with_pins_accepts_nothing_else() {
    let mut hub = Hub::start().await;
    let (pinned, other) = (hub.issue("A1B2C3D4E5/dev"), hub.issue("A1B2C3D4E5/dev"));
    let pins = [(pinned.fingerprint, device("A1B2C3D4E5/dev"))].into();
    hub.trust.replace(TrustSnapshot { pins, ..snapshot(&hub.authority) });
    assert!(!refused_client(&hub, &pinned).await);
    assert_eq!(certificate(hub.next().await.unwrap().peer).voucher, Voucher::Pin);
    assert!(refused_client(&hub, &other).await);
    assert_eq!(refusal(hub.next().await.unwrap_err()), CertificateRefusal::NotPinned);
    // Another device is none of its business.
    assert!(!refused_client(&hub, &hub.issue("A1B2C3D4E5/free")).await);
    hub.next().await.unwrap();
}

#[tokio::test]
async fn a_certificate_is_good_from_its_first_day_to_its_last() {
    let mut hub = Hub::start().await;
    let request =
        DeviceRequest { life: Some(Duration::from_secs(86_400)), ..DeviceRequest::new(device("A1B2C3D4E5/dev")) };
    let own = hub.authority.issue(&request, now()).unwrap();
    assert!(!refused_client(&hub, &own).await);
    hub.next().await.unwrap();
    hub.advance(Duration::from_secs(2 * 86_400));
    assert!(refused_client(&hub, &own).await);
    assert_eq!(refusal(hub.next().await.unwrap_err()), CertificateRefusal::Expired);

    let later = weir_core::Timestamp(now().0 + 10 * 86_400_000);
    let early = hub.authority.issue(&DeviceRequest::new(device("A1B2C3D4E5/dev")), later).unwrap();
    assert!(refused_client(&hub, &early).await);
    assert_eq!(refusal(hub.next().await.unwrap_err()), CertificateRefusal::NotYetValid);
}

#[tokio::test]
async fn the_certificate_of_the_hub_is_not_one_of_a_client() {
    let mut hub = Hub::start().await;
    let output = hub.s_client("-cert tls/server.pem -key tls/server.key").await;
    assert!(output.stdout.is_empty());
    assert_eq!(refusal(hub.next().await.unwrap_err()), CertificateRefusal::NotForClients);
}

#[tokio::test]
async fn a_product_authority_may_have_authorities_below_it() {
    let mut hub = Hub::start().await;
    let folder = hub.folder.path().to_owned();
    made(&folder, &format!("{NEW_KEY} -x509 -subj /CN=Root -keyout root.key -out root.pem")).await;
    made(&folder, &format!("{NEW_KEY} -subj /CN=Plant -keyout plant.key -out plant.csr")).await;
    made(&folder, &format!("{NEW_KEY} -subj /CN=A1B2C3D4E5dev -keyout d.key -out d.csr")).await;
    hub.write("ca.ext", "basicConstraints=critical,CA:TRUE\n");
    hub.write("leaf.ext", "basicConstraints=CA:FALSE\n");
    let sign = "x509 -req -days 30 -CAcreateserial";
    made(&folder, &format!("{sign} -in plant.csr -CA root.pem -CAkey root.key -extfile ca.ext -out plant.pem")).await;
    made(&folder, &format!("{sign} -in d.csr -CA plant.pem -CAkey plant.key -extfile leaf.ext -out d.pem")).await;
    let read = |name: &str| Certificate::parse(&std::fs::read(hub.path(name)).unwrap()).unwrap();
    let (root, plant, leaf) = (read("root.pem"), read("plant.pem"), read("d.pem"));
    let authorities = Arc::new(of_product("A1B2C3D4E5".parse().unwrap(), &root).unwrap());
    hub.trust.replace(TrustSnapshot { authorities: Arc::clone(&authorities), ..TrustSnapshot::default() });
    let with_chain = "-cert d.pem -key d.key -cert_chain plant.pem";
    assert_eq!(hub.s_client(with_chain).await.stdout, b"HELLO\n");
    let peer = certificate(hub.next().await.unwrap().peer);
    assert_eq!(peer.device, Some(device("A1B2C3D4E5/dev")));
    assert_eq!((peer.anchor, &*peer.between), (root.anchor().ok(), &[plant.fingerprint()][..]));

    // One between is revoked.
    let revocations = [plant.fingerprint()].into();
    hub.trust.replace(TrustSnapshot { authorities: Arc::clone(&authorities), revocations, ..TrustSnapshot::default() });
    assert!(hub.s_client(with_chain).await.stdout.is_empty());
    assert_eq!(refusal(hub.next().await.unwrap_err()), CertificateRefusal::Revoked);

    // The root lives 30 days, as `openssl req -x509` makes it by itself; what it signed is to outlive it.
    hub.trust.replace(TrustSnapshot { authorities, ..TrustSnapshot::default() });
    let sign = "x509 -req -days 90 -CAcreateserial";
    made(&folder, &format!("{sign} -in plant.csr -CA root.pem -CAkey root.key -extfile ca.ext -out plant.pem")).await;
    made(&folder, &format!("{sign} -in d.csr -CA plant.pem -CAkey plant.key -extfile leaf.ext -out long.pem")).await;
    let long = "-cert long.pem -key d.key -cert_chain plant.pem";
    assert_eq!(hub.s_client(long).await.stdout, b"HELLO\n");
    hub.next().await.unwrap();
    hub.advance(Duration::from_secs(31 * 86_400));
    assert!(hub.s_client(long).await.stdout.is_empty());
    assert_eq!(refusal(hub.next().await.unwrap_err()), CertificateRefusal::AuthorityExpired);

    let error = of_product("A1B2C3D4E5".parse().unwrap(), &leaf).unwrap_err();
    assert!(error.to_string().contains("basicConstraints=CA:TRUE"), "{error}");
}

#[tokio::test]
async fn the_name_that_a_client_wants_chooses_the_certificate_and_both_reload() {
    let mut hub = Hub::start().await;
    let folder = hub.folder.path().to_owned();
    let own = async |name: &str| {
        let extension = format!("-addext subjectAltName=DNS:{name}");
        made(&folder, &format!("{NEW_KEY} -x509 -subj /CN=own -keyout own.key -out own.pem {extension}")).await;
        let (chain, key) = (folder.join("own.pem"), folder.join("own.key"));
        ServerCertificate::read(&chain, &key).unwrap().unwrap()
    };
    let shown = async |hub: &mut Hub, host: &str| {
        let arguments = format!("s_client -connect 127.0.0.1:{} -servername {host} -showcerts", hub.port);
        let output = openssl(hub.folder.path(), &arguments, "x\n").await;
        hub.next().await.unwrap();
        Certificate::parse(&output.stdout).unwrap().fingerprint()
    };
    let usual = hub.authority.server_certificate(&["hub.example.org".parse().unwrap()], now()).unwrap();
    let (star, exact) = (own("*.iot.example.org").await, own("a.b.example.org").await);
    hub.certificates.replace(usual.clone(), [star.clone(), exact.clone()]);
    for (host, expected) in [
        ("hub.example.org", &usual),
        ("p.iot.example.org", &star),
        ("P.IOT.example.org", &star),
        ("x.p.iot.example.org", &usual),
        ("a.b.example.org", &exact),
        ("nobody.example.org", &usual),
    ] {
        assert_eq!(shown(&mut hub, host).await, expected.certificate().fingerprint(), "{host}");
    }
    hub.certificates.replace(star.clone(), []);
    assert_eq!(shown(&mut hub, "hub.example.org").await, star.certificate().fingerprint());
}
