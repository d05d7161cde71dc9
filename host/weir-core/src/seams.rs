//! Where other crates plug in. Each seam is called once per batch or per connection, so `dyn` costs nothing.
//!
//! Length: one list of all seams, so that whoever plugs in finds them in one place.

use std::{collections::HashMap, fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use arrow::array::{BinaryArray, RecordBatch, StringArray};

use crate::{
    CertificateIdentity, Classify, DeviceId, ErrorKind, Grant, Offset, Principal, ProductId, RuleName, SinkName,
    history::{Backtest, BacktestReport, QueryRequest, QueryRun, Replay, ReplayRun},
    schema::Records,
    statement::{RuleDefinition, Statement},
    table::{TableScan, TableSchema},
    windows::{OpenedWindows, WindowLimits, WindowShape},
};

pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

// === authentication ===

/// What a client shows to prove who it is.
#[derive(Clone, Default)]
pub struct Credentials {
    /// The MQTT client id, where the protocol has one.
    pub client_id: String,
    pub username: Option<String>,
    pub password: Option<Vec<u8>>,
    /// What the transport has proved already.
    pub peer: PeerIdentity,
}

/// Who is at the other end of a connection, as far as its encryption proved it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum PeerIdentity {
    /// Nothing is proved.
    #[default]
    None,
    /// It has the private key of a certificate that the hub believed in the handshake, and that names a device.
    Certificate(Arc<CertificateIdentity>),
    /// It has the key of this device.
    Psk(DeviceId),
}

impl PeerIdentity {
    pub fn device(&self) -> Option<&DeviceId> {
        match self {
            Self::None => None,
            Self::Certificate(certificate) => Some(&certificate.device),
            Self::Psk(device) => Some(device),
        }
    }

    pub fn certificate(&self) -> Option<&Arc<CertificateIdentity>> {
        match self {
            Self::Certificate(certificate) => Some(certificate),
            Self::None | Self::Psk(_) => None,
        }
    }
}

/// Shows that there are secrets, never which.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("client_id", &self.client_id)
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "***"))
            .field("peer", &self.peer)
            .finish()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// One text for unknown names and wrong secrets, so that a stranger learns neither.
    #[error("user name or password is wrong, or the token was revoked")]
    BadCredentials,
    #[error("the credentials have expired")]
    Expired,
    #[error("{0} is disabled")]
    Disabled(String),
    /// It was good in the handshake, and is no more.
    #[error("the certificate was revoked, or what it rests on was taken away")]
    Withdrawn,
    #[error("credentials cannot be checked now")]
    Unavailable,
}

impl Classify for AuthError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::BadCredentials | Self::Expired | Self::Withdrawn => ErrorKind::Unauthenticated,
            Self::Disabled(_) => ErrorKind::Forbidden,
            Self::Unavailable => ErrorKind::Unavailable,
        }
    }
}

/// Proves identities. Called once per connection or request.
pub trait Authenticator: Send + Sync {
    fn authenticate(&self, credentials: &Credentials) -> Result<Principal, AuthError>;
}

// === rules ===

pub use crate::sql_error::SqlError;

/// The type that a product's schema declares for a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FieldType {
    Number,
    Integer,
    Text,
    Boolean,
    Json,
}

/// What rules are checked against beside their own text.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    /// Declared schemas, by product: path → type. A product that is absent has none, and any name goes.
    pub schemas: HashMap<ProductId, Vec<(String, FieldType)>>,
    /// Tables that queries may name beside topics.
    pub tables: Vec<Arc<TableSchema>>,
}

/// The rule language: text to statements, statements to something that runs.
pub trait Language: Send + Sync {
    fn parse(&self, script: &str) -> Result<Vec<Statement>, SqlError>;

    /// An evaluator without rules.
    fn evaluator(&self) -> Arc<dyn Evaluator>;

    /// A rule taken apart, for who asks why it did not fire.
    fn probe(&self, rule: &RuleDefinition, catalog: &Catalog) -> Result<Arc<dyn Probe>, SqlError>;
}

/// A rule's conditions, one by one. Not for the data path: nothing is shared with other rules.
pub trait Probe: Send + Sync {
    /// What the rule finds in one record, which must be a message.
    fn look(&self, records: &Records, row: usize) -> Findings;
}

/// What a rule finds in a message.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Findings {
    /// Why the rule cannot read the payload, if it would have to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<String>,
    /// What WHERE joins by AND.
    pub conditions: Vec<Condition>,
    /// What the conditions read of the payload.
    pub values: Vec<ReadValue>,
}

/// A part of WHERE.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Condition {
    /// As it is written.
    pub text: String,
    /// `None` is SQL's NULL, which is no match either.
    pub is: Option<bool>,
}

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ReadValue {
    pub path: String,
    /// JSON as it stands in the payload; `None` if nothing does.
    pub json: Option<String>,
}

impl Findings {
    pub fn is_match(&self) -> bool {
        self.unreadable.is_none() && self.conditions.iter().all(|condition| condition.is == Some(true))
    }
}

/// A set of rules, planned. Immutable: changing a rule makes another set, and never stops this one.
pub trait Evaluator: Send + Sync {
    /// The set with `rules` added or replaced. Plans each once; on an error nothing is changed.
    fn with_rules(
        &self,
        rules: &[RuleDefinition],
        catalog: &Catalog,
    ) -> Result<Arc<dyn Evaluator>, (RuleName, SqlError)>;

    fn without_rule(&self, rule: &RuleName) -> Arc<dyn Evaluator>;

    /// Evaluates every rule over a batch. Control records are passed over. A row's result does not depend on which
    /// other rows or rules share its batch.
    fn evaluate(&self, records: &Records) -> Vec<RuleEvaluation>;

    /// Evaluates one part of one rule alone, for an action that lags. `None` if there is no such rule.
    fn evaluate_rule(&self, rule: &RuleName, part: RulePart, records: &Records) -> Option<RuleEvaluation>;

    /// Evaluates a rule that joins tables, which [`Evaluator::evaluate`] leaves out. Blocks on the tables. `None` if there
    /// is no such rule.
    fn evaluate_joined(
        &self,
        _rule: &RuleName,
        _records: &Records,
        _tables: &[Arc<dyn Table>],
    ) -> Option<Result<RuleEvaluation, TableError>> {
        None
    }

    /// The windows of a rule, as they were saved, or empty. `None` if it has none.
    fn windows(&self, _rule: &RuleName, _saved: Option<&[u8]>, _limits: WindowLimits) -> Option<OpenedWindows> {
        None
    }

    /// What a rule reads beside its messages that is not as it was then: live tables, by name. With any, running it over
    /// the past need not make the rows that it made.
    fn reads_live(&self, _rule: &RuleName) -> Vec<String> {
        Vec::new()
    }

    /// What the state of a rule's windows depends on. `None` if it has none.
    fn window_shape(&self, _rule: &RuleName) -> Option<WindowShape> {
        None
    }
}

/// What a part of a rule's actions reads. Without windows there are rows alone, and failures come with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RulePart {
    /// Rows for the actions.
    #[default]
    Rows,
    /// Messages that the windows could not read, for `ON ERROR TO`.
    Failures,
    /// Messages that came too late for the windows, for `ON LATE TO`.
    Late,
}

/// What one rule made of one batch. Rules whose source matched no row are not reported.
#[derive(Debug, Clone)]
pub struct RuleEvaluation {
    pub rule: RuleName,
    pub part: RulePart,
    /// Rows whose topic matched the source: `read = matched + unmatched + failed`.
    pub read: u64,
    pub matched: u64,
    pub unmatched: u64,
    pub failed: u64,
    /// Values of another type than the rule demands, taken as NULL: (path, how many).
    pub mismatches: Vec<(String, u64)>,
    /// Rows for each action, in the order of [`RuleDefinition::actions`]. Empty where nothing matched.
    pub actions: Vec<Rows>,
    /// Messages that failed (malformed payload), for `ON ERROR TO`.
    pub failures: Option<Failures>,
}

/// Rows that one rule made for one action from one batch. All parts have the same length.
#[derive(Debug, Clone)]
pub struct Rows {
    /// For each row, which record of the batch it came from (a record may stand more than once).
    pub source: Arc<[u32]>,
    /// Which of the rows that its record made each row is: with offset and rule the row's name for ever.
    pub row: Arc<[u32]>,
    /// The row as JSON text, or the payload itself under `SELECT *`.
    pub payload: BinaryArray,
    /// Values of the settings with `${…}`, by setting. A value that could not be computed is NULL and makes an error row.
    pub arguments: Vec<(String, StringArray)>,
}

/// Messages a rule could not read, with the reasons.
#[derive(Debug, Clone)]
pub struct Failures {
    /// For each failure, which record of the batch it is.
    pub source: Vec<u32>,
    /// One text per failure, without payload bytes.
    pub reasons: Vec<String>,
    /// The settings of the error target with `${…}`; they may use `msg.*` only.
    pub arguments: Vec<(String, StringArray)>,
}

// === targets ===

/// Names one row for ever. Writing a key twice must not harm.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdempotenceKey {
    pub offset: Offset,
    pub rule: RuleName,
    pub row: u32,
}

/// One row for a target, taken from [`Rows`]; what is retried, dead-lettered and sent again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub key: IdempotenceKey,
    /// The topic, product and device of the source message.
    pub topic: String,
    pub product: Option<String>,
    pub device: Option<String>,
    /// Accept time of the source message in milliseconds since 1970.
    pub accepted_at: i64,
    /// Quality of service of the source message, 0 to 2.
    pub qos: u8,
    /// Rules the source message has passed through.
    pub hop: u8,
    pub payload: bytes::Bytes,
    /// Values of the settings with `${…}`.
    pub arguments: Vec<(String, String)>,
    /// Why the message failed, when this row goes to an error target.
    pub failure: Option<String>,
}

/// What became of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Delivered,
    /// The row is wrong (4xx, constraint). `retry`: the same row may pass later.
    Rejected {
        reason: String,
        retry: bool,
    },
    /// The target is wrong (connect, time-out, 429, 5xx): the action pauses, and the row is tried again.
    Unavailable {
        reason: String,
        retry_after: Option<Duration>,
    },
}

/// What a kind of target takes.
#[derive(Debug, Clone)]
pub struct SettingSpec {
    pub name: &'static str,
    pub required: bool,
    pub value: SettingValue,
}

/// What a setting holds, and so how `${…}` in it is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingValue {
    /// No `${…}`.
    Plain,
    /// A topic: a `/`, `+`, `#` or NUL in a value makes an error row.
    Topic,
    /// A URL: none in scheme and host, elsewhere percent-encoded.
    Url,
    /// A name or a number, with `${…}` as it is: the target checks the value.
    Name,
    /// Taken from `secret('NAME')`; a literal is accepted with a warning.
    Secret,
    /// Whatever the target makes of it: a literal or a secret, the same for all rows.
    Any,
}

/// The settings of one action, resolved: literals and secrets. Those with `${…}` come with each row.
#[derive(Clone, Default)]
pub struct Settings(pub Vec<(String, String)>);

impl Settings {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Names only: values may be secrets.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// On whose behalf a target acts.
#[derive(Debug, Clone)]
pub struct TargetContext {
    pub rule: RuleName,
    /// An administrator's rules may reach loopback and private addresses.
    pub owner: Principal,
    /// The sink that names the target, if one does.
    pub sink: Option<SinkName>,
    /// What the sink may touch, if it is a plugin's.
    pub grants: Vec<Grant>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {reason}")]
pub struct SettingError {
    pub setting: String,
    pub reason: String,
}

/// A kind of target, such as `webhook`.
pub trait TargetKind: Send + Sync {
    fn name(&self) -> &str;
    fn settings(&self) -> &[SettingSpec];
    /// How a setting is treated; `None`: there is no such setting.
    fn setting(&self, name: &str) -> Option<SettingValue> {
        self.settings().iter().find(|spec| spec.name == name).map(|spec| spec.value)
    }
    /// Whether it takes grants.
    fn takes_grants(&self) -> bool {
        false
    }
    /// Checks the settings and makes a target. No I/O: a target that is down must not keep a rule from being saved.
    fn open(&self, settings: &Settings, context: TargetContext) -> Result<Arc<dyn Target>, SettingError>;
}

/// Where the rows of an action go.
pub trait Target: Send + Sync {
    /// Writes rows and says for each what became of it, in order, as many outcomes as rows. Must not panic.
    fn write<'a>(&'a self, rows: &'a [Delivery]) -> BoxFuture<'a, Vec<Outcome>>;

    /// Lets go of connections and the like; called when its action ends. A later write opens them anew.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// The topic of the hub that it publishes to, if that is known before any row: a rule is saved only if its owner may.
    fn publishes_to(&self) -> Option<String> {
        None
    }
}

/// A message that a target publishes back into the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Republish {
    pub topic: String,
    pub payload: bytes::Bytes,
    pub qos: u8,
    pub hop: u8,
    pub rule: RuleName,
}

/// The hub as a target of its own rules.
pub trait Publisher: Send + Sync {
    /// Answers when the messages are durable.
    fn publish<'a>(&'a self, owner: &'a Principal, messages: Vec<Republish>) -> BoxFuture<'a, Vec<Outcome>>;

    /// Publishes requests on topics of shadows, and answers when each was applied, or refused.
    fn ask_shadows<'a>(&'a self, owner: &'a Principal, requests: Vec<Republish>) -> BoxFuture<'a, Vec<Outcome>>;
}

// === history ===

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("reading history failed: {0}")]
pub struct HistoryError(pub String);

/// The messages that the hub still holds, in offset order.
pub trait History: Send + Sync {
    /// Batches with the columns of [`crate::schema::RECORD_SCHEMA`], from offset `from` up to and without `to`.
    fn scan(&self, from: Offset, to: Offset) -> Box<dyn Iterator<Item = Result<RecordBatch, HistoryError>> + Send>;

    /// Every record at this offset or after is still held.
    fn oldest(&self) -> Offset;

    /// One past the last durable record.
    fn end(&self) -> Offset;
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("reading table {table} failed: {reason}")]
pub struct TableError {
    pub table: String,
    pub reason: String,
}

/// A table that queries read beside messages: as it is now, not as it was.
pub trait Table: Send + Sync {
    fn schema(&self) -> &Arc<TableSchema>;

    /// Resolves when the table has every change that was answered before.
    fn settle(&self) -> BoxFuture<'_, Result<(), TableError>>;

    /// Reads one state of the table, batch by batch, until `rows` has enough. Blocks, and keeps no more than a batch in
    /// memory.
    fn scan(&self, scan: &TableScan, rows: Arc<dyn TakeRows>) -> Result<(), TableError>;
}

/// Where the rows of a table go.
pub trait TakeRows: Send + Sync {
    /// Takes a batch, and waits until there is room for it. False: nobody wants more.
    fn take(&self, batch: RecordBatch) -> bool;

    /// Nobody wants more.
    fn is_over(&self) -> bool;
}

/// Runs ad-hoc queries and backtests over what the hub holds of the past, and over [`Table`]s.
pub trait QueryEngine: Send + Sync {
    /// Plans a query and begins to run it.
    fn query<'a>(&'a self, query: QueryRequest<'a>) -> BoxFuture<'a, Result<Box<dyn QueryRun>, QueryError>>;

    /// Runs a rule over the past. Nothing is sent.
    fn backtest(&self, backtest: Backtest) -> BoxFuture<'_, Result<BacktestReport, QueryError>>;

    /// Begins to evaluate a rule over the past, for whoever sends its rows.
    fn replay(&self, replay: Replay) -> BoxFuture<'_, Result<Box<dyn ReplayRun>, QueryError>>;
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// Memory, rows or time: which, and the bound.
    #[error("{0}")]
    LimitExceeded(String),
    /// The past cannot be read now, though it may be later.
    #[error("{0}")]
    Unavailable(String),
    #[error("query failed: {0}")]
    Failed(String),
}

impl Classify for QueryError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Sql(_) => ErrorKind::Invalid,
            Self::LimitExceeded(_) => ErrorKind::TooLarge,
            Self::Unavailable(_) => ErrorKind::Unavailable,
            Self::Failed(_) => ErrorKind::Internal,
        }
    }
}
