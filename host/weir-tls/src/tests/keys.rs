//! Clients with pre-shared keys.

use super::hub::{Hub, KEY};
use crate::{AcceptError, AcceptorOptions, Peer};

/// What clients of each suite say to `openssl s_client`; the last two are all that the vendor's C SDK offers.
const SUITES: [&str; 12] = [
    "-tls1_2 -cipher PSK-AES128-GCM-SHA256",
    "-tls1_2 -cipher PSK-AES256-GCM-SHA384",
    "-tls1_2 -cipher PSK-AES128-CCM",
    "-tls1_2 -cipher PSK-AES128-CCM8:@SECLEVEL=0",
    "-tls1_2 -cipher PSK-AES128-CBC-SHA256",
    "-tls1_2 -cipher ECDHE-PSK-AES128-CBC-SHA256",
    "-tls1_2 -cipher ECDHE-PSK-CHACHA20-POLY1305",
    "-tls1_3 -ciphersuites TLS_AES_128_GCM_SHA256",
    "-tls1_3 -ciphersuites TLS_CHACHA20_POLY1305_SHA256",
    "", // Whatever it offers by itself: certificates and keys, 1.2 and 1.3.
    "-tls1_2 -cipher PSK-AES128-CBC-SHA",
    "-tls1_2 -cipher PSK-AES256-CBC-SHA",
];

fn hex(key: &[u8]) -> String {
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn client(suite: &str, identity: &str, key: &[u8]) -> String {
    format!("{suite} -psk {} -psk_identity {identity}", hex(key))
}

#[tokio::test]
async fn every_suite_proves_the_identity() {
    let mut hub = Hub::start().await;
    for suite in SUITES {
        let output = hub.s_client(&client(suite, "A1B2C3D4E5dev", &KEY)).await;
        assert_eq!(output.stdout, b"HELLO\n", "{suite}: {}", String::from_utf8_lossy(&output.stderr));
        let accepted = hub.next().await.unwrap();
        assert_eq!(accepted.peer, Peer::Psk { identity: "A1B2C3D4E5dev".into() }, "{suite}");
        if let Some((_, suite)) = suite.split_once("-cipher ") {
            let suite = suite.split(':').next().unwrap();
            assert_eq!(accepted.protection, format!("TLSv1.2 {suite}"));
        }
    }
}

#[tokio::test]
async fn a_stranger_cannot_tell_an_unknown_identity_from_a_wrong_key() {
    let mut hub = Hub::start().await;
    for suite in SUITES {
        let mut said = Vec::new();
        for (identity, key, known) in [("A1B2C3D4E5dev", *b"another key here", true), ("nobody", KEY, false)] {
            let output = hub.s_client(&client(suite, identity, &key)).await;
            assert!(output.stdout.is_empty(), "{suite}");
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            let alert = text.lines().find_map(|line| line.split_once("SSL alert number ").map(|(_, number)| number));
            said.push(alert.unwrap_or_else(|| panic!("{suite}: {text}")).to_owned());
            match hub.next().await.unwrap_err() {
                AcceptError::Psk { identity: shown, known: found } => {
                    assert_eq!((&*shown, found), (identity, known), "{suite}");
                }
                other => panic!("{suite}: {other}"),
            }
        }
        assert_eq!(said[0], said[1], "{suite}");
    }
}

#[tokio::test]
async fn suites_with_sha1_can_be_turned_off() {
    let mut hub = Hub::with(AcceptorOptions { sha1_psk_suites: false, ..AcceptorOptions::default() }).await;
    let sha1 = client("-tls1_2 -cipher PSK-AES128-CBC-SHA", "A1B2C3D4E5dev", &KEY);
    assert!(hub.s_client(&sha1).await.stdout.is_empty());
    let error = hub.next().await.unwrap_err();
    assert!(error.to_string().contains("no shared cipher"), "{error}");
    let sha256 = client("-tls1_2 -cipher PSK-AES128-CBC-SHA256", "A1B2C3D4E5dev", &KEY);
    assert_eq!(hub.s_client(&sha256).await.stdout, b"HELLO\n");
}
