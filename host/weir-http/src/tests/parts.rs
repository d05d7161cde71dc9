//! Stand-ins behind the seams: a language of two words, a target that takes what it is told to, an engine with a few
//! canned answers.

use std::{error::Error, sync::Arc, time::Duration};

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch},
    datatypes::SchemaRef,
};
use weir_core::{
    DeviceId, Fingerprint, PluginName, ProductId, RuleName, Timestamp,
    history::{Backtest, BacktestReport, Comparison, QueryRequest, QueryRun, Replay, ReplayRun, Replayed},
    plugin::{PluginError, PluginSummary, PluginWorld, Plugins},
    schema::Records,
    seams::{
        BoxFuture, Catalog, Delivery, Evaluator, Language, Outcome, Probe, QueryEngine, QueryError, RuleEvaluation,
        RulePart, SettingError, SettingSpec, SettingValue, Settings, SqlError, Target, TargetContext, TargetKind,
    },
    statement::{ActionDefinition, RuleDefinition, Setting, SinkDefinition, StartFrom, Statement},
};

use super::hub::START;
use crate::{CertificateAuthority, IssuedCertificate, RegisteredAuthority, RegistrationProof};

/// An authority whose certificates say for whom they are. A certificate that it reads is a letter, which is also what its
/// names are made of; a proof is the code.
pub(super) struct Stamp;

impl CertificateAuthority for Stamp {
    fn certificate(&self) -> String {
        "the authority\n".to_owned()
    }

    fn issue(
        &self,
        device: &DeviceId,
        life: Option<Duration>,
    ) -> Result<IssuedCertificate, Box<dyn Error + Send + Sync>> {
        let life = life.unwrap_or(Duration::from_secs(3_600));
        if life > Duration::from_secs(u64::from(u32::MAX) / 2) {
            return Err("too long".into());
        }
        Ok(IssuedCertificate {
            certificate: format!("certificate of {device}"),
            private_key: "key".to_owned(),
            fingerprint: Fingerprint::new([0xf1; 32]),
            serial: "01".parse()?,
            expires_at: Timestamp(START.0 + life.as_millis() as i64),
        })
    }

    fn read(&self, certificate: &str) -> Result<Fingerprint, String> {
        match certificate.as_bytes() {
            [letter] => Ok(Fingerprint::new([*letter; 32])),
            _ => Err("write one letter".to_owned()),
        }
    }

    fn register(
        &self,
        product: &ProductId,
        certificate: &str,
        proof: RegistrationProof<'_>,
    ) -> Result<RegisteredAuthority, String> {
        let fingerprint = self.read(certificate)?;
        match proof {
            RegistrationProof::Signed(proof) if proof == self.registration_code(product) => {}
            RegistrationProof::Trusted => {}
            RegistrationProof::Signed(_) | RegistrationProof::None => return Err("sign the code".to_owned()),
        }
        let anchor = Fingerprint::new(*b"an anchor that all letters share");
        let certificate = certificate.as_bytes().to_vec();
        Ok(RegisteredAuthority {
            fingerprint,
            anchor,
            certificate,
            subject: "CN=letters".to_owned(),
            expires_at: Timestamp(START.0 + 1_000_000),
        })
    }

    fn registration_code(&self, product: &ProductId) -> String {
        format!("code of {product}")
    }
}

/// `rule NAME TARGET` and `sink NAME`, one a line.
pub(super) struct Words;

impl Language for Words {
    fn parse(&self, script: &str) -> Result<Vec<Statement>, SqlError> {
        script.lines().map(statement).collect()
    }

    fn evaluator(&self) -> Arc<dyn Evaluator> {
        Arc::new(Nothing)
    }

    fn probe(&self, _: &RuleDefinition, _: &Catalog) -> Result<Arc<dyn Probe>, SqlError> {
        unimplemented!("no test traces these rules")
    }
}

fn statement(line: &str) -> Result<Statement, SqlError> {
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        ["rule", name, target] => Ok(Statement::CreateRule(RuleDefinition {
            name: name.parse().unwrap(),
            text: line.to_owned(),
            sources: vec!["A1B2C3D4E5/+/event".parse().unwrap()],
            actions: vec![ActionDefinition { target: target.to_owned(), settings: Vec::new() }],
            on_error: None,
            start: StartFrom::Now,
            tables: Vec::new(),
            windowed: false,
            on_late: None,
        })),
        ["sink", name] => Ok(Statement::CreateSink(SinkDefinition {
            name: name.parse().unwrap(),
            text: line.to_owned(),
            kind: "taking".to_owned(),
            settings: vec![("note".to_owned(), Setting::Literal("x".to_owned()))],
            grants: Vec::new(),
        })),
        _ => Err(SqlError {
            message: "expected rule or sink".to_owned(),
            position: Some((1, 1)),
            line: Some(line.to_owned()),
            hint: Some("write rule".to_owned()),
        }),
    }
}

/// Rules that match nothing.
struct Nothing;

impl Evaluator for Nothing {
    fn with_rules(&self, _: &[RuleDefinition], _: &Catalog) -> Result<Arc<dyn Evaluator>, (RuleName, SqlError)> {
        Ok(Arc::new(Self))
    }

    fn without_rule(&self, _: &RuleName) -> Arc<dyn Evaluator> {
        Arc::new(Self)
    }

    fn evaluate(&self, _: &Records) -> Vec<RuleEvaluation> {
        Vec::new()
    }

    fn evaluate_rule(&self, _: &RuleName, _: RulePart, _: &Records) -> Option<RuleEvaluation> {
        None
    }
}

/// A target that delivers every row but those whose payload is `refuse`.
pub(super) struct Taking;

const NOTE: [SettingSpec; 1] = [SettingSpec { name: "note", required: false, value: SettingValue::Plain }];

impl TargetKind for Taking {
    fn name(&self) -> &'static str {
        "taking"
    }

    fn settings(&self) -> &[SettingSpec] {
        &NOTE
    }

    fn open(&self, _: &Settings, _: TargetContext) -> Result<Arc<dyn Target>, SettingError> {
        Ok(Arc::new(Self))
    }
}

impl Target for Taking {
    fn write<'a>(&'a self, rows: &'a [Delivery]) -> BoxFuture<'a, Vec<Outcome>> {
        let outcome = |row: &Delivery| match &row.payload[..] {
            b"refuse" => Outcome::Rejected { reason: "refused".to_owned(), retry: false },
            _ => Outcome::Delivered,
        };
        Box::pin(async move { rows.iter().map(outcome).collect() })
    }
}

/// Takes every component but one that says `refuse`, and runs none.
pub(super) struct Stamped;

impl Plugins for Stamped {
    fn check(&self, component: Arc<[u8]>) -> BoxFuture<'_, Result<PluginSummary, PluginError>> {
        let checked = match &*component {
            b"refuse" => Err(PluginError::Invalid("this is not a WebAssembly component".to_owned())),
            component => Ok(PluginSummary {
                digest: String::from_utf8_lossy(component).into_owned(),
                world: PluginWorld::Sink,
                size: component.len() as u64,
                imports: vec!["http".to_owned()],
                signed_by: None,
                warnings: vec!["the component is not signed".to_owned()],
            }),
        };
        Box::pin(async { checked })
    }

    fn put_in_force(&self, _name: &PluginName, _summary: &PluginSummary) {}

    fn forget(&self, _name: &PluginName) {}

    fn target_kind(&self, _name: &PluginName) -> Option<Arc<dyn TargetKind>> {
        None
    }

    fn names(&self) -> Vec<PluginName> {
        Vec::new()
    }
}

/// Answers `rows N` with the numbers below N, `hang` never, and anything else with an error at its first character.
pub(super) struct Canned;

impl QueryEngine for Canned {
    fn query<'a>(&'a self, request: QueryRequest<'a>) -> BoxFuture<'a, Result<Box<dyn QueryRun>, QueryError>> {
        let sql = request.sql;
        Box::pin(async move {
            if sql == "hang" {
                std::future::pending::<()>().await;
            }
            let Some(rows) = sql.strip_prefix("rows ").and_then(|rows| rows.parse::<i64>().ok()) else {
                return Err(QueryError::Sql(SqlError {
                    message: "expected rows".to_owned(),
                    position: Some((1, 1)),
                    line: Some(sql.to_owned()),
                    hint: None,
                }));
            };
            let column: ArrayRef = Arc::new((0..rows).collect::<Int64Array>());
            let batch = RecordBatch::try_from_iter([("n", column)]).unwrap();
            request.progress.read(rows.unsigned_abs());
            Ok(Box::new(Rows { schema: batch.schema(), batch: Some(batch) }) as Box<dyn QueryRun>)
        })
    }

    fn backtest(&self, backtest: Backtest) -> BoxFuture<'_, Result<BacktestReport, QueryError>> {
        Box::pin(async move {
            let comparison = backtest.compare.map(|_| Comparison { same: 1, ..Comparison::default() });
            Ok(BacktestReport { read: 1, matched: 1, comparison, ..BacktestReport::default() })
        })
    }

    fn replay(&self, _: Replay) -> BoxFuture<'_, Result<Box<dyn ReplayRun>, QueryError>> {
        Box::pin(async { Ok(Box::new(NoPast) as Box<dyn ReplayRun>) })
    }
}

struct NoPast;

impl ReplayRun for NoPast {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Replayed, QueryError>>> {
        Box::pin(async { None })
    }
}

struct Rows {
    schema: SchemaRef,
    batch: Option<RecordBatch>,
}

impl QueryRun for Rows {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn next(&mut self) -> BoxFuture<'_, Option<Result<RecordBatch, QueryError>>> {
        Box::pin(async move { self.batch.take().map(Ok) })
    }
}
