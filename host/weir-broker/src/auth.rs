//! Proving who a client is: the vendor's HMAC credentials, a device's token, a key; or a certificate or pre-shared key
//! that the transport has proved already.

use std::sync::Arc;

use weir_core::{
    CertificateIdentity, DeviceId, KeyName, Principal, Timestamp, Voucher,
    seams::{AuthError, Authenticator, Credentials},
};
use weir_log::Clock;
use weir_store::{Device, Role, Store, StoreError, TokenCheck};

use crate::SigningMethod;

/// Checks credentials against the store.
#[derive(Debug, Clone)]
pub struct StoreAuthenticator {
    store: Store,
    clock: Clock,
}

impl StoreAuthenticator {
    pub fn new(store: Store, clock: Clock) -> Self {
        Self { store, clock }
    }

    /// User name `PRODUCT/DEVICE`, a token as password, any client id.
    fn token(&self, device: DeviceId, password: &[u8]) -> Result<Principal, AuthError> {
        let known = self.device(&device)?;
        let token = std::str::from_utf8(password).map_err(|_| AuthError::BadCredentials)?;
        let check = self.store.check_token(&device, token, self.clock.now()).map_err(|_| AuthError::Unavailable)?;
        match check {
            TokenCheck::Valid => enabled(known),
            TokenCheck::Expired => Err(AuthError::Expired),
            TokenCheck::Unknown => Err(AuthError::BadCredentials),
        }
    }

    /// Vendor protocol §2.2: user name `PRODUCTdevice;appid;connid;expiry`, password `hex;method`.
    fn hmac(&self, credentials: &Credentials, username: &str, password: &[u8]) -> Result<Principal, AuthError> {
        let mut fields = username.split(';');
        let id = fields.next().unwrap_or_default();
        let (Some(_application), Some(_connection), Some(expiry), None) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err(AuthError::BadCredentials);
        };
        // The client id repeats the first field.
        if id != credentials.client_id {
            return Err(AuthError::BadCredentials);
        }
        let device = DeviceId::from_joined(id).ok_or(AuthError::BadCredentials)?;
        let known = self.device(&device)?;
        let password = std::str::from_utf8(password).map_err(|_| AuthError::BadCredentials)?;
        if !verify(username, password, &known.psk) {
            return Err(AuthError::BadCredentials);
        }
        // Clients send seconds, milliseconds or the largest integer they have; only a time gone by is refused.
        let expiry: u64 = expiry.parse().map_err(|_| AuthError::BadCredentials)?;
        if expiry < u64::try_from(self.clock.now().seconds()).unwrap_or(0) {
            return Err(AuthError::Expired);
        }
        enabled(known)
    }

    /// The transport has proved which device this is. A password is not asked for: the vendor's C SDK sends a user name
    /// without one. But a client that says it is somebody else is refused, not served as whom it did not mean to be.
    fn proved(&self, device: &DeviceId, credentials: &Credentials) -> Result<Principal, AuthError> {
        // Any other client id will do, as for a token.
        if DeviceId::from_joined(&credentials.client_id).is_some_and(|named| named != *device) {
            return Err(AuthError::BadCredentials);
        }
        if let Some(username) = credentials.username.as_deref().filter(|username| !username.is_empty()) {
            let named = match username.split_once(';') {
                Some((id, _)) => DeviceId::from_joined(id),
                None => username.parse().ok().or_else(|| DeviceId::from_joined(username)),
            };
            // A user name that names no device would be that of a key.
            if named.as_ref() != Some(device) {
                return Err(AuthError::BadCredentials);
            }
        }
        let known = self.device(device)?;
        if let Some(certificate) = credentials.peer.certificate() {
            // Some time may have passed since the handshake.
            let believed = is_believed(&self.store, certificate, self.clock.now());
            if !believed.map_err(|_| AuthError::Unavailable)? {
                return Err(AuthError::Withdrawn);
            }
        }
        enabled(known)
    }

    fn device(&self, device: &DeviceId) -> Result<Device, AuthError> {
        self.store.device(device).map_err(|_| AuthError::Unavailable)?.ok_or(AuthError::BadCredentials)
    }

    fn key(&self, name: &str, secret: &[u8]) -> Result<Principal, AuthError> {
        let key: KeyName = name.parse().map_err(|_| AuthError::BadCredentials)?;
        let secret = std::str::from_utf8(secret).map_err(|_| AuthError::BadCredentials)?;
        match self.store.check_key(&key, secret).map_err(|_| AuthError::Unavailable)? {
            Some(Role::Administrator) => Ok(Principal::Administrator(key)),
            Some(Role::Application(grants)) => Ok(Principal::Application { key, grants: Arc::new(grants) }),
            None => Err(AuthError::BadCredentials),
        }
    }
}

impl Authenticator for StoreAuthenticator {
    fn authenticate(&self, credentials: &Credentials) -> Result<Principal, AuthError> {
        if let Some(device) = credentials.peer.device() {
            return self.proved(device, credentials);
        }
        let (Some(username), Some(password)) = (&credentials.username, &credentials.password) else {
            return Err(AuthError::BadCredentials);
        };
        if username.contains(';') {
            self.hmac(credentials, username, password)
        } else if username.contains('/') {
            let device = username.parse().map_err(|_| AuthError::BadCredentials)?;
            self.token(device, password)
        } else {
            self.key(username, password)
        }
    }
}

/// Whether all that a certificate rests on is still there. Signatures and times were verified in the handshake.
pub(crate) fn is_believed(
    store: &Store,
    certificate: &CertificateIdentity,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let CertificateIdentity { device, fingerprint, voucher, anchor, between } = certificate;
    for revocable in [fingerprint].into_iter().chain(between) {
        if store.is_revoked(revocable)? {
            return Ok(false);
        }
    }
    let vouched = match (voucher, anchor) {
        (Voucher::Pin, _) => return Ok(store.pin(fingerprint)?.as_ref() == Some(device)),
        (Voucher::Hub, _) => true,
        (Voucher::Product(product), Some(anchor)) => store.is_authority(product, anchor, now)?,
        (Voucher::Product(_), None) => false,
    };
    // A device that has pins accepts nothing else; one that was pinned meanwhile is as good as before.
    Ok(vouched && (!store.has_pins(device)? || store.pin(fingerprint)?.as_ref() == Some(device)))
}

/// Said only after the proof, so that a stranger does not learn which devices exist.
pub(crate) fn enabled(device: Device) -> Result<Principal, AuthError> {
    if device.may_connect() {
        return Ok(Principal::Device(device.id));
    }
    // The product first: to enable the device would not help.
    Err(AuthError::Disabled(match device.product_enabled {
        false => format!("product {}", device.id.product),
        true => device.id.to_string(),
    }))
}

/// Whether `password`, `hex;method`, is the HMAC of `username` under `psk`.
fn verify(username: &str, password: &str, psk: &[u8]) -> bool {
    let Some((token, method)) = password.split_once(';') else { return false };
    let (Some(token), Some(method)) = (unhex(token), SigningMethod::named(method)) else { return false };
    method.verifies(psk, username, &token)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits?;
    if digits.len() % 2 != 0 {
        return None;
    }
    Some(digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect())
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::STANDARD};

    use weir_core::{Fingerprint, seams::PeerIdentity};
    use weir_store::{AuthorityRow, CertificateName, NewProduct};

    use super::*;

    #[tokio::test]
    async fn whom_the_transport_has_proved_needs_no_password() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let product = NewProduct { id: "A1B2C3D4E5".parse().ok(), ..NewProduct::default() };
        store.create_product(product, Timestamp(0)).await.unwrap();
        let device: DeviceId = "A1B2C3D4E5/dev".parse().unwrap();
        store.create_device(&device, None, Timestamp(0)).await.unwrap();
        let authenticator = StoreAuthenticator::new(store.clone(), Clock::system());
        let connect = |peer: PeerIdentity, client_id: &str, username: Option<&str>| {
            let username = username.map(str::to_owned);
            authenticator.authenticate(&Credentials { client_id: client_id.to_owned(), username, password: None, peer })
        };
        let psk = || PeerIdentity::Psk(device.clone());
        let certificate = |device: &DeviceId| PeerIdentity::Certificate(Arc::new(hubs(device)));

        let accepted = [
            ("A1B2C3D4E5dev", Some("A1B2C3D4E5dev;12010126;Ab3dE;1893456000")),
            ("A1B2C3D4E5dev", Some("A1B2C3D4E5dev")),
            ("A1B2C3D4E5dev", None),
            ("mosq-x", Some("A1B2C3D4E5/dev")),
            ("mosq-x", Some("")),
            ("", None),
        ];
        for (client_id, username) in accepted {
            for peer in [psk(), certificate(&device)] {
                let principal = connect(peer, client_id, username);
                assert_eq!(principal, Ok(Principal::Device(device.clone())), "{client_id} {username:?}");
            }
            assert_eq!(connect(PeerIdentity::None, client_id, username), Err(AuthError::BadCredentials));
        }
        let refused = [
            ("A1B2C3D4E5other", None),
            ("A1B2C3D4E5other", Some("A1B2C3D4E5/dev")),
            ("A1B2C3D4E5dev", Some("A1B2C3D4E5other;12010126;Ab3dE;1893456000")),
            ("x", Some("A1B2C3D4E5/other")),
            ("x", Some("admin")),
        ];
        for (client_id, username) in refused {
            let refusal = connect(psk(), client_id, username);
            assert_eq!(refusal, Err(AuthError::BadCredentials), "{client_id} {username:?}");
        }
        let unknown = certificate(&"A1B2C3D4E5/gone".parse().unwrap());
        assert_eq!(connect(unknown, "x", None), Err(AuthError::BadCredentials));
        store.set_device_enabled(&device, false).await.unwrap();
        assert_eq!(connect(psk(), "x", None), Err(AuthError::Disabled(device.to_string())));
        let product = "A1B2C3D4E5".parse().unwrap();
        store.set_product_enabled(&product, false).await.unwrap();
        assert_eq!(connect(psk(), "x", None), Err(AuthError::Disabled("product A1B2C3D4E5".to_owned())));
        store.set_device_enabled(&device, true).await.unwrap();
        assert_eq!(connect(psk(), "x", None), Err(AuthError::Disabled("product A1B2C3D4E5".to_owned())));
        store.set_product_enabled(&product, true).await.unwrap();
        assert_eq!(connect(psk(), "x", None), Ok(Principal::Device(device.clone())));
        store.close().await;
    }

    /// A certificate that the hub issued.
    fn hubs(device: &DeviceId) -> CertificateIdentity {
        let (fingerprint, between) = (Fingerprint::new([1; 32]), Box::default());
        CertificateIdentity { device: device.clone(), fingerprint, voucher: Voucher::Hub, anchor: None, between }
    }

    #[tokio::test]
    async fn a_certificate_is_believed_as_long_as_all_that_it_rests_on() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let product = NewProduct { id: "A1B2C3D4E5".parse().ok(), ..NewProduct::default() };
        let now = Timestamp(10);
        store.create_product(product, now).await.unwrap();
        let device: DeviceId = "A1B2C3D4E5/dev".parse().unwrap();
        store.create_device(&device, None, now).await.unwrap();
        let print = |byte| Fingerprint::new([byte; 32]);
        let check = |certificate: &CertificateIdentity, expected| {
            assert_eq!(is_believed(&store, certificate, now), Ok(expected), "{certificate:?}");
        };

        let of_hub = hubs(&device);
        let signed = CertificateIdentity {
            fingerprint: print(2),
            voucher: Voucher::Product(device.product.clone()),
            anchor: Some(print(9)),
            between: Box::new([print(3)]),
            ..hubs(&device)
        };
        let pinned = CertificateIdentity { fingerprint: print(4), voucher: Voucher::Pin, ..hubs(&device) };
        check(&of_hub, true);
        check(&signed, false);
        check(&pinned, false);

        let authority = |byte, expires_at| AuthorityRow {
            product: device.product.clone(),
            fingerprint: print(byte),
            anchor: print(9),
            certificate: Vec::new(),
            subject: String::new(),
            proved: true,
            expires_at: Timestamp(expires_at),
            created_at: now,
        };
        store.create_authority(authority(9, 9)).await.unwrap();
        check(&signed, false);
        store.create_authority(authority(10, 11)).await.unwrap();
        check(&signed, true);

        // Pins take the place of everything else.
        store.create_pin(&device, print(4), now).await.unwrap();
        check(&pinned, true);
        check(&of_hub, false);
        check(&signed, false);
        store.create_pin(&device, print(1), now).await.unwrap();
        check(&of_hub, true);
        store.delete_pin(&device, &print(1)).await.unwrap();
        store.delete_pin(&device, &print(4)).await.unwrap();
        check(&pinned, false);
        check(&signed, true);

        store.revoke_certificate(CertificateName::Fingerprint(print(3)), now).await.unwrap();
        check(&signed, false);
        store.revoke_certificate(CertificateName::Fingerprint(print(1)), now).await.unwrap();
        check(&of_hub, false);
        store.close().await;
    }

    /// The worked example of the vendor protocol §2.2.
    #[test]
    fn the_worked_example_verifies() {
        let psk = STANDARD.decode("AAECAwQFBgcICQoLDA0ODw==").unwrap();
        let username = "ABCDE12345dev_01;12010126;Ab3dE;1893456000";
        let sha256 = "a508a097ef3db96ab50ab65ae8b5b185da9e3488fd00f29766b1fc00222d10bd;hmacsha256";
        let sha1 = "9ea5e075c7fa8d0350fc9734a407882e69cac110;hmacsha1";
        assert!(verify(username, sha256, &psk));
        assert!(verify(username, sha1, &psk));
        assert!(!verify(&username.replace("dev_01", "dev_02"), sha256, &psk));
        assert!(!verify(username, &sha256.replace("hmacsha256", "hmacsha1"), &psk));
        assert!(!verify(username, "zz;hmacsha256", &psk));
        assert!(!verify(username, "", &psk));
    }
}
