//! Requests by HTTP to granted hosts.

use std::{error::Error as _, net::SocketAddr, sync::Arc, time::Duration};

use reqwest::{
    Client, Method, Url,
    dns::{Addrs, Name, Resolve as DnsResolve, Resolving},
    header::{HeaderName, HeaderValue},
    redirect,
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_platform_verifier::Verifier;
use weir_core::{Grant, HostPort};

use super::reach::{Reserved, Resolver, addresses};
use crate::{
    bindings::http::{Error, Host, Request, Response},
    instance::{State, Use},
};

const MOST_TIME: Duration = Duration::from_secs(10);
const BODY_BYTES: usize = 8 << 20;
const IDLE: Duration = Duration::from_secs(30);

/// The client of all plugins. Connections are shared only by those who could open them: each request is checked.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    client: Client,
    resolver: Arc<Guard>,
}

impl Http {
    pub(crate) fn new(resolver: Resolver) -> Result<Self, String> {
        let guard = Arc::new(Guard { resolver });
        let client = Client::builder()
            .tls_backend_preconfigured(tls()?)
            .dns_resolver(Arc::clone(&guard))
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .http1_only()
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(8)
            .user_agent(concat!("weir/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| format!("no HTTP client: {error}"))?;
        Ok(Self { client, resolver: guard })
    }
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

/// Resolves names to what may be reached.
struct Guard {
    resolver: Resolver,
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Guard")
    }
}

impl DnsResolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = Arc::clone(&self.resolver);
        Box::pin(async move {
            let found = addresses(resolver.as_ref(), name.as_str()).await?;
            let found: Addrs = Box::new(found.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(found)
        })
    }
}

impl Host for State {
    async fn send(&mut self, request: Request) -> wasmtime::Result<Result<Response, Error>> {
        // Of the state only these: it is not to be shared between threads.
        let (used, http) = (Arc::clone(&self.used), self.http.clone());
        Ok(exchange(&used, &http, request).await)
    }
}

async fn exchange(used: &Use, http: &Http, request: Request) -> Result<Response, Error> {
    let invalid = |reason: &str| Error::Invalid(reason.to_owned());
    let url: Url = request.url.parse().map_err(|error| Error::Invalid(format!("not a URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(invalid("a URL begins with http:// or https://"));
    }
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        return Err(invalid("the URL has no host"));
    };
    let place = HostPort::new(host, port);
    let granted = used.grants.iter().any(|grant| matches!(grant, Grant::Http(known) if *known == place));
    if !granted {
        return Err(Error::Denied(used.denied(&format!("http '{place}'"))));
    }
    // An address that stands in the URL is never asked of the resolver.
    if place.host.parse::<std::net::IpAddr>().is_ok() {
        addresses(http.resolver.resolver.as_ref(), &place.host)
            .await
            .map_err(|_| Error::Denied(Reserved.to_string()))?;
    }
    let method = Method::from_bytes(request.method.as_bytes()).map_err(|_| invalid("not a method of HTTP"))?;
    let time = request.timeout_ms.map_or(MOST_TIME, |time| Duration::from_millis(time.into()).min(MOST_TIME));
    let mut sent = http.client.request(method, url).timeout(time).body(request.body);
    for (name, value) in &request.headers {
        let name = HeaderName::try_from(name.as_str()).map_err(|_| invalid("not a name of a header"))?;
        let value = HeaderValue::from_bytes(value).map_err(|_| invalid("not a value of a header"))?;
        sent = sent.header(name, value);
    }
    let mut answer = sent.send().await.map_err(|error| failure(&error, time))?;
    let headers = answer.headers().iter();
    let headers = headers.map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_owned())).collect();
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| failure(&error, time))? {
        if body.len() + chunk.len() > BODY_BYTES {
            return Err(Error::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Response { status: answer.status().as_u16(), headers, body })
}

/// Without the URL, which may hold a secret.
fn failure(error: &reqwest::Error, time: Duration) -> Error {
    let mut causes = std::iter::successors(error.source(), |cause| (*cause).source());
    if causes.any(|cause| cause.to_string() == Reserved.to_string()) {
        return Error::Denied(Reserved.to_string());
    }
    if error.is_builder() {
        return Error::Invalid("the request cannot be made".to_owned());
    }
    if error.is_timeout() {
        return Error::Failed(format!("no answer within {time:?}"));
    }
    let cause = std::iter::successors(error.source(), |cause| (*cause).source()).last();
    let cause = cause.map_or_else(|| "unknown".to_owned(), ToString::to_string);
    match error.is_connect() {
        true => Error::Failed(format!("cannot connect: {cause}")),
        false => Error::Failed(format!("the request failed: {cause}")),
    }
}
