//! What encrypted listeners show and believe: the hub's authority, its server certificate, and the keys of devices.
//!
//! The authority lives in the folder `tls` of the data folder. Which other authorities and which single certificates are
//! believed is in the store ([`StoreTrust`]); which devices are let in, too.

use std::{error::Error, io, path::PathBuf, sync::Arc, time::Duration};

use tokio::signal::unix::Signal;
use tokio_util::sync::CancellationToken;
use weir_core::{DeviceId, Fingerprint, ProductId};
use weir_http::{CertificateAuthority, IssuedCertificate, RegisteredAuthority, RegistrationProof};
use weir_log::Clock;
use weir_store::Store;
use weir_tls::{
    Acceptor, AcceptorOptions, Authority, AuthorityError, Certificate, CertificateError, DeviceRequest, HostName, Now,
    Proofs, PskKey, ServerCertificate, ServerCertificates, SetupError, check_registration,
    dtls::{DtlsAcceptor, DtlsOptions},
    registration_code,
};

use super::trust::StoreTrust;
use crate::{
    config::{CertificateFiles, Config},
    data::DataFolder,
    serve::start_error::chain,
};

/// How often the server certificate is looked at.
const RENEWAL: Duration = Duration::from_secs(86_400);

#[derive(Debug, thiserror::Error)]
pub(super) enum TlsError {
    #[error("the hub's certificate authority cannot be used")]
    Authority(#[from] AuthorityError),
    #[error("setting listen.name: {0}")]
    Name(#[from] weir_tls::authority::InvalidHostName),
    #[error("cannot read the certificate {} or its private key {}", certificate.display(), private_key.display())]
    Files { certificate: PathBuf, private_key: PathBuf, source: io::Error },
    #[error("the certificate {} cannot be used", certificate.display())]
    Unusable { certificate: PathBuf, source: CertificateError },
    #[error("the hub's own authority is not one that can be trusted")]
    Trust(#[source] CertificateError),
    #[error(transparent)]
    Setup(#[from] SetupError),
    #[error("work on certificates broke off: {0}")]
    Broken(#[from] tokio::task::JoinError),
}

/// Cloning shares it.
#[derive(Debug, Clone)]
pub(super) struct Tls {
    source: Arc<Source>,
    shown: Arc<ServerCertificates>,
    clock: Clock,
}

/// Where the server certificate comes from.
#[derive(Debug)]
struct Source {
    authority: Authority,
    names: Vec<HostName>,
    /// A certificate and its key, to show instead of one that the authority makes.
    files: Option<CertificateFiles>,
    /// More of them, for clients that name one of their hosts.
    more: Vec<CertificateFiles>,
    clock: Clock,
}

impl Tls {
    /// Reads or makes the authority and the server certificate.
    pub(super) async fn open(config: &Config, data: &DataFolder, clock: &Clock) -> Result<Self, TlsError> {
        let (folder, clock, names) = (data.tls(), clock.clone(), names(config)?);
        let tls = &config.tls;
        let files = (!tls.certificate.as_os_str().is_empty())
            .then(|| CertificateFiles { certificate: tls.certificate.clone(), private_key: tls.private_key.clone() });
        let more = tls.certificates.clone();
        let opened = tokio::task::spawn_blocking(move || {
            let authority = Authority::open(&folder, clock.now())?;
            let source = Source { authority, names, files, more, clock: clock.clone() };
            let (default, more) = source.server_certificates()?;
            let shown = Arc::new(ServerCertificates::new(default, more));
            Ok(Self { source: Arc::new(source), shown, clock })
        });
        opened.await?
    }

    /// Lets in whom the hub's authority vouches for, or one of a product, or a pin; and whoever has the key of an enabled
    /// device.
    pub(super) fn acceptors(&self, config: &Config, store: &Store) -> Result<(Acceptor, DtlsAcceptor), TlsError> {
        let hub = self.source.authority.certificate().clone();
        let trust = StoreTrust::new(hub, store.clone()).map_err(TlsError::Trust)?;
        let store = store.clone();
        let keys = move |identity: &str| {
            let device = store.device(&DeviceId::from_joined(identity)?);
            let device = device.inspect_err(|error| tracing::warn!(%error, "a device's key cannot be looked up"));
            device.ok()?.filter(weir_store::Device::may_connect).map(|device| PskKey::new(device.psk))
        };
        let proofs = Proofs { certificates: Some(Arc::new(trust)), keys: Some(Arc::new(keys)) };
        let options = AcceptorOptions {
            handshake_timeout: config.limits.handshake_timeout,
            sha1_psk_suites: config.tls.sha1_psk_suites,
            ..AcceptorOptions::default()
        };
        let clock = self.clock.clone();
        let now = Now::new(move || clock.now());
        let dtls = DtlsOptions { sha1_psk_suites: config.tls.sha1_psk_suites };
        let dtls = DtlsAcceptor::new(dtls, Arc::clone(&self.shown), proofs.clone(), now.clone())?;
        Ok((Acceptor::new(options, Arc::clone(&self.shown), proofs, now)?, dtls))
    }

    pub(super) fn authority(&self) -> Arc<dyn CertificateAuthority> {
        Arc::clone(&self.source) as _
    }

    /// Reads the server certificates again on SIGHUP and once a day, which also renews one that is near its end.
    pub(super) async fn keep_fresh(self, mut hangup: Signal, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = hangup.recv() => {}
                () = tokio::time::sleep(RENEWAL) => {}
            }
            match self.reload().await {
                Ok(certificates) => {
                    for certificate in certificates {
                        let (names, fingerprint) = (certificate.host_names().join(", "), certificate.fingerprint());
                        tracing::info!(names, %fingerprint, "a certificate of the hub was read again");
                    }
                }
                Err(error) => tracing::error!(error = chain(&error), "the certificates in use stay"),
            }
        }
    }

    /// All of them or none: a hub that shows a part of what it was told to would be hard to understand.
    async fn reload(&self) -> Result<Vec<Certificate>, TlsError> {
        let source = Arc::clone(&self.source);
        let (default, more) = tokio::task::spawn_blocking(move || source.server_certificates()).await??;
        let read = [&default].into_iter().chain(&more).map(|read| read.certificate().clone()).collect();
        self.shown.replace(default, more);
        Ok(read)
    }
}

impl Source {
    /// The one for clients that name no host, or one that none of the others has; and the others.
    fn server_certificates(&self) -> Result<(ServerCertificate, Vec<ServerCertificate>), TlsError> {
        let default = match &self.files {
            Some(files) => read(files)?,
            None => self.authority.server_certificate(&self.names, self.clock.now())?,
        };
        Ok((default, self.more.iter().map(read).collect::<Result<_, _>>()?))
    }
}

fn read(files: &CertificateFiles) -> Result<ServerCertificate, TlsError> {
    let CertificateFiles { certificate, private_key } = files.clone();
    match ServerCertificate::read(&certificate, &private_key) {
        Ok(read) => read.map_err(|source| TlsError::Unusable { certificate, source }),
        Err(source) => Err(TlsError::Files { certificate, private_key, source }),
    }
}

impl CertificateAuthority for Source {
    fn certificate(&self) -> String {
        self.authority.certificate().to_pem()
    }

    fn issue(
        &self,
        device: &DeviceId,
        life: Option<Duration>,
    ) -> Result<IssuedCertificate, Box<dyn Error + Send + Sync>> {
        let request = DeviceRequest { life, ..DeviceRequest::new(device.clone()) };
        let made = self.authority.issue(&request, self.clock.now())?;
        Ok(IssuedCertificate {
            certificate: made.certificate_pem,
            private_key: made.private_key_pem,
            fingerprint: made.fingerprint,
            serial: made.serial,
            expires_at: made.not_after,
        })
    }

    fn read(&self, certificate: &str) -> Result<Fingerprint, String> {
        let certificate = Certificate::parse(certificate.as_bytes()).map_err(|error| error.to_string())?;
        if certificate.not_after() <= self.clock.now() {
            return Err(format!("the certificate of {} has expired", certificate.subject()));
        }
        Ok(certificate.fingerprint())
    }

    fn register(
        &self,
        product: &ProductId,
        certificate: &str,
        proof: RegistrationProof<'_>,
    ) -> Result<RegisteredAuthority, String> {
        let proof = match proof {
            RegistrationProof::Signed(proof) => weir_tls::RegistrationProof::Signed(proof.as_bytes()),
            RegistrationProof::Trusted => weir_tls::RegistrationProof::Trusted,
            RegistrationProof::None => weir_tls::RegistrationProof::None,
        };
        let hub = self.authority.certificate();
        let checked = check_registration(hub, product, certificate.as_bytes(), proof, self.clock.now());
        let authority = checked.map_err(|error| error.to_string())?;
        Ok(RegisteredAuthority {
            fingerprint: authority.fingerprint(),
            anchor: authority.anchor().map_err(|error| error.to_string())?,
            certificate: authority.der().to_vec(),
            subject: authority.subject(),
            expires_at: authority.not_after(),
        })
    }

    fn registration_code(&self, product: &ProductId) -> String {
        registration_code(self.authority.certificate(), product)
    }
}

/// Under what clients reach the hub, as far as it was told. Loopback is the authority's to add.
fn names(config: &Config) -> Result<Vec<HostName>, TlsError> {
    let mut names = Vec::new();
    if !config.listen.name.is_empty() {
        names.push(config.listen.name.parse()?);
    }
    let address = config.listen.address;
    if !address.is_unspecified() {
        names.push(HostName::Ip(address));
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Overrides;

    #[tokio::test]
    async fn the_certificate_follows_the_name_and_the_authority_stays() {
        let temporary = tempfile::tempdir().unwrap();
        let (data, clock) = (DataFolder::new(temporary.path()), Clock::system());
        let open = async |name: &str, address: &str| {
            let flag = |key: &str, value: &str| ("--set".to_owned(), key.to_owned(), value.to_owned());
            let flags = vec![flag("listen.name", name), flag("listen.address", address)];
            let config = Config::load(Overrides { flags, ..Overrides::default() }).unwrap();
            Tls::open(&config, &data, &clock).await
        };
        let first = open("", "0.0.0.0").await.unwrap();
        let names = async |tls: &Tls| tls.reload().await.unwrap()[0].host_names();
        assert_eq!(names(&first).await, ["localhost", "127.0.0.1", "::1"]);
        let second = open("hub.example.org", "192.0.2.1").await.unwrap();
        let found = names(&second).await;
        assert!(found.contains(&"hub.example.org".to_owned()) && found.contains(&"192.0.2.1".to_owned()), "{found:?}");
        assert_eq!(first.authority().certificate(), second.authority().certificate());
        assert!(matches!(open("not a name", "127.0.0.1").await, Err(TlsError::Name(_))));

        let issued = first.authority().issue(&"A1B2C3D4E5/dev".parse().unwrap(), Some(RENEWAL)).unwrap();
        assert!(issued.private_key.contains("PRIVATE KEY") && issued.certificate.contains("CERTIFICATE"));
        assert!((issued.expires_at.0 - clock.now().0).abs_diff(RENEWAL.as_millis() as i64) < 60_000);
    }
}
