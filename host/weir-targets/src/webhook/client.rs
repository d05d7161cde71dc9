//! HTTP clients that connect only where they may: one for each [`Reach`], because a pooled connection must not serve
//! a rule that could not have opened it.

use std::{error::Error, net::IpAddr, sync::Arc, time::Duration};

use reqwest::{
    Client, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect,
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_platform_verifier::Verifier;

use super::address::{Reach, Refusal};

/// Idle connections are kept this long.
const IDLE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone)]
pub(super) struct Clients {
    own_ports: Arc<[u16]>,
    public: Client,
    public_own_port: Client,
    private: Client,
    private_own_port: Client,
}

impl Clients {
    pub(super) fn new(own_ports: &[u16]) -> Result<Self, String> {
        let tls = tls()?;
        let client = |private, own_port| client(&tls, Reach { private, own_port });
        Ok(Self {
            own_ports: own_ports.into(),
            public: client(false, false)?,
            public_own_port: client(false, true)?,
            private: client(true, false)?,
            private_own_port: client(true, true)?,
        })
    }

    /// The client for a URL. An address that stands in the URL is checked here, since the resolver is not asked for it.
    pub(super) fn of(&self, url: &Url, private: bool) -> Result<&Client, Refusal> {
        let own_port = url.port_or_known_default().is_some_and(|port| self.own_ports.contains(&port));
        let host = url.host_str().unwrap_or_default();
        let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if let Ok(address) = literal.parse::<IpAddr>() {
            Reach { private, own_port }.permit(address)?;
        }
        Ok(match (private, own_port) {
            (false, false) => &self.public,
            (false, true) => &self.public_own_port,
            (true, false) => &self.private,
            (true, true) => &self.private_own_port,
        })
    }
}

/// The refusal that made a request fail, if one did.
pub(super) fn refusal(error: &reqwest::Error) -> Option<Refusal> {
    causes(error).find_map(|cause| cause.downcast_ref::<Refusal>().copied())
}

/// The innermost cause. The outer ones say no more, and reqwest's own may show the URL.
pub(super) fn root_cause(error: &reqwest::Error) -> String {
    causes(error).last().map_or_else(|| "unknown".to_owned(), ToString::to_string)
}

fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(error.source(), |cause| (*cause).source())
}

fn client(tls: &ClientConfig, reach: Reach) -> Result<Client, String> {
    Client::builder()
        .tls_backend_preconfigured(tls.clone())
        .dns_resolver(Guard { reach })
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_proxy()
        .http1_only()
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(super::target::LANES)
        .user_agent(concat!("weir/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| format!("no HTTP client: {error}"))
}

/// Certificates are checked against the system's roots (on Unix also those of `SSL_CERT_FILE`).
fn tls() -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("no TLS: {error}"))?;
    Ok(match Verifier::new(provider) {
        Ok(verifier) => builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth(),
        // A system without root certificates: https fails for each server, http works.
        Err(_) => builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth(),
    })
}

/// Resolves names to the addresses that may be reached.
struct Guard {
    reach: Reach,
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.reach;
        Box::pin(async move {
            let mut refusal = None;
            let mut permitted = Vec::new();
            for address in tokio::net::lookup_host((name.as_str(), 0)).await? {
                match reach.permit(address.ip()) {
                    Ok(()) => permitted.push(address),
                    Err(reason) => refusal = Some(reason),
                }
            }
            match refusal.filter(|_| permitted.is_empty()) {
                Some(refusal) => Err(refusal.into()),
                None => Ok(Box::new(permitted.into_iter()) as Addrs),
            }
        })
    }
}
