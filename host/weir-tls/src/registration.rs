//! Registering an authority of a product: what is checked before the hub believes what it signs.
//!
//! Whoever registers proves to have the authority's key, by signing a certificate whose common name is a code that the
//! hub gives. The code need not be secret, only of this hub and this product alone: so it is computed, not kept. An
//! administrator may do without, and then answers for whose authority it is.

use openssl::{
    nid::Nid,
    pkey::Id,
    sha::Sha256,
    x509::{X509, X509KeyUsage},
};
use weir_core::{Classify, ErrorKind, ProductId, Timestamp};

use crate::{Certificate, CertificateError};

/// Hex digits of a registration code.
const CODE_DIGITS: usize = 40;

/// Bits of an RSA key that a handshake takes, as the library that verifies has it.
const RSA_BITS: std::ops::RangeInclusive<u32> = 2_048..=8_192;

/// Why whoever registers an authority may do so.
#[derive(Debug, Clone, Copy)]
pub enum RegistrationProof<'a> {
    /// A certificate that the authority signed, in PEM or DER, with the code as its common name.
    Signed(&'a [u8]),
    /// An administrator says so.
    Trusted,
    None,
}

#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    #[error(
        "the authority's certificate is of X.509 version {version}, which cannot be used: make one of version 3 with the \
         same key and name, as with: printf 'basicConstraints=critical,CA:TRUE\\nkeyUsage=critical,keyCertSign\\n' > \
         ca.ext; openssl x509 -in ca.pem -signkey ca.key -days 3650 -extfile ca.ext -out ca-v3.pem"
    )]
    Version { version: i32 },
    #[error(transparent)]
    Certificate(CertificateError),
    #[error("the authority {subject} may not sign certificates: its keyUsage lacks keyCertSign")]
    MayNotSign { subject: String },
    #[error("the authority {subject} has expired: register its renewed certificate")]
    Expired { subject: String },
    #[error(
        "the key of the authority {subject} cannot be used: it must be RSA of 2048 to 8192 bits, P-256, P-384 or Ed25519"
    )]
    Key { subject: String },
    #[error("this is the hub's own authority, which needs no registration")]
    Hubs,
    #[error(
        "prove that you have the authority's key: sign a certificate whose common name is {code}, as with: openssl req \
         -new -newkey rsa:2048 -nodes -keyout proof.key -subj /CN={code} -out proof.csr; openssl x509 -req -in proof.csr \
         -CA ca.pem -CAkey ca.key -CAcreateserial -days 1 -out proof.pem; and send proof.pem along (--proof proof.pem). \
         Or answer for the authority yourself (--trusted)"
    )]
    ProofMissing { code: String },
    #[error("the proof is not a certificate in PEM or DER")]
    ProofUnreadable,
    #[error("the common name of the proof is {found:?}, but the code of this hub and product is {code}")]
    ProofOfAnother { found: String, code: String },
    #[error("the authority {subject} did not sign the proof")]
    ProofNotSigned { subject: String },
}

impl Classify for RegistrationError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}

/// What the common name of a proof must be. `hub` is the certificate of the hub's authority.
pub fn registration_code(hub: &Certificate, product: &ProductId) -> String {
    let mut hash = Sha256::new();
    hash.update(b"weir registration code");
    hash.update(hub.fingerprint().as_bytes());
    hash.update(product.as_str().as_bytes());
    // A common name has room for 64 characters.
    hash.finish().iter().map(|byte| format!("{byte:02x}")).collect::<String>().chars().take(CODE_DIGITS).collect()
}

/// Reads the authority's certificate, in PEM or DER, if the product may register it.
pub fn check_registration(
    hub: &Certificate,
    product: &ProductId,
    certificate: &[u8],
    proof: RegistrationProof<'_>,
    now: Timestamp,
) -> Result<Certificate, RegistrationError> {
    let authority = Certificate::parse(certificate).map_err(|error| match error {
        CertificateError::Version { version } => RegistrationError::Version { version },
        other => RegistrationError::Certificate(other),
    })?;
    let subject = || authority.subject();
    if !authority.is_authority() {
        return Err(RegistrationError::Certificate(CertificateError::NotAnAuthority { subject: subject() }));
    }
    // Without the extension every use is allowed (RFC 5280 §4.2.1.3), and `openssl req -x509` leaves it out.
    if authority.x509().key_usage().is_some_and(|usage| !usage.contains(X509KeyUsage::KEY_CERT_SIGN)) {
        return Err(RegistrationError::MayNotSign { subject: subject() });
    }
    if authority.not_after() <= now {
        return Err(RegistrationError::Expired { subject: subject() });
    }
    if !has_usable_key(&authority) {
        return Err(RegistrationError::Key { subject: subject() });
    }
    let anchor = |certificate: &Certificate| certificate.anchor().map_err(RegistrationError::Certificate);
    if anchor(&authority)? == anchor(hub)? {
        return Err(RegistrationError::Hubs);
    }
    let code = registration_code(hub, product);
    match proof {
        RegistrationProof::Trusted => {}
        RegistrationProof::None => return Err(RegistrationError::ProofMissing { code }),
        RegistrationProof::Signed(proof) => check_proof(&authority, proof, code)?,
    }
    Ok(authority)
}

/// Any version will do: nothing is believed of it but that the key signed it.
fn check_proof(authority: &Certificate, proof: &[u8], code: String) -> Result<(), RegistrationError> {
    let proof = X509::from_pem(proof).or_else(|_| X509::from_der(proof));
    let proof = proof.map_err(|_| RegistrationError::ProofUnreadable)?;
    let mut names = proof.subject_name().entries_by_nid(Nid::COMMONNAME);
    let found = names.next().and_then(|name| name.data().to_string().ok()).unwrap_or_default();
    if found != code {
        return Err(RegistrationError::ProofOfAnother { found: found.chars().take(64).collect(), code });
    }
    let signed = authority.x509().public_key().and_then(|key| proof.verify(&key));
    if signed.unwrap_or(false) {
        Ok(())
    } else {
        Err(RegistrationError::ProofNotSigned { subject: authority.subject() })
    }
}

fn has_usable_key(authority: &Certificate) -> bool {
    let Ok(key) = authority.x509().public_key() else { return false };
    match key.id() {
        Id::RSA => RSA_BITS.contains(&key.bits()),
        Id::EC => key
            .ec_key()
            .is_ok_and(|key| matches!(key.group().curve_name(), Some(Nid::X9_62_PRIME256V1 | Nid::SECP384R1))),
        Id::ED25519 => true,
        _ => false,
    }
}
