//! Signatures of components: Ed25519 over everything before it, in a last section of the component itself, so that a
//! component and its signature travel as one file.

use std::str::FromStr;

use base64::{Engine, engine::general_purpose::STANDARD};
use ring::{
    rand::SystemRandom,
    signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey},
};
use weir_core::plugin::PluginError;

use crate::PluginOptions;

const KEY: usize = 32;
const SIGNATURE: usize = 64;

/// A custom section (id 0) of 111 bytes by the name `weir-signature`.
const HEAD: [u8; 17] = *b"\x00\x6f\x0eweir-signature";
const SECTION: usize = HEAD.len() + KEY + SIGNATURE;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("write a public key as {KEY} bytes in base64, as `weir plugin keygen` prints it")]
    Public,
    #[error("this is not a key that `weir plugin keygen` made")]
    Private,
    #[error("write NAME:KEY, with the key as `weir plugin keygen` prints it")]
    Trusted,
    #[error("no key can be made: the system has no random numbers")]
    Random,
}

/// Whose signatures count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey([u8; KEY]);

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let bytes = STANDARD.decode(text.trim()).map_err(|_| KeyError::Public)?;
        bytes.try_into().map(Self).map_err(|_| KeyError::Public)
    }
}

impl std::fmt::Display for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

/// A public key with the name that an operator gave it: `NAME:KEY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedKey {
    pub name: String,
    pub key: PublicKey,
}

impl FromStr for TrustedKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let (name, key) = text.split_once(':').filter(|(name, _)| !name.is_empty()).ok_or(KeyError::Trusted)?;
        Ok(Self { name: name.to_owned(), key: key.parse()? })
    }
}

/// A key to sign with.
pub struct SigningKey {
    document: Vec<u8>,
    pair: Ed25519KeyPair,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey(***)")
    }
}

impl SigningKey {
    pub fn generate() -> Result<Self, KeyError> {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| KeyError::Random)?;
        Self::read(&STANDARD.encode(document.as_ref()))
    }

    /// What [`Self::text`] gave.
    pub fn read(text: &str) -> Result<Self, KeyError> {
        let document = STANDARD.decode(text.trim()).map_err(|_| KeyError::Private)?;
        let pair = Ed25519KeyPair::from_pkcs8(&document).map_err(|_| KeyError::Private)?;
        Ok(Self { document, pair })
    }

    /// The secret, to be kept in a file.
    pub fn text(&self) -> String {
        STANDARD.encode(&self.document)
    }

    pub fn public(&self) -> PublicKey {
        let mut key = [0; KEY];
        key.iter_mut().zip(self.pair.public_key().as_ref()).for_each(|(to, from)| *to = *from);
        PublicKey(key)
    }

    /// The component with this key's signature, in place of any other.
    pub fn sign(&self, component: &[u8]) -> Vec<u8> {
        let bare = split(component).map_or(component, |(bare, ..)| bare);
        let mut signed = bare.to_vec();
        signed.extend_from_slice(&HEAD);
        signed.extend_from_slice(&self.public().0);
        signed.extend_from_slice(self.pair.sign(bare).as_ref());
        signed
    }
}

/// What was signed, by which key, and the signature.
fn split(component: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (bare, section) = component.split_at_checked(component.len().checked_sub(SECTION)?)?;
    let (key, signature) = section.strip_prefix(&HEAD)?.split_at_checked(KEY)?;
    Some((bare, key, signature))
}

/// The name of the key that signed it, if it is trusted. Without it the component may still be taken, with a warning.
pub(crate) fn check(
    component: &[u8],
    options: &PluginOptions,
    warnings: &mut Vec<String>,
) -> Result<Option<String>, PluginError> {
    let refused = |reason: &str| match options.require_signature {
        true => Err(PluginError::Signature(format!(
            "{reason}; plugins.require_signature is on: sign it by `weir plugin sign` with a key of plugins.trusted_keys"
        ))),
        false => Ok(reason.to_owned()),
    };
    let Some((bare, key, signature)) = split(component) else {
        warnings.push(refused("the component is not signed")?);
        return Ok(None);
    };
    if UnparsedPublicKey::new(&ED25519, key).verify(bare, signature).is_err() {
        let reason = "the signature does not fit the component: it was changed after it was signed";
        return Err(PluginError::Signature(reason.to_owned()));
    }
    match options.trusted_keys.iter().find(|trusted| trusted.key.0 == key) {
        Some(trusted) => Ok(Some(trusted.name.clone())),
        None => {
            warnings.push(refused("the component is signed by a key that this hub does not know")?);
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(trusted: &[&SigningKey], require_signature: bool) -> PluginOptions {
        let trusted = trusted.iter().enumerate();
        let trusted_keys = trusted.map(|(index, key)| TrustedKey { name: format!("key{index}"), key: key.public() });
        PluginOptions { trusted_keys: trusted_keys.collect(), require_signature, ..PluginOptions::new("/nowhere") }
    }

    #[test]
    fn signatures() {
        let (one, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let component = b"\0asm\x0d\0\x01\0rest";
        let signed = one.sign(component);
        let check = |bytes: &[u8], options: &PluginOptions| {
            let mut warnings = Vec::new();
            check(bytes, options, &mut warnings).map(|name| (name, warnings.len()))
        };
        let (known, strict) = (options(&[&one], false), options(&[&one], true));
        assert_eq!(check(&signed, &strict), Ok((Some("key0".to_owned()), 0)));
        assert_eq!(check(component, &known), Ok((None, 1)));
        assert_eq!(check(&other.sign(component), &known), Ok((None, 1)));
        assert!(matches!(check(component, &strict), Err(PluginError::Signature(_))));
        assert!(matches!(check(&other.sign(component), &strict), Err(PluginError::Signature(_))));
        assert_eq!(check(&one.sign(&other.sign(component)), &strict), Ok((Some("key0".to_owned()), 0)));
        for place in [8, signed.len() - 90, signed.len() - 1] {
            let mut changed = signed.clone();
            changed[place] ^= 1;
            assert!(matches!(check(&changed, &known), Err(PluginError::Signature(_))), "{place}");
        }
    }

    #[test]
    fn keys_are_text() {
        let key = SigningKey::generate().unwrap();
        let again = SigningKey::read(&format!("{}\n", key.text())).unwrap();
        assert_eq!(again.public(), key.public());
        let trusted: TrustedKey = format!("ops:{}", key.public()).parse().unwrap();
        assert_eq!((trusted.name.as_str(), trusted.key), ("ops", key.public()));
        assert_eq!(":x".parse::<TrustedKey>(), Err(KeyError::Trusted));
        assert_eq!("a:x".parse::<TrustedKey>(), Err(KeyError::Public));
        assert!(matches!(SigningKey::read("x"), Err(KeyError::Private)));
    }
}
