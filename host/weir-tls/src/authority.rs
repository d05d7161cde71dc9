//! The hub's own authority: what it needs to be trusted by devices that nobody else vouches for, and to vouch for them.
//!
//! Four files in one folder, readable by their owner alone: `ca.pem` and `ca.key`, made once and never replaced, as
//! devices hold on to them; `server.pem` and `server.key`, made anew when host names change or expiry is near. Keys of
//! devices are handed out once and not kept. Everything here blocks: it reads files and makes keys.

mod files;
mod issue;
mod names;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    fmt, io,
    path::{Path, PathBuf},
    time::Duration,
};

use openssl::{
    error::ErrorStack,
    pkey::{PKey, Private},
    x509::X509,
};
use weir_core::{Classify, DeviceId, ErrorKind, Fingerprint, Serial, Timestamp};

use crate::{Certificate, CertificateError, ServerCertificate, x509::device_uri};
pub(crate) use issue::new_key;
use issue::{Contents, Purpose, self_signed, signed};
pub use names::{HostName, InvalidHostName};

const CA: (&str, &str) = ("ca.pem", "ca.key");
const SERVER: (&str, &str) = ("server.pem", "server.key");

const DAY: Duration = Duration::from_secs(86_400);
const CA_LIFE: Duration = Duration::from_secs(20 * 365 * 86_400);
/// What browsers and phones accept at most.
const SERVER_LIFE: Duration = Duration::from_secs(397 * 86_400);
/// A server certificate that has less than this is made anew.
const SERVER_RENEWAL: Duration = Duration::from_secs(60 * 86_400);
/// How long a device's certificate is good if nobody says otherwise.
const DEVICE_LIFE: Duration = Duration::from_secs(10 * 365 * 86_400);
/// Clocks of devices are often behind.
const BACKDATED: Duration = DAY;

/// The hub's authority, ready to sign.
pub struct Authority {
    folder: PathBuf,
    key: PKey<Private>,
    certificate: Certificate,
}

#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error("cannot read or write {}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{} can be read by others than its owner: run chmod 600 {}", path.display(), path.display())]
    Exposed { path: PathBuf },
    #[error(
        "{} is there, but its key {} is not: put it back, or remove the certificate so that a new authority is made, \
         which every device must then be told to trust",
        certificate.display(),
        key.display()
    )]
    KeyMissing { certificate: PathBuf, key: PathBuf },
    #[error("{} cannot be used", path.display())]
    Unusable { path: PathBuf, source: CertificateError },
    #[error("{} is not a private key in PEM", path.display())]
    Key { path: PathBuf, source: ErrorStack },
    #[error("{} and {} do not belong together", certificate.display(), key.display())]
    Mismatch { certificate: PathBuf, key: PathBuf },
    #[error("the hub's authority expired; remove {} so that its certificate is made anew", certificate.display())]
    Expired { certificate: PathBuf },
    #[error("the system's TLS library could not make a certificate")]
    Library(#[from] ErrorStack),
    #[error("the certificate that was made cannot be used")]
    Made(#[source] CertificateError),
}

/// What kind of key a device gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyKind {
    #[default]
    EcdsaP256,
    /// For devices that sign with RSA, as those of the vendor do over HTTP. Takes about a tenth of a second to make.
    Rsa2048,
}

#[derive(Debug, Clone)]
pub struct DeviceRequest {
    pub device: DeviceId,
    pub key: KeyKind,
    /// Never beyond the life of the authority. `None`: ten years.
    pub life: Option<Duration>,
}

/// A device's certificate with its key, which exists nowhere else.
#[derive(Clone)]
pub struct DeviceCertificate {
    /// The subject's common name is `PRODUCTDEVICE`; what counts is the name `URI:weir:device:PRODUCT/DEVICE`.
    pub certificate_pem: String,
    /// PKCS#8.
    pub private_key_pem: String,
    pub fingerprint: Fingerprint,
    pub serial: Serial,
    pub not_after: Timestamp,
}

impl Authority {
    /// Reads the authority in `folder`, or makes one.
    pub fn open(folder: &Path, now: Timestamp) -> Result<Self, AuthorityError> {
        files::create_folder(folder)?;
        let (certificate_path, key_path) = (folder.join(CA.0), folder.join(CA.1));
        let key = files::read_key(&key_path)?;
        let pem = files::read(&certificate_path)?;
        let (key, certificate) = match (key, pem) {
            (Some(key), Some(pem)) => {
                let unusable = |source| AuthorityError::Unusable { path: certificate_path.clone(), source };
                (key, Certificate::parse(&pem).map_err(unusable)?)
            }
            (None, Some(_)) => return Err(AuthorityError::KeyMissing { certificate: certificate_path, key: key_path }),
            (key, None) => {
                // The name comes from the key, so a certificate that is made anew replaces the one that was lost.
                let key = match key {
                    Some(key) => key,
                    None => {
                        let key = new_key(KeyKind::EcdsaP256)?;
                        files::write(&key_path, &key.private_key_to_pem_pkcs8()?)?;
                        key
                    }
                };
                let made = self_signed(&key, now, CA_LIFE)?;
                files::write(&certificate_path, &made.to_pem()?)?;
                (key, Certificate::from_x509(made).map_err(AuthorityError::Made)?)
            }
        };
        let belongs = certificate.x509().public_key()?.public_eq(&key);
        if !belongs {
            return Err(AuthorityError::Mismatch { certificate: certificate_path, key: key_path });
        }
        if !certificate.is_authority() {
            let source = CertificateError::NotAnAuthority { subject: certificate.subject() };
            return Err(AuthorityError::Unusable { path: certificate_path, source });
        }
        if certificate.not_after() <= now {
            return Err(AuthorityError::Expired { certificate: certificate_path });
        }
        Ok(Self { folder: folder.to_owned(), key, certificate })
    }

    /// What clients must trust.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The hub's certificate for `names` and for loopback. The one on disk is used as long as its names are these and
    /// it is not near its end; else one is made. Call it at start, when names change, and daily.
    pub fn server_certificate(&self, names: &[HostName], now: Timestamp) -> Result<ServerCertificate, AuthorityError> {
        let names: BTreeSet<HostName> = names.iter().cloned().chain(HostName::loopback()).collect();
        if let Some(current) = self.current_server_certificate(&names, now)? {
            return Ok(current);
        }
        let key = new_key(KeyKind::EcdsaP256)?;
        let made = self.sign(
            &key,
            &Contents {
                common_name: "weir",
                purpose: Purpose::Server(&names),
                not_after: self.until(now, SERVER_LIFE),
            },
            now,
        )?;
        let (chain, key) = (made.to_pem()?, key.private_key_to_pem_pkcs8()?);
        // A crash between leaves a pair that does not fit, which the next start makes anew.
        files::write(&self.folder.join(SERVER.1), &key)?;
        files::write(&self.folder.join(SERVER.0), &chain)?;
        ServerCertificate::from_pem(&chain, &key).map_err(AuthorityError::Made)
    }

    /// Makes a device's certificate.
    pub fn issue(&self, request: &DeviceRequest, now: Timestamp) -> Result<DeviceCertificate, AuthorityError> {
        let DeviceId { product, device } = &request.device;
        let (common_name, uri) = (format!("{product}{device}"), device_uri(&request.device));
        let key = new_key(request.key)?;
        let not_after = self.until(now, request.life.unwrap_or(DEVICE_LIFE));
        let contents = Contents { common_name: &common_name, purpose: Purpose::Device { uri: &uri }, not_after };
        let made = Certificate::from_x509(self.sign(&key, &contents, now)?).map_err(AuthorityError::Made)?;
        let private_key_pem = key.private_key_to_pem_pkcs8()?;
        Ok(DeviceCertificate {
            certificate_pem: made.to_pem(),
            private_key_pem: String::from_utf8_lossy(&private_key_pem).into_owned(),
            fingerprint: made.fingerprint(),
            serial: made.serial(),
            not_after: made.not_after(),
        })
    }

    fn sign(&self, key: &PKey<Private>, contents: &Contents<'_>, now: Timestamp) -> Result<X509, ErrorStack> {
        signed(key, contents, now, self.certificate.x509(), &self.key)
    }

    /// Nothing that the authority signs outlives it.
    fn until(&self, now: Timestamp, life: Duration) -> Timestamp {
        let life = i64::try_from(life.as_millis()).unwrap_or(i64::MAX);
        Timestamp(now.0.saturating_add(life)).min(self.certificate.not_after())
    }

    /// The one on disk, if it can still be used. One that cannot be read is no reason not to start.
    fn current_server_certificate(
        &self,
        names: &BTreeSet<HostName>,
        now: Timestamp,
    ) -> Result<Option<ServerCertificate>, AuthorityError> {
        let (chain, key) = (self.folder.join(SERVER.0), self.folder.join(SERVER.1));
        files::check_private(&key)?;
        let (Some(chain), Some(key)) = (files::read(&chain)?, files::read(&key)?) else { return Ok(None) };
        let Ok(current) = ServerCertificate::from_pem(&chain, &key) else { return Ok(None) };
        let certificate = current.certificate();
        let same_names = certificate.host_names().iter().map(|name| name.parse().ok()).collect::<Option<BTreeSet<_>>>()
            == Some(names.clone());
        let ours = certificate.x509().verify(&self.key).is_ok_and(|ours| ours);
        let renewal = self.until(now, SERVER_RENEWAL).min(Timestamp(self.certificate.not_after().0 - 1));
        Ok((same_names && ours && certificate.not_after() > renewal).then_some(current))
    }
}

impl DeviceRequest {
    pub fn new(device: DeviceId) -> Self {
        Self { device, key: KeyKind::default(), life: None }
    }
}

impl Classify for AuthorityError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::File { .. } => ErrorKind::Unavailable,
            Self::Library(_) | Self::Made(_) => ErrorKind::Internal,
            Self::Exposed { .. }
            | Self::KeyMissing { .. }
            | Self::Unusable { .. }
            | Self::Key { .. }
            | Self::Mismatch { .. }
            | Self::Expired { .. } => ErrorKind::Invalid,
        }
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("folder", &self.folder)
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for DeviceCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceCertificate")
            .field("fingerprint", &self.fingerprint)
            .field("serial", &self.serial)
            .finish_non_exhaustive()
    }
}
