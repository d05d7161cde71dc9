use std::{fs, os::unix::fs::PermissionsExt};

use super::*;

const START: Timestamp = Timestamp(1_800_000_000_000);

fn later(days: u64) -> Timestamp {
    Timestamp(START.0 + i64::try_from(days * 86_400_000).unwrap())
}

fn names(names: &[&str]) -> Vec<HostName> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn open(&self) -> Result<Authority, AuthorityError> {
        Authority::open(&self.0.path().join("tls"), START)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join("tls").join(name)
    }
}

#[test]
fn an_authority_is_made_once_for_its_owner_alone() {
    let place = Place::new();
    let first = place.open().unwrap();
    first.server_certificate(&[], START).unwrap();
    let second = place.open().unwrap();
    assert_eq!(first.certificate().fingerprint(), second.certificate().fingerprint());
    assert!(first.certificate().is_authority());
    assert!(first.certificate().subject().starts_with("CN=Weir CA "), "{}", first.certificate().subject());
    for file in ["ca.pem", "ca.key", "server.pem", "server.key"] {
        assert_eq!(fs::metadata(place.path(file)).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
    }
    assert_eq!(fs::read_dir(place.path("")).unwrap().count(), 4);
    assert_ne!(first.certificate().subject(), Place::new().open().unwrap().certificate().subject());
}

#[test]
fn the_server_certificate_lasts_until_its_names_change_or_its_end_is_near() {
    let place = Place::new();
    let authority = place.open().unwrap();
    let shown = |names: &[HostName], now| {
        let certificate = authority.server_certificate(names, now).unwrap().certificate().clone();
        assert!(certificate.not_after() > now);
        certificate
    };
    let one = shown(&names(&["hub.example.org", "192.0.2.1"]), START);
    let mut found = one.host_names();
    found.sort();
    assert_eq!(found, ["127.0.0.1", "192.0.2.1", "::1", "hub.example.org", "localhost"]);
    let same = shown(&names(&["192.0.2.1", "HUB.example.org", "localhost"]), later(300));
    assert_eq!(same.fingerprint(), one.fingerprint());
    let renamed = shown(&names(&["other.example.org"]), later(300));
    assert_ne!(renamed.fingerprint(), one.fingerprint());
    assert_eq!(shown(&names(&["other.example.org"]), later(600)).fingerprint(), renamed.fingerprint());
    let renewed = shown(&names(&["other.example.org"]), later(650));
    assert_ne!(renewed.fingerprint(), renamed.fingerprint());

    // Near the end of the authority, nothing outlives it, and nothing is made again and again.
    let last = shown(&[], later(7_290));
    assert_eq!(last.not_after(), authority.certificate().not_after());
    assert_eq!(shown(&[], later(7_295)).fingerprint(), last.fingerprint());
}

#[test]
fn a_server_certificate_that_cannot_be_used_is_made_anew() {
    let place = Place::new();
    let authority = place.open().unwrap();
    let first = authority.server_certificate(&[], START).unwrap();
    let strange = Place::new();
    strange.open().unwrap().server_certificate(&[], START).unwrap();
    let damages: [&dyn Fn(); 3] = [
        &|| fs::write(place.path("server.pem"), "nothing").unwrap(),
        &|| fs::copy(strange.path("server.key"), place.path("server.key")).map(|_| ()).unwrap(),
        &|| {
            fs::copy(strange.path("server.key"), place.path("server.key")).unwrap();
            fs::copy(strange.path("server.pem"), place.path("server.pem")).unwrap();
        },
    ];
    for damage in damages {
        damage();
        let anew = authority.server_certificate(&[], START).unwrap();
        assert_ne!(anew.certificate().fingerprint(), first.certificate().fingerprint());
        assert_eq!(anew.certificate().issuer(), authority.certificate().subject());
    }
}

#[test]
fn a_lost_certificate_comes_back_from_its_key_and_a_lost_key_is_named() {
    let place = Place::new();
    let before = place.open().unwrap();
    let device = before.issue(&DeviceRequest::new("A1B2C3D4E5/dev".parse().unwrap()), START).unwrap();
    fs::remove_file(place.path("ca.pem")).unwrap();
    let after = place.open().unwrap();
    assert_eq!(after.certificate().subject(), before.certificate().subject());
    let device = Certificate::parse(device.certificate_pem.as_bytes()).unwrap();
    assert!(device.x509().verify(&after.certificate().x509().public_key().unwrap()).unwrap());

    fs::remove_file(place.path("ca.key")).unwrap();
    let error = place.open().unwrap_err();
    assert!(matches!(error, AuthorityError::KeyMissing { .. }), "{error:?}");
    assert!(error.to_string().contains("put it back"), "{error}");
}

#[test]
fn files_that_are_wrong_are_named_with_what_to_do() {
    let check = |damage: &dyn Fn(&Place), expected: &str| {
        let place = Place::new();
        place.open().unwrap();
        damage(&place);
        let error = place.open().unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("ca."), "{error}");
    };
    let exposed = |place: &Place| fs::set_permissions(place.path("ca.key"), fs::Permissions::from_mode(0o640)).unwrap();
    check(&exposed, "run chmod 600");
    check(&|place| fs::write(place.path("ca.pem"), "x").unwrap(), "cannot be used");
    check(&|place| fs::write(place.path("ca.key"), "x").unwrap(), "is not a private key in PEM");
    let strange = Place::new();
    strange.open().unwrap();
    let swapped = |place: &Place| assert!(fs::copy(strange.path("ca.key"), place.path("ca.key")).unwrap() > 0);
    check(&swapped, "do not belong together");
    let server = |place: &Place| {
        place.open().unwrap().server_certificate(&[], START).unwrap();
        fs::copy(place.path("server.key"), place.path("ca.key")).unwrap();
        fs::copy(place.path("server.pem"), place.path("ca.pem")).unwrap();
    };
    check(&server, "cannot be used");
    let place = Place::new();
    place.open().unwrap();
    let error = Authority::open(&place.path(""), later(30_000)).unwrap_err();
    assert!(error.to_string().contains("expired"), "{error}");
}

#[test]
fn a_device_gets_a_certificate_in_its_name() {
    let authority = Place::new().open().unwrap();
    for key in [KeyKind::EcdsaP256, KeyKind::Rsa2048] {
        let device: DeviceId = "A1B2C3D4E5/dev:1".parse().unwrap();
        let request = DeviceRequest { device, key, life: Some(Duration::from_secs(3_600)) };
        let made = authority.issue(&request, START).unwrap();
        let certificate = Certificate::parse(made.certificate_pem.as_bytes()).unwrap();
        assert_eq!(certificate.subject(), "CN=A1B2C3D4E5dev:1");
        assert_eq!(certificate.uris(), ["weir:device:A1B2C3D4E5/dev:1"]);
        assert_eq!(certificate.issuer(), authority.certificate().subject());
        assert_eq!((certificate.fingerprint(), certificate.serial()), (made.fingerprint, made.serial.clone()));
        assert_eq!((certificate.not_after(), certificate.is_authority()), (Timestamp(START.0 + 3_600_000), false));
        let key = PKey::private_key_from_pem(made.private_key_pem.as_bytes()).unwrap();
        assert!(certificate.x509().public_key().unwrap().public_eq(&key));
        let printed = format!("{made:?}");
        assert!(!printed.contains("PRIVATE"), "{printed}");
    }
}
