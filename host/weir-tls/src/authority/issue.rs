//! Making keys and certificates. All are of X.509 version 3.

use std::{collections::BTreeSet, time::Duration};

use openssl::{
    asn1::{Asn1Integer, Asn1Time},
    bn::BigNum,
    ec::{EcGroup, EcKey},
    error::ErrorStack,
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, Private},
    rand,
    rsa::Rsa,
    sha,
    x509::{
        X509, X509Builder, X509Name, X509NameRef,
        extension::{
            AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName,
            SubjectKeyIdentifier,
        },
    },
};
use weir_core::Timestamp;

use super::{BACKDATED, HostName, KeyKind};

pub(super) struct Contents<'a> {
    pub(super) common_name: &'a str,
    pub(super) purpose: Purpose<'a>,
    pub(super) not_after: Timestamp,
}

pub(super) enum Purpose<'a> {
    Server(&'a BTreeSet<HostName>),
    Device { uri: &'a str },
}

pub(crate) fn new_key(kind: KeyKind) -> Result<PKey<Private>, ErrorStack> {
    match kind {
        KeyKind::EcdsaP256 => {
            let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
            PKey::from_ec_key(EcKey::generate(&group)?)
        }
        KeyKind::Rsa2048 => PKey::from_rsa(Rsa::generate(2048)?),
    }
}

/// The certificate of an authority. Its name has four bytes of its key's hash, so that those of two hubs differ.
pub(super) fn self_signed(key: &PKey<Private>, now: Timestamp, life: Duration) -> Result<X509, ErrorStack> {
    let hash = sha::sha256(&key.public_key_to_der()?);
    let suffix: String = hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let name = name(&format!("Weir CA {suffix}"))?;
    let life = i64::try_from(life.as_millis()).unwrap_or(i64::MAX);
    let mut builder = start(key, &name, &name, now, Timestamp(now.0.saturating_add(life)))?;
    builder.append_extension(BasicConstraints::new().critical().ca().pathlen(0).build()?)?;
    builder.append_extension(KeyUsage::new().critical().key_cert_sign().crl_sign().build()?)?;
    let identifier = SubjectKeyIdentifier::new().build(&builder.x509v3_context(None, None))?;
    builder.append_extension(identifier)?;
    builder.sign(key, MessageDigest::sha256())?;
    Ok(builder.build())
}

/// A certificate for `key`, signed by `issuer`.
pub(super) fn signed(
    key: &PKey<Private>,
    contents: &Contents<'_>,
    now: Timestamp,
    issuer: &X509,
    issuer_key: &PKey<Private>,
) -> Result<X509, ErrorStack> {
    let subject = name(contents.common_name)?;
    let mut builder = start(key, &subject, issuer.subject_name(), now, contents.not_after)?;
    let (mut usage, mut names) = (ExtendedKeyUsage::new(), SubjectAlternativeName::new());
    match contents.purpose {
        Purpose::Server(hosts) => {
            usage.server_auth();
            for host in hosts {
                match host {
                    HostName::Dns(name) => names.dns(name),
                    HostName::Ip(ip) => names.ip(&ip.to_string()),
                };
            }
        }
        Purpose::Device { uri } => {
            usage.client_auth();
            names.uri(uri);
        }
    }
    builder.append_extension(BasicConstraints::new().critical().build()?)?;
    builder.append_extension(KeyUsage::new().critical().digital_signature().build()?)?;
    builder.append_extension(usage.build()?)?;
    let context = builder.x509v3_context(Some(issuer), None);
    let extensions = [
        names.build(&context)?,
        SubjectKeyIdentifier::new().build(&context)?,
        AuthorityKeyIdentifier::new().keyid(true).build(&context)?,
    ];
    for extension in extensions {
        builder.append_extension(extension)?;
    }
    builder.sign(issuer_key, MessageDigest::sha256())?;
    Ok(builder.build())
}

fn start(
    key: &PKey<Private>,
    subject: &X509NameRef,
    issuer: &X509NameRef,
    now: Timestamp,
    not_after: Timestamp,
) -> Result<X509Builder, ErrorStack> {
    let mut builder = X509::builder()?;
    builder.set_version(2)?; // Counted from 0.
    builder.set_serial_number(&*serial()?)?;
    builder.set_subject_name(subject)?;
    builder.set_issuer_name(issuer)?;
    builder.set_pubkey(key)?;
    let backdated = i64::try_from(BACKDATED.as_secs()).unwrap_or_default();
    builder.set_not_before(&*Asn1Time::from_unix(now.seconds() - backdated)?)?;
    builder.set_not_after(&*Asn1Time::from_unix(not_after.seconds())?)?;
    Ok(builder)
}

/// 126 random bits below a set one: positive, and of the same length in every certificate.
fn serial() -> Result<Asn1Integer, ErrorStack> {
    let mut bytes = [0; 16];
    rand::rand_bytes(&mut bytes)?;
    let [first, ..] = &mut bytes;
    *first = *first & 0x7f | 0x40;
    BigNum::from_slice(&bytes)?.to_asn1_integer()
}

fn name(common_name: &str) -> Result<X509Name, ErrorStack> {
    let mut builder = X509Name::builder()?;
    builder.append_entry_by_nid(Nid::COMMONNAME, common_name)?;
    Ok(builder.build())
}
