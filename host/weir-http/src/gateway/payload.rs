//! What a registered device gets, encrypted with its product's secret (vendor protocol §4): AES-128-CBC, the first 16 bytes
//! of the secret as key, sixteen ASCII zeros as initialisation vector, and zero bytes up to a whole block.
//!
//! That hides the key from who listens, and nothing more: whoever has the secret of one device has that of all. Devices
//! that can should ask over TLS.

use aes::Aes128;
use base64::{Engine, engine::general_purpose::STANDARD};
use cbc::{
    Encryptor,
    cipher::{BlockModeEncrypt, KeyIvInit},
};
use serde::Serialize;
use weir_broker::Registered;
use weir_core::ErrorKind;

use crate::error::ApiError;

const BLOCK: usize = 16;
const VECTOR: [u8; BLOCK] = [b'0'; BLOCK];

/// What is encrypted.
#[derive(Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub(super) enum Credentials {
    Key { encryption_type: u8, psk: String },
    Certificate { encryption_type: u8, client_cert: String, client_key: String },
}

/// Encrypted, as base64, and its length before.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Payload {
    pub(super) length: usize,
    pub(super) text: String,
}

impl Credentials {
    pub(super) fn key(registered: &Registered) -> Self {
        Self::Key { encryption_type: 2, psk: STANDARD.encode(&registered.device.psk) }
    }

    /// The private key is empty where the device has it already.
    pub(super) fn certificate(certificate: String, private_key: String) -> Self {
        Self::Certificate { encryption_type: 1, client_cert: certificate, client_key: private_key }
    }

    pub(super) fn encrypt(&self, secret: &str) -> Result<Payload, ApiError> {
        let failed = |reason: String| ApiError::new(ErrorKind::Internal, format!("the answer was not made: {reason}"));
        let mut bytes = serde_json::to_vec(self).map_err(|error| failed(error.to_string()))?;
        let length = bytes.len();
        bytes.resize(length.next_multiple_of(BLOCK), 0);
        let key = secret.as_bytes().get(..BLOCK).ok_or_else(|| failed("the secret is too short".to_owned()))?;
        let mut cipher =
            Encryptor::<Aes128>::new_from_slices(key, &VECTOR).map_err(|error| failed(error.to_string()))?;
        for block in bytes.as_chunks_mut::<BLOCK>().0 {
            cipher.encrypt_block(block.into());
        }
        Ok(Payload { length, text: STANDARD.encode(bytes) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_that_of_the_vendor() {
        // The second by `openssl enc -aes-128-cbc -K $(printf hzvf5LF9S0isvBhD | xxd -p) -iv 303…30 -nopad`.
        let key = Credentials::Key { encryption_type: 2, psk: "AAECAwQFBgcICQoLDA0ODw==".to_owned() };
        let plain = r#"{"encryptionType":2,"psk":"AAECAwQFBgcICQoLDA0ODw=="}"#;
        assert_eq!(serde_json::to_string(&key).unwrap(), plain);
        let payload = key.encrypt("hzvf5LF9S0isvBhDSauWMaIk").unwrap();
        assert_eq!(payload, Payload { length: 53, text: EXPECTED.to_owned() });
        let certificate = Credentials::certificate("c".to_owned(), "k".to_owned());
        let plain = r#"{"encryptionType":1,"clientCert":"c","clientKey":"k"}"#;
        assert_eq!(serde_json::to_string(&certificate).unwrap(), plain);
    }

    const EXPECTED: &str = "s6FB3a1BA/YYbcmSE12XpVGKB464kWlzk2e4J3nqvoZkV2EjqQJRuJ6g1jLqqsL70ZE2G7WODfU2Jesy0bgMGw==";
}
