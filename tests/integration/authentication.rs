//! Who may connect: the vendor's credentials, tokens that can be revoked, and nobody else.

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use rumqttc::ConnectReturnCode::{BadUserNamePassword, NotAuthorized};
use serde_json::json;
use sha1::Sha1;
use sha2::Sha256;

use crate::harness::{
    hub::{Hub, PRODUCT},
    mqtt::{Login, Mqtt},
};

/// Vendor protocol §2.2: lower-case hex of the HMAC of the user name, keyed with the decoded PSK.
fn token<M: Mac + KeyInit>(psk: &str, username: &str) -> String {
    let mut mac = <M as KeyInit>::new_from_slice(&STANDARD.decode(psk).unwrap()).unwrap();
    mac.update(username.as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn vendor_login(client_id: &str, expiry: &str, password: impl Fn(&str) -> String) -> Login {
    let username = format!("{client_id};12010126;Ab3dE;{expiry}");
    Login { client_id: client_id.to_owned(), password: password(&username), username }
}

#[test]
fn the_worked_example_of_the_vendors_protocol() {
    let (psk, username) = ("AAECAwQFBgcICQoLDA0ODw==", "ABCDE12345dev_01;12010126;Ab3dE;1893456000");
    let sha256 = "a508a097ef3db96ab50ab65ae8b5b185da9e3488fd00f29766b1fc00222d10bd";
    assert_eq!(token::<Hmac<Sha256>>(psk, username), sha256);
    assert_eq!(token::<Hmac<Sha1>>(psk, username), "9ea5e075c7fa8d0350fc9734a407882e69cac110");
}

#[test]
fn a_device_connects_with_the_vendors_credentials() {
    let hub = Hub::start();
    hub.create_product();
    let device = hub.post(&format!("/v1/products/{PRODUCT}/devices"), &json!({"name": "dev_01"}));
    let psk = device["psk"].as_str().unwrap();
    let sha256 = |username: &str| format!("{};hmacsha256", token::<Hmac<Sha256>>(psk, username));
    let sha1 = |username: &str| format!("{};hmacsha1", token::<Hmac<Sha1>>(psk, username));
    let id = format!("{PRODUCT}dev_01");
    let connect = |login: Login| Mqtt::connect(hub.mqtt_port(), &login);

    // Seconds, milliseconds, and the largest integer that an SDK has: all of them are sent by real ones.
    for expiry in ["4102444800", "4102444800000", "9223372036854775807"] {
        let mut client = connect(vendor_login(&id, expiry, sha256)).unwrap();
        client.publish(&format!("{PRODUCT}/dev_01/event"), "{}").unwrap();
        connect(vendor_login(&id, expiry, sha1)).unwrap();
    }
    let refused = |login| assert_eq!(connect(login).err(), Some(BadUserNamePassword));
    refused(vendor_login(&id, "1000000000", sha256));
    refused(vendor_login(&id, "4102444800", |username| sha1(&username.replace("Ab3dE", "other"))));
    refused(vendor_login(&format!("{PRODUCT}dev_02"), "4102444800", sha256));
    let mut another_client_id = vendor_login(&id, "4102444800", sha256);
    another_client_id.client_id = format!("{PRODUCT}other");
    refused(another_client_id);
    assert_eq!(hub.metric(r#"weir_refused_total{operation="connect",reason="unauthenticated"}"#), 4.0);
}

#[test]
fn a_token_is_good_until_it_is_revoked_and_a_disabled_device_stays_out() {
    let hub = Hub::start();
    hub.create_product();
    let login = hub.create_device("sensor");
    let device = format!("/v1/products/{PRODUCT}/devices/sensor");
    let mut client = Mqtt::connect(hub.mqtt_port(), &login).unwrap();
    client.publish(&format!("{PRODUCT}/sensor/event"), "{}").unwrap();
    drop(client);

    // Any client id will do.
    let other = Login { client_id: "whatever".to_owned(), ..login.clone() };
    drop(Mqtt::connect(hub.mqtt_port(), &other).unwrap());
    let wrong = Login { password: "wrong".to_owned(), ..login.clone() };
    assert_eq!(Mqtt::connect(hub.mqtt_port(), &wrong).err(), Some(BadUserNamePassword));

    assert!(hub.weir(&["disable", "device", PRODUCT, "sensor"]).status.success());
    assert_eq!(Mqtt::connect(hub.mqtt_port(), &login).err(), Some(NotAuthorized));
    assert!(hub.weir(&["enable", "device", PRODUCT, "sensor"]).status.success());
    drop(Mqtt::connect(hub.mqtt_port(), &login).unwrap());

    let described = hub.get(&device);
    assert_eq!(described["tokens"].as_array().unwrap().len(), 1);
    assert!(hub.weir(&["delete", "token", PRODUCT, "sensor"]).status.success());
    assert_eq!(Mqtt::connect(hub.mqtt_port(), &login).err(), Some(BadUserNamePassword));
}
