//! Proving who a client is: the vendor's HMAC credentials, a device's token, a key; or a certificate or pre-shared key
//! that the transport has proved already.

use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;
use weir_core::{
    DeviceId, KeyName, Principal,
    seams::{AuthError, Authenticator, Credentials},
};
use weir_log::Clock;
use weir_store::{Device, Role, Store, TokenCheck};

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
        enabled(self.device(device)?)
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

/// Said only after the proof, so that a stranger does not learn which devices exist.
fn enabled(device: Device) -> Result<Principal, AuthError> {
    if device.may_connect() {
        return Ok(Principal::Device(device.id));
    }
    // The product first: to enable the device would not help.
    Err(AuthError::Disabled(match device.product_enabled {
        false => format!("product {}", device.id.product),
        true => device.id.to_string(),
    }))
}

/// Whether `password`, `hex;method`, is the HMAC of `username` under `psk`. Compares in constant time.
fn verify(username: &str, password: &str, psk: &[u8]) -> bool {
    let Some((token, method)) = password.split_once(';') else { return false };
    let Some(token) = unhex(token) else { return false };
    match method {
        "hmacsha256" => {
            Hmac::<Sha256>::new_from_slice(psk).is_ok_and(|mac| mac.chain_update(username).verify_slice(&token).is_ok())
        }
        "hmacsha1" => {
            Hmac::<Sha1>::new_from_slice(psk).is_ok_and(|mac| mac.chain_update(username).verify_slice(&token).is_ok())
        }
        _ => false,
    }
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

    use weir_core::{Timestamp, seams::PeerIdentity};
    use weir_store::NewProduct;

    use super::*;

    #[tokio::test]
    async fn whom_the_transport_has_proved_needs_no_password() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let product = NewProduct { id: "A1B2C3D4E5".parse().ok(), name: String::new(), schema: Vec::new() };
        store.create_product(product, Timestamp(0)).await.unwrap();
        let device: DeviceId = "A1B2C3D4E5/dev".parse().unwrap();
        store.create_device(&device, None, Timestamp(0)).await.unwrap();
        let authenticator = StoreAuthenticator::new(store.clone(), Clock::system());
        let connect = |peer: PeerIdentity, client_id: &str, username: Option<&str>| {
            let username = username.map(str::to_owned);
            authenticator.authenticate(&Credentials { client_id: client_id.to_owned(), username, password: None, peer })
        };
        let psk = || PeerIdentity::Psk(device.clone());

        let accepted = [
            ("A1B2C3D4E5dev", Some("A1B2C3D4E5dev;12010126;Ab3dE;1893456000")),
            ("A1B2C3D4E5dev", Some("A1B2C3D4E5dev")),
            ("A1B2C3D4E5dev", None),
            ("mosq-x", Some("A1B2C3D4E5/dev")),
            ("mosq-x", Some("")),
            ("", None),
        ];
        for (client_id, username) in accepted {
            for peer in [psk(), PeerIdentity::Certificate(device.clone())] {
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
        let unknown = PeerIdentity::Certificate("A1B2C3D4E5/gone".parse().unwrap());
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
