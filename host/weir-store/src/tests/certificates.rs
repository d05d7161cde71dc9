//! Authorities, issued certificates, pins, revocations.

use weir_core::{Classify, ErrorKind, Fingerprint};

use super::*;
use crate::{
    AUTHORITIES_PER_PRODUCT, AuthorityRow, CERTIFICATES_PER_DEVICE, CertificateName, IssuedRow, PINS_PER_DEVICE,
    StoreError,
};

const DAY: i64 = 86_400_000;

fn print(byte: u8) -> Fingerprint {
    Fingerprint::new([byte; 32])
}

fn kind<T: std::fmt::Debug>(result: Result<T, StoreError>) -> ErrorKind {
    result.unwrap_err().kind()
}

fn authority(byte: u8, anchor: u8) -> AuthorityRow {
    AuthorityRow {
        product: product(),
        fingerprint: print(byte),
        anchor: print(anchor),
        certificate: vec![byte],
        subject: format!("CN={byte}"),
        proved: true,
        expires_at: Timestamp(NOW.0 + DAY),
        created_at: NOW,
    }
}

fn issued(name: &str, byte: u8, expires_at: i64) -> IssuedRow {
    IssuedRow {
        device: device(name),
        fingerprint: print(byte),
        serial: format!("{byte:02x}").parse().unwrap(),
        expires_at: Timestamp(expires_at),
        created_at: NOW,
    }
}

#[tokio::test]
async fn authorities() {
    let (_folder, store) = fresh();
    assert_eq!(kind(store.create_authority(authority(1, 9)).await), ErrorKind::NotFound);
    with_product(&store).await;
    let start = store.authority_changes().unwrap();
    store.create_authority(authority(1, 9)).await.unwrap();
    assert_eq!(kind(store.create_authority(authority(1, 9)).await), ErrorKind::Conflict);
    store.create_authority(authority(2, 9)).await.unwrap();
    assert_eq!(store.authorities(&product()).unwrap(), [authority(1, 9), authority(2, 9)]);
    assert_eq!(store.authority(&product(), &print(2)).unwrap(), Some(authority(2, 9)));
    let (number, all) = store.all_authorities().unwrap();
    assert_eq!((number, all.len()), (start + 2, 2));

    assert!(store.is_authority(&product(), &print(9), NOW).unwrap());
    assert!(!store.is_authority(&product(), &print(9), Timestamp(NOW.0 + DAY + 1)).unwrap());
    assert_eq!(store.delete_authority(&product(), &print(1)).await, Ok(print(9)));
    assert!(store.is_authority(&product(), &print(9), NOW).unwrap());
    assert_eq!(kind(store.delete_authority(&product(), &print(1)).await), ErrorKind::NotFound);

    // They go with their product, and that is a change too.
    let before = store.authority_changes().unwrap();
    store.delete_product(&product()).await.unwrap();
    assert_eq!(store.all_authorities().unwrap(), (before + 1, Vec::new()));
}

#[tokio::test]
async fn a_product_has_so_many_authorities() {
    let (_folder, store) = fresh();
    with_product(&store).await;
    for byte in 0..AUTHORITIES_PER_PRODUCT {
        store.create_authority(authority(byte as u8, 1)).await.unwrap();
    }
    let error = store.create_authority(authority(200, 1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Throttled);
    assert_eq!(error.to_string(), "product A1B2C3D4E5 has 16 authorities, the most it may have: delete some first");
}

#[tokio::test]
async fn revoking_an_authority_is_refused_because_it_would_change_nothing() {
    let (_folder, store) = fresh();
    with_product(&store).await;
    store.create_authority(authority(1, 9)).await.unwrap();
    let error = store.revoke_certificate(CertificateName::Fingerprint(print(1)), NOW).await.unwrap_err();
    assert_eq!(error, StoreError::IsAuthority { fingerprint: print(1), product: "A1B2C3D4E5".into() });
    assert!(error.to_string().ends_with("which revoking would not end: delete the authority"), "{error}");
    store.delete_authority(&product(), &print(1)).await.unwrap();
    assert_eq!(store.revoke_certificate(CertificateName::Fingerprint(print(1)), NOW).await, Ok(print(1)));
}

#[tokio::test]
async fn issued_certificates_are_listed_and_revoked_by_either_name() {
    let (_folder, store) = fresh();
    with_product(&store).await;
    assert_eq!(kind(store.record_certificate(issued("a", 1, NOW.0 + DAY)).await), ErrorKind::NotFound);
    for name in ["a", "b"] {
        store.create_device(&device(name), None, NOW).await.unwrap();
    }
    store.record_certificate(issued("b", 1, NOW.0 + DAY)).await.unwrap();
    store.record_certificate(issued("a", 2, NOW.0 + DAY)).await.unwrap();
    store.record_certificate(issued("a", 3, NOW.0 + DAY)).await.unwrap();
    store.create_pin(&device("a"), print(3), NOW).await.unwrap();
    store.create_pin(&device("a"), print(4), NOW).await.unwrap();

    let (all, total) = store.certificates(&product(), None, 0, 10).await.unwrap();
    let shown: Vec<_> =
        all.iter().map(|row| (row.device.device.as_str(), row.fingerprint, row.issued.is_some(), row.pinned)).collect();
    let expected = [
        ("a", print(2), true, false),
        ("a", print(3), true, true),
        ("a", print(4), false, true),
        ("b", print(1), true, false),
    ];
    assert_eq!((shown.as_slice(), total), (&expected[..], 4));
    let (page, total) = store.certificates(&product(), Some(&device("a")), 1, 1).await.unwrap();
    assert_eq!((page[0].fingerprint, page.len(), total), (print(3), 1, 3));

    let by_serial = CertificateName::Serial("01".parse().unwrap());
    assert_eq!(store.revoke_certificate(by_serial, NOW).await, Ok(print(1)));
    let unknown = CertificateName::Serial("0f".parse().unwrap());
    assert_eq!(kind(store.revoke_certificate(unknown, NOW).await), ErrorKind::NotFound);
    for _ in 0..2 {
        assert_eq!(store.revoke_certificate(CertificateName::Fingerprint(print(7)), NOW).await, Ok(print(7)));
    }
    assert!(store.is_revoked(&print(1)).unwrap() && store.is_revoked(&print(7)).unwrap());
    assert!(!store.is_revoked(&print(2)).unwrap());
    let (of_b, _) = store.certificates(&product(), Some(&device("b")), 0, 10).await.unwrap();
    assert_eq!(of_b[0].revoked_at, Some(NOW));
}

#[tokio::test]
async fn a_device_made_again_does_not_inherit() {
    let (_folder, store) = fresh();
    with_product(&store).await;
    store.create_device(&device("a"), None, NOW).await.unwrap();
    store.record_certificate(issued("a", 1, NOW.0 + DAY)).await.unwrap();
    store.create_pin(&device("a"), print(2), NOW).await.unwrap();
    store.delete_device(&device("a"), NOW).await.unwrap();
    assert!(store.is_revoked(&print(1)).unwrap());
    assert_eq!(store.pin(&print(2)), Ok(None));
    store.create_device(&device("a"), None, NOW).await.unwrap();
    assert!(store.is_revoked(&print(1)).unwrap());
    assert!(!store.has_pins(&device("a")).unwrap());
}

#[tokio::test]
async fn revoked_and_expired_certificates_make_room_and_are_forgotten() {
    let (_folder, store) = fresh();
    with_product(&store).await;
    store.create_device(&device("a"), None, NOW).await.unwrap();
    for byte in 0..CERTIFICATES_PER_DEVICE {
        store.record_certificate(issued("a", byte as u8, NOW.0 + DAY)).await.unwrap();
    }
    assert_eq!(kind(store.record_certificate(issued("a", 200, NOW.0 + DAY)).await), ErrorKind::Throttled);
    store.revoke_certificate(CertificateName::Fingerprint(print(0)), NOW).await.unwrap();
    store.record_certificate(issued("a", 200, NOW.0 + DAY)).await.unwrap();

    let later = IssuedRow { created_at: Timestamp(NOW.0 + 2 * DAY), ..issued("a", 201, NOW.0 + 100 * DAY) };
    store.record_certificate(later).await.unwrap();
    assert_eq!(store.certificates(&product(), None, 0, 100).await.unwrap().1, 34);
    assert!(store.is_revoked(&print(0)).unwrap());
    let much_later = IssuedRow { created_at: Timestamp(NOW.0 + 40 * DAY), ..issued("a", 202, NOW.0 + 100 * DAY) };
    store.record_certificate(much_later).await.unwrap();
    assert_eq!(store.certificates(&product(), None, 0, 100).await.unwrap().1, 2);
    assert!(!store.is_revoked(&print(0)).unwrap());
}

#[tokio::test]
async fn pins() {
    let (_folder, store) = fresh();
    with_product(&store).await;
    assert_eq!(kind(store.create_pin(&device("a"), print(1), NOW).await), ErrorKind::NotFound);
    for name in ["a", "b"] {
        store.create_device(&device(name), None, NOW).await.unwrap();
    }
    for byte in 0..PINS_PER_DEVICE {
        store.create_pin(&device("a"), print(byte as u8), NOW).await.unwrap();
    }
    assert_eq!(kind(store.create_pin(&device("a"), print(99), NOW).await), ErrorKind::Throttled);
    // One certificate is one device.
    assert_eq!(kind(store.create_pin(&device("b"), print(1), NOW).await), ErrorKind::Conflict);
    assert_eq!(store.pin(&print(1)), Ok(Some(device("a"))));
    assert_eq!((store.has_pins(&device("a")), store.has_pins(&device("b"))), (Ok(true), Ok(false)));
    assert_eq!(kind(store.delete_pin(&device("b"), &print(1)).await), ErrorKind::NotFound);
    store.delete_pin(&device("a"), &print(1)).await.unwrap();
    assert_eq!(store.pin(&print(1)), Ok(None));
}
