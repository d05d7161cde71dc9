//! Registration: who gets a key, and who is told why not.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::time::Instant;
use weir_core::{DeviceId, ProductId};
use weir_store::{RegistrationCredential, RegistrationMode};

use super::{
    hub::{administrator, device},
    sessions::hub,
};
use crate::{
    Broker, RegisterError, Registered, SignedRegistration, SigningMethod,
    admin::registrations::{self, RegistrationChange, SecretChange},
    admin::{devices, products},
};

const SECRET: &str = "hzvf5LF9S0isvBhDSauWMaIk";

fn id(name: &str) -> DeviceId {
    format!("A1B2C3D4E5/{name}").parse().unwrap()
}

fn product() -> ProductId {
    "A1B2C3D4E5".parse().unwrap()
}

async fn allow(broker: &Broker, mode: RegistrationMode, limit: u32) {
    let (secret, limit) = (SecretChange::Given(SECRET.to_owned()), Some(limit));
    let change = RegistrationChange { mode: Some(mode), limit, secret, ..RegistrationChange::default() };
    registrations::change(broker, &product(), change).await.unwrap();
}

fn signed(device: DeviceId, secret: &str) -> SignedRegistration {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap().chain_update("second");
    SignedRegistration {
        device,
        credential: None,
        method: SigningMethod::HmacSha256,
        texts: vec!["first".to_owned(), "second".to_owned()],
        signature: mac.finalize().into_bytes().to_vec(),
    }
}

async fn ask(broker: &Broker, name: &str) -> Result<Registered, RegisterError> {
    broker.register(signed(id(name), SECRET)).await
}

#[tokio::test]
async fn a_stranger_learns_nothing() {
    let hub = hub().await;
    let broker = &hub.running.broker;
    let refused = async |request| assert_eq!(broker.register(request).await.unwrap_err(), RegisterError::Signature);
    refused(signed(id("a"), SECRET)).await;
    refused(signed("NOPRODUCT1/a".parse().unwrap(), SECRET)).await;
    allow(broker, RegistrationMode::Any, 1).await;
    refused(signed(id("a"), "another secret of a product")).await;
    refused(SignedRegistration { signature: Vec::new(), ..signed(id("a"), SECRET) }).await;
    refused(SignedRegistration { method: SigningMethod::HmacSha1, ..signed(id("a"), SECRET) }).await;
    refused(SignedRegistration { texts: vec!["third".to_owned()], ..signed(id("a"), SECRET) }).await;
    assert!(ask(broker, "a").await.is_ok());
    assert!(hub.running.drain(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn each_mode_lets_in_whom_it_says() {
    let hub = hub().await;
    let broker = &hub.running.broker;
    let psk = |name: &str| devices::get(broker, &id(name)).unwrap().psk;
    allow(broker, RegistrationMode::Off, 1).await;
    assert_eq!(ask(broker, "a").await.unwrap_err(), RegisterError::Off("A1B2C3D4E5".to_owned()));
    allow(broker, RegistrationMode::Existing, 1).await;
    let registered = ask(broker, "a").await.unwrap();
    assert_eq!((registered.device.psk, registered.credential), (psk("a"), RegistrationCredential::Key));
    assert_eq!(registered.secret, SECRET);
    assert_eq!(ask(broker, "new").await.unwrap_err(), RegisterError::NoDevice(id("new")));
    allow(broker, RegistrationMode::Any, 1).await;
    let made = ask(broker, "new").await.unwrap().device;
    assert_eq!(made.psk, psk("new"));
    // An answer that did not arrive is asked for again.
    assert_eq!(ask(broker, "new").await.unwrap().device, made);
    assert!(matches!(ask(broker, "another").await, Err(RegisterError::Store(_))));
    let certificate = Some(RegistrationCredential::Certificate);
    let wanted = broker.register(SignedRegistration { credential: certificate, ..signed(id("a"), SECRET) }).await;
    assert_eq!(wanted.unwrap().credential, RegistrationCredential::Certificate);
    devices::set_enabled(broker, &id("a"), false).await.unwrap();
    assert_eq!(ask(broker, "a").await.unwrap_err(), RegisterError::Disabled("device A1B2C3D4E5/a".to_owned()));
    products::set_enabled(broker, &product(), false).await.unwrap();
    assert_eq!(ask(broker, "a").await.unwrap_err(), RegisterError::Disabled("product A1B2C3D4E5".to_owned()));
    assert!(hub.running.drain(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn whoever_has_connected_cannot_register_until_it_is_reset() {
    let hub = hub().await;
    let broker = &hub.running.broker;
    allow(broker, RegistrationMode::Existing, 1).await;
    drop(hub.session(administrator()).await);
    let session = hub.session(device("a")).await;
    let activated = || devices::get(broker, &id("a")).unwrap().activated_at;
    super::hub::eventually("the first connect is kept", || activated().is_some()).await;
    assert_eq!(activated(), Some(hub.clock.now()));
    assert_eq!(ask(broker, "a").await.unwrap_err(), RegisterError::Activated(id("a")));
    assert!(ask(broker, "b").await.is_ok());
    devices::reset(broker, &id("a")).await.unwrap();
    assert!(ask(broker, "a").await.is_ok());
    drop(session);
    assert!(hub.running.drain(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn many_at_once_are_told_to_try_again() {
    let (storage, folder): (std::sync::Arc<dyn weir_log::storage::Storage>, _) = (
        std::sync::Arc::new(weir_log::storage::faulty::Faulty::new()),
        std::sync::Arc::new(tempfile::TempDir::new().unwrap()),
    );
    let limits = crate::Limits { registrations: crate::Rate::new(1, 2), ..crate::Limits::default() };
    let hub = super::hub::Hub::start_with(&storage, &folder, &super::hub::Targets::default(), limits).await;
    let broker = &hub.running.broker;
    allow(broker, RegistrationMode::Existing, 1).await;
    let start = Instant::now();
    for _ in 0..50 {
        // Strangers take nothing.
        let _refused = broker.register(signed(id("a"), "another secret of a product")).await;
    }
    assert!(ask(broker, "a").await.is_ok());
    assert!(ask(broker, "a").await.is_ok());
    let third = ask(broker, "a").await;
    // The machine may be so slow that a place is free again.
    assert!(start.elapsed() > Duration::from_secs(1) || third.unwrap_err() == RegisterError::TooFast);
    assert!(hub.running.drain(Duration::from_secs(5)).await);
}
