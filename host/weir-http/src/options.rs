//! What the program tells this front-end, and the bounds of its requests.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use serde::Serialize;
use weir_core::{DeviceId, Fingerprint, ProductId, Serial, Timestamp, history::LakeView, seams::QueryEngine};

/// Where devices reach a listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    pub host: String,
    pub port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// The hub's own certificate authority, as far as the API hands out what it makes; and whoever reads certificates for
/// the API, which knows no more of them than their names.
pub trait CertificateAuthority: Send + Sync {
    /// The authority's certificate in PEM, which clients must trust.
    fn certificate(&self) -> String;

    /// Makes a certificate for a device, good for `life` or for as long as the authority sees fit. Blocks for as long as
    /// making a key takes.
    fn issue(
        &self,
        device: &DeviceId,
        life: Option<Duration>,
    ) -> Result<IssuedCertificate, Box<dyn Error + Send + Sync>>;

    /// Reads a certificate that is to be pinned. The error says what is wrong with it, and what to do.
    fn read(&self, certificate: &str) -> Result<Fingerprint, String>;

    /// Reads the certificate of an authority that a product registers, if it may. The error as that of `read`.
    fn register(
        &self,
        product: &ProductId,
        certificate: &str,
        proof: RegistrationProof<'_>,
    ) -> Result<RegisteredAuthority, String>;

    /// What the common name of a proof must be.
    fn registration_code(&self, product: &ProductId) -> String;
}

/// Why whoever registers an authority may do so.
#[derive(Debug, Clone, Copy)]
pub enum RegistrationProof<'a> {
    /// A certificate in PEM that the authority signed, with the registration code as its common name.
    Signed(&'a str),
    /// An administrator says so.
    Trusted,
    None,
}

/// An authority as it was read.
#[derive(Debug, Clone)]
pub struct RegisteredAuthority {
    pub fingerprint: Fingerprint,
    /// The hash of its name and key.
    pub anchor: Fingerprint,
    /// DER.
    pub certificate: Vec<u8>,
    pub subject: String,
    pub expires_at: Timestamp,
}

/// A device's certificate with its key, which is kept nowhere.
#[derive(Serialize)]
pub struct IssuedCertificate {
    /// PEM.
    pub certificate: String,
    /// PEM, PKCS#8.
    pub private_key: String,
    pub fingerprint: Fingerprint,
    pub serial: Serial,
    pub expires_at: Timestamp,
}

impl fmt::Debug for IssuedCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedCertificate").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

#[derive(Clone)]
pub struct HttpOptions {
    /// Runs `/v1/query` and `/v1/backtests`.
    pub query: Arc<dyn QueryEngine>,
    /// The lake, if there is one, for `/v1/status` and metrics.
    pub lake: Option<Arc<dyn LakeView>>,
    /// Told to whoever connects a device.
    pub mqtt: Endpoint,
    /// The encrypted listener, if there is one.
    pub mqtts: Option<Endpoint>,
    /// The listener for WebSockets.
    pub ws: Endpoint,
    /// The encrypted listener for WebSockets, if there is one.
    pub wss: Option<Endpoint>,
    /// Where CoAP is, over UDP and over DTLS, if it is served.
    pub coap: Option<Endpoint>,
    pub coaps: Option<Endpoint>,
    pub authority: Arc<dyn CertificateAuthority>,
    /// The version of the program, for `/v1/status`.
    pub version: &'static str,
    pub limits: HttpLimits,
}

impl fmt::Debug for HttpOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpOptions")
            .field("mqtt", &self.mqtt)
            .field("mqtts", &self.mqtts)
            .field("ws", &self.ws)
            .field("wss", &self.wss)
            .field("coap", &self.coap)
            .field("coaps", &self.coaps)
            .field("version", &self.version)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Bounds of what one request, and all together, may take. Each is a typed refusal when it is reached.
#[derive(Debug, Clone)]
pub struct HttpLimits {
    /// Open connections. Beyond it a new one is answered 503 and closed.
    pub connections: usize,
    /// Bytes of a request's body. What publishes a message has room for the largest payload besides.
    pub body: usize,
    /// Bytes of a plugin's component.
    pub component: usize,
    /// Time in which a request's head must arrive; an idle connection is closed after it too.
    pub header_time: Duration,
    /// Time in which a request's body must arrive.
    pub body_time: Duration,
    /// How long a client may leave an answer unread before its connection is closed.
    pub write_stall: Duration,
    /// Queries that run at one time.
    pub queries: usize,
    /// Rows of a query's result.
    pub query_rows: usize,
    /// Bytes of a query's result as one JSON document. Answers that stream have no such bound.
    pub query_bytes: usize,
    /// Time that a query may run.
    pub query_time: Duration,
    /// Backtests that run at one time.
    pub backtests: usize,
    /// Time that a backtest may run.
    pub backtest_time: Duration,
    /// How far behind the head of the log a reader of `/v1/tail` may fall before it is ended.
    pub tail_lag: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connections: 512,
            body: 1024 * 1024,
            component: 32 * 1024 * 1024,
            header_time: Duration::from_secs(10),
            body_time: Duration::from_secs(30),
            write_stall: Duration::from_secs(30),
            queries: 4,
            query_rows: 1_000_000,
            query_bytes: 64 * 1024 * 1024,
            query_time: Duration::from_secs(60),
            backtests: 1,
            backtest_time: Duration::from_secs(60 * 60),
            tail_lag: Duration::from_secs(30),
        }
    }
}
