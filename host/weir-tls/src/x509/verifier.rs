//! Verifying what a client shows. One [`Witness`] per connection remembers the verdict for whoever accepts it.

use std::sync::{Arc, OnceLock};

use rustls::{
    CertificateError as Alert, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage};
use weir_core::{Classify, ErrorKind, Fingerprint, Timestamp, Voucher};

use super::{CertificatePeer, Trust, anchor_of, identity};
use crate::{Certificate, certificate::MAKE_VERSION_3, fingerprint_of};

/// Why a client's certificate is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateRefusal {
    #[error("it is not of X.509 version 3, and only that can be used: {MAKE_VERSION_3}")]
    NotVersion3,
    #[error("it has expired")]
    Expired,
    #[error("it is not valid yet; is the clock of the device or of the hub wrong?")]
    NotYetValid,
    #[error("no authority that the hub knows signed it; register the authority with the product, or pin it")]
    UnknownAuthority,
    #[error("the authority that signed it has expired; register its renewed certificate with the product")]
    AuthorityExpired,
    #[error("it, or one between it and the authority, was revoked")]
    Revoked,
    #[error("its device accepts only the certificates that are pinned to it, and this is none of them")]
    NotPinned,
    #[error(
        "it may not be used by clients: its extendedKeyUsage lacks clientAuth, or it is one of an authority; \
             if it is self-signed, pin it"
    )]
    NotForClients,
    #[error("it cannot be used: {0}")]
    Unusable(String),
}

#[derive(Debug)]
pub(crate) struct Verifier {
    trust: Arc<dyn Trust>,
    algorithms: WebPkiSupportedAlgorithms,
}

#[derive(Debug)]
pub(crate) struct Witness {
    verifier: Arc<Verifier>,
    verdict: OnceLock<Result<CertificatePeer, (Fingerprint, CertificateRefusal)>>,
}

impl CertificateRefusal {
    /// The word for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotVersion3 => "certificate_version",
            Self::Expired => "certificate_expired",
            Self::NotYetValid => "certificate_not_yet_valid",
            Self::UnknownAuthority => "certificate_unknown_authority",
            Self::AuthorityExpired => "certificate_authority_expired",
            Self::Revoked => "certificate_revoked",
            Self::NotPinned => "certificate_not_pinned",
            Self::NotForClients => "certificate_usage",
            Self::Unusable(_) => "certificate_unusable",
        }
    }
}

impl Classify for CertificateRefusal {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Unauthenticated
    }
}

impl Verifier {
    pub(crate) fn new(trust: Arc<dyn Trust>, algorithms: WebPkiSupportedAlgorithms) -> Self {
        Self { trust, algorithms }
    }

    pub(crate) fn verify(
        &self,
        shown: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<CertificatePeer, CertificateRefusal> {
        let fingerprint = fingerprint_of(shown);
        // Version and form are checked before the system's library reads it.
        let parsed = EndEntityCert::try_from(shown)?;
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        if let Some(device) = self.trust.pinned(&fingerprint) {
            let certificate = Certificate::parse(shown)?;
            if seconds > certificate.not_after().seconds() {
                return Err(CertificateRefusal::Expired);
            }
            if seconds < certificate.not_before().seconds() {
                return Err(CertificateRefusal::NotYetValid);
            }
            self.check_revoked(&fingerprint)?;
            let between = Box::default();
            return Ok(CertificatePeer {
                device: Some(device),
                fingerprint,
                voucher: Voucher::Pin,
                anchor: None,
                between,
            });
        }
        let authorities = self.trust.authorities();
        let usage = KeyUsage::client_auth();
        let anchors = authorities.anchors();
        let path = parsed.verify_for_usage(self.algorithms.all, anchors, between, now, usage, None, None)?;
        let certificate = Certificate::parse(shown)?;
        let vouchers = authorities.vouchers(path.anchor(), Timestamp(seconds.saturating_mul(1_000)));
        let (device, voucher) =
            identity::identify(&certificate, &vouchers).ok_or(CertificateRefusal::AuthorityExpired)?;
        let between: Box<[Fingerprint]> =
            path.intermediate_certificates().map(|between| fingerprint_of(&between.der())).collect();
        [fingerprint].iter().chain(&between).try_for_each(|fingerprint| self.check_revoked(fingerprint))?;
        if device.as_ref().is_some_and(|device| self.trust.accepts_only_pins(device)) {
            return Err(CertificateRefusal::NotPinned);
        }
        let anchor = Some(anchor_of(path.anchor()));
        Ok(CertificatePeer { device, fingerprint, voucher, anchor, between })
    }

    fn check_revoked(&self, certificate: &Fingerprint) -> Result<(), CertificateRefusal> {
        if self.trust.is_revoked(certificate) { Err(CertificateRefusal::Revoked) } else { Ok(()) }
    }
}

impl Witness {
    pub(crate) fn new(verifier: Arc<Verifier>) -> Self {
        Self { verifier, verdict: OnceLock::new() }
    }

    /// `None`: no certificate was shown, or the handshake did not come so far.
    pub(crate) fn verdict(&self) -> Option<Result<CertificatePeer, (Fingerprint, CertificateRefusal)>> {
        self.verdict.get().cloned()
    }
}

impl ClientCertVerifier for Witness {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// None: thousands of authorities would not fit, and a client has one certificate for the hub.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verdict = self.verdict.get_or_init(|| {
            let verified = self.verifier.verify(end_entity, intermediates, now);
            verified.map_err(|refusal| (fingerprint_of(end_entity), refusal))
        });
        match verdict {
            Ok(_) => Ok(ClientCertVerified::assertion()),
            Err((_, refusal)) => Err(Error::InvalidCertificate(alert(refusal))),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.verifier.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.verifier.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.algorithms.supported_schemes()
    }
}

/// What the client is told.
fn alert(refusal: &CertificateRefusal) -> Alert {
    match refusal {
        CertificateRefusal::Expired => Alert::Expired,
        CertificateRefusal::NotYetValid => Alert::NotValidYet,
        CertificateRefusal::UnknownAuthority => Alert::UnknownIssuer,
        // RFC 8446 §6.2: a CA that could not be matched with a known trust anchor; an expired one is known no more.
        CertificateRefusal::AuthorityExpired => Alert::UnknownIssuer,
        CertificateRefusal::Revoked => Alert::Revoked,
        CertificateRefusal::NotPinned => Alert::ApplicationVerificationFailure,
        CertificateRefusal::NotForClients => Alert::InvalidPurpose,
        CertificateRefusal::NotVersion3 | CertificateRefusal::Unusable(_) => {
            Alert::Other(OtherError(Arc::new(refusal.clone())))
        }
    }
}

impl From<webpki::Error> for CertificateRefusal {
    fn from(error: webpki::Error) -> Self {
        use webpki::Error as E;
        match error {
            E::UnsupportedCertVersion => Self::NotVersion3,
            E::CertExpired { .. } => Self::Expired,
            E::CertNotValidYet { .. } => Self::NotYetValid,
            E::UnknownIssuer => Self::UnknownAuthority,
            E::CertRevoked => Self::Revoked,
            E::CaUsedAsEndEntity | E::RequiredEkuNotFoundContext(_) => Self::NotForClients,
            other => Self::Unusable(other.to_string()),
        }
    }
}

impl From<crate::CertificateError> for CertificateRefusal {
    fn from(error: crate::CertificateError) -> Self {
        match error {
            crate::CertificateError::Version { .. } => Self::NotVersion3,
            other => Self::Unusable(other.to_string()),
        }
    }
}
