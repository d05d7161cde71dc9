//! One certificate, read from a file or a request: what people are shown, and what is refused before it is kept.

use std::fmt;

use openssl::{
    asn1::{Asn1Time, Asn1TimeRef},
    error::ErrorStack,
    nid::Nid,
    x509::{X509, X509NameRef},
};
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage};
use weir_core::{Classify, ErrorKind, Fingerprint, Serial, Timestamp};

use crate::x509::anchor_of;

/// What to do about a certificate of an old version.
pub(crate) const MAKE_VERSION_3: &str = "make one of version 3, as with: echo extendedKeyUsage=clientAuth > v3.ext; \
     openssl x509 -req -in device.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 365 -extfile v3.ext -out device.pem";

/// A certificate of version 3 that the hub may be told to trust.
#[derive(Clone)]
pub struct Certificate {
    der: CertificateDer<'static>,
    x509: X509,
    not_before: Timestamp,
    not_after: Timestamp,
    authority: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("this is not a certificate in PEM or DER")]
    Unreadable(#[source] ErrorStack),
    #[error("the certificate is of X.509 version {version}, which cannot be used: {MAKE_VERSION_3}")]
    Version { version: i32 },
    #[error("the certificate cannot be used: {0}")]
    Unusable(webpki::Error),
    #[error(
        "the certificate of {subject} is not one of an authority: it needs the extension basicConstraints=CA:TRUE, \
         as openssl req -x509 makes it"
    )]
    NotAnAuthority { subject: String },
    #[error("the private key cannot be read; it must be PEM, without a passphrase")]
    Key(#[source] rustls_pki_types::pem::Error),
    #[error("certificate and private key do not belong together, or their kind cannot be used: {0}")]
    Pair(rustls::Error),
}

impl Classify for CertificateError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}

impl Certificate {
    /// Reads PEM, of which the first certificate counts, or DER.
    pub fn parse(bytes: &[u8]) -> Result<Self, CertificateError> {
        let x509 = if bytes.trim_ascii_start().starts_with(b"-----") || bytes.windows(11).any(|w| w == b"-----BEGIN ") {
            X509::from_pem(bytes)
        } else {
            X509::from_der(bytes)
        };
        Self::from_x509(x509.map_err(CertificateError::Unreadable)?)
    }

    pub(crate) fn from_x509(x509: X509) -> Result<Self, CertificateError> {
        let version = x509.version() + 1;
        if version != 3 {
            return Err(CertificateError::Version { version });
        }
        let der = CertificateDer::from(x509.to_der().map_err(CertificateError::Unreadable)?);
        let not_before = timestamp(x509.not_before()).map_err(CertificateError::Unreadable)?;
        let not_after = timestamp(x509.not_after()).map_err(CertificateError::Unreadable)?;
        let authority = is_authority(&der, not_before).map_err(CertificateError::Unusable)?;
        Ok(Self { der, x509, not_before, not_after, authority })
    }

    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    pub fn fingerprint(&self) -> Fingerprint {
        fingerprint_of(&self.der)
    }

    /// The hash of its name and key. Certificates of one authority that was renewed with the same key share it.
    pub fn anchor(&self) -> Result<Fingerprint, CertificateError> {
        let anchor = webpki::anchor_from_trusted_cert(&self.der).map_err(CertificateError::Unusable)?;
        Ok(anchor_of(&anchor))
    }

    pub fn serial(&self) -> Serial {
        Serial::new(&self.x509.serial_number().to_bn().map(|number| number.to_vec()).unwrap_or_default())
    }

    /// As `CN=…, O=…`, for people.
    pub fn subject(&self) -> String {
        describe(self.x509.subject_name())
    }

    pub fn issuer(&self) -> String {
        describe(self.x509.issuer_name())
    }

    pub fn common_name(&self) -> Option<String> {
        let mut names = self.x509.subject_name().entries_by_nid(Nid::COMMONNAME);
        names.next().and_then(|name| name.data().to_string().ok())
    }

    /// DNS names and IP addresses.
    pub fn host_names(&self) -> Vec<String> {
        let names = self.x509.subject_alt_names().into_iter().flatten();
        names
            .filter_map(|name| match (name.dnsname(), name.ipaddress()) {
                (Some(dns), _) => Some(dns.to_ascii_lowercase()),
                (None, Some(ip)) => match (<[u8; 4]>::try_from(ip), <[u8; 16]>::try_from(ip)) {
                    (Ok(v4), _) => Some(std::net::Ipv4Addr::from(v4).to_string()),
                    (_, Ok(v6)) => Some(std::net::Ipv6Addr::from(v6).to_string()),
                    _ => None,
                },
                (None, None) => None,
            })
            .collect()
    }

    pub(crate) fn uris(&self) -> Vec<String> {
        let names = self.x509.subject_alt_names().into_iter().flatten();
        names.filter_map(|name| name.uri().map(str::to_owned)).collect()
    }

    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }

    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Whether it may sign other certificates.
    pub fn is_authority(&self) -> bool {
        self.authority
    }

    pub fn to_pem(&self) -> String {
        // It was read from these very bytes.
        self.x509.to_pem().map(|pem| String::from_utf8_lossy(&pem).into_owned()).unwrap_or_default()
    }

    pub(crate) fn x509(&self) -> &X509 {
        &self.x509
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("subject", &self.subject())
            .field("fingerprint", &self.fingerprint())
            .finish_non_exhaustive()
    }
}

/// SHA-256 of a certificate's DER.
pub fn fingerprint_of(der: &[u8]) -> Fingerprint {
    Fingerprint::new(openssl::sha::sha256(der))
}

/// Asks the verifier of handshakes itself, at a time when the certificate was valid, so that both mean the same.
fn is_authority(der: &CertificateDer<'_>, valid: Timestamp) -> Result<bool, webpki::Error> {
    let certificate = EndEntityCert::try_from(der)?;
    let seconds = u64::try_from(valid.seconds()).unwrap_or_default();
    let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    let verified = certificate.verify_for_usage(&[], &[], &[], time, KeyUsage::client_auth(), None, None);
    Ok(matches!(verified, Err(webpki::Error::CaUsedAsEndEntity)))
}

fn timestamp(time: &Asn1TimeRef) -> Result<Timestamp, ErrorStack> {
    let since = Asn1Time::from_unix(0)?.diff(time)?;
    Ok(Timestamp((i64::from(since.days) * 86_400 + i64::from(since.secs)) * 1_000))
}

fn describe(name: &X509NameRef) -> String {
    let parts = name.entries().map(|entry| {
        let key = entry.object().nid().short_name().unwrap_or("?");
        let value = entry.data().to_string().unwrap_or_default();
        format!("{key}={}", value.escape_default())
    });
    parts.collect::<Vec<_>>().join(", ")
}
