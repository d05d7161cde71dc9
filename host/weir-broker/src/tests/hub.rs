//! A hub in a test: real log, store and pipeline, a stand-in language, and targets that do as they are told.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use arrow::array::BinaryArray;
use parking_lot::Mutex;
use tempfile::TempDir;
use weir_core::{
    Envelope, Grants, Principal, Protocol, Qos, RuleName, Subscription, Timestamp,
    schema::Records,
    seams::{
        BoxFuture, Catalog, Delivery, Evaluator, Failures, Language, Outcome, PeerIdentity, Probe, Rows,
        RuleEvaluation, RulePart, SettingError, SettingSpec, SettingValue, Settings, SqlError, Target, TargetContext,
        TargetKind,
    },
    statement::{ActionDefinition, RuleDefinition, Setting, StartFrom, Statement},
};
use weir_log::{
    Clock, Log, LogOptions,
    storage::{Storage, faulty::Faulty},
};
use weir_store::{NewProduct, Role, Store};

use crate::{Drain, Limits, Parts, RuleOptions, RuleStatus, Running, SessionOptions};

/// A line is a rule: `name filter target[,target…] [! error-target]`. `-name` drops it. A message whose payload begins
/// with `bad` fails, one that begins with `no` does not match.
#[derive(Default)]
struct Lines {
    rules: BTreeMap<RuleName, RuleDefinition>,
}

impl Language for Lines {
    fn parse(&self, script: &str) -> Result<Vec<Statement>, SqlError> {
        Ok(script.lines().map(parse_line).collect())
    }

    fn evaluator(&self) -> Arc<dyn Evaluator> {
        Arc::new(Lines::default())
    }

    fn probe(&self, _: &RuleDefinition, _: &Catalog) -> Result<Arc<dyn Probe>, SqlError> {
        unimplemented!("no test traces these rules")
    }
}

fn parse_line(line: &str) -> Statement {
    if let Some(name) = line.strip_prefix('-') {
        return Statement::DropRule(name.parse().unwrap());
    }
    let (line_actions, error) = line.split_once(" ! ").map_or((line, None), |(line, error)| (line, Some(error)));
    let mut words = line_actions.split(' ');
    let name = words.next().unwrap().parse().unwrap();
    let source = words.next().unwrap().parse().unwrap();
    let action = |name: &str| ActionDefinition {
        target: "test".to_owned(),
        settings: vec![("name".to_owned(), Setting::Literal(name.to_owned()))],
    };
    Statement::CreateRule(RuleDefinition {
        name,
        text: line.to_owned(),
        sources: vec![source],
        actions: words.next().unwrap().split(',').map(action).collect(),
        on_error: error.map(action),
        tables: Vec::new(),
        windowed: false,
        on_late: None,
        start: StartFrom::Now,
    })
}

impl Evaluator for Lines {
    fn with_rules(
        &self,
        rules: &[RuleDefinition],
        _catalog: &Catalog,
    ) -> Result<Arc<dyn Evaluator>, (RuleName, SqlError)> {
        let mut all = self.rules.clone();
        all.extend(rules.iter().map(|rule| (rule.name.clone(), rule.clone())));
        Ok(Arc::new(Self { rules: all }))
    }

    fn without_rule(&self, rule: &RuleName) -> Arc<dyn Evaluator> {
        let mut rules = self.rules.clone();
        rules.remove(rule);
        Arc::new(Self { rules })
    }

    fn evaluate(&self, records: &Records) -> Vec<RuleEvaluation> {
        self.rules.values().map(|rule| evaluate(rule, records)).filter(|evaluation| evaluation.read > 0).collect()
    }

    fn evaluate_rule(&self, rule: &RuleName, _part: RulePart, records: &Records) -> Option<RuleEvaluation> {
        self.rules.get(rule).map(|rule| evaluate(rule, records))
    }
}

fn evaluate(rule: &RuleDefinition, records: &Records) -> RuleEvaluation {
    let (mut matched, mut failed, mut unmatched) = (Vec::new(), Vec::new(), 0);
    for row in 0..records.len() {
        if !rule.sources.iter().any(|source| source.matches(records.topic.value(row))) {
            continue;
        }
        match records.payload.value(row) {
            payload if payload.starts_with(b"bad") => failed.push(row as u32),
            payload if payload.starts_with(b"no") => unmatched += 1,
            _ => matched.push(row as u32),
        }
    }
    let rows = Rows {
        source: matched.clone().into(),
        row: vec![0; matched.len()].into(),
        payload: BinaryArray::from_iter_values(matched.iter().map(|row| records.payload.value(*row as usize))),
        arguments: Vec::new(),
    };
    let failures = rule.on_error.as_ref().filter(|_| !failed.is_empty()).map(|_| Failures {
        source: failed.clone(),
        reasons: failed.iter().map(|_| "bad".to_owned()).collect(),
        arguments: Vec::new(),
    });
    RuleEvaluation {
        rule: rule.name.clone(),
        part: RulePart::Rows,
        read: (matched.len() + failed.len()) as u64 + unmatched,
        matched: matched.len() as u64,
        unmatched,
        failed: failed.len() as u64,
        mismatches: Vec::new(),
        actions: rule.actions.iter().map(|_| rows.clone()).collect(),
        failures,
    }
}

/// How a target answers a row.
type Answer = Arc<dyn Fn(&Delivery) -> Outcome + Send + Sync>;

/// Targets by name: what they answer, and what they were given and took.
#[derive(Clone, Default)]
pub(super) struct Targets(Arc<Mutex<HashMap<String, TargetState>>>);

#[derive(Clone, Default)]
struct TargetState {
    answer: Option<Answer>,
    taken: Vec<Delivery>,
}

impl Targets {
    pub(super) fn answer(&self, name: &str, answer: impl Fn(&Delivery) -> Outcome + Send + Sync + 'static) {
        self.0.lock().entry(name.to_owned()).or_default().answer = Some(Arc::new(answer));
    }

    /// Payloads that a target took, in order.
    pub(super) fn taken(&self, name: &str) -> Vec<String> {
        let targets = self.0.lock();
        let taken = targets.get(name).map(|state| state.taken.as_slice()).unwrap_or_default();
        taken.iter().map(|row| String::from_utf8(row.payload.to_vec()).unwrap()).collect()
    }

    pub(super) fn failures(&self, name: &str) -> Vec<String> {
        self.0.lock().get(name).map(|s| s.taken.iter().filter_map(|d| d.failure.clone()).collect()).unwrap_or_default()
    }
}

struct TestKind(Targets);

struct TestTarget {
    name: String,
    targets: Targets,
}

impl TargetKind for TestKind {
    fn name(&self) -> &'static str {
        "test"
    }

    fn settings(&self) -> &[SettingSpec] {
        &[SettingSpec { name: "name", required: true, value: SettingValue::Plain }]
    }

    fn open(&self, settings: &Settings, _context: TargetContext) -> Result<Arc<dyn Target>, SettingError> {
        let name = settings.get("name").unwrap().to_owned();
        Ok(Arc::new(TestTarget { name, targets: self.0.clone() }))
    }
}

impl Target for TestTarget {
    fn write<'a>(&'a self, rows: &'a [Delivery]) -> BoxFuture<'a, Vec<Outcome>> {
        Box::pin(async move {
            let mut targets = self.targets.0.lock();
            let state = targets.entry(self.name.clone()).or_default();
            let answer = |row: &Delivery| state.answer.as_ref().map_or(Outcome::Delivered, |answer| answer(row));
            let outcomes: Vec<Outcome> = rows.iter().map(answer).collect();
            let delivered = rows.iter().zip(&outcomes).filter(|(_, outcome)| **outcome == Outcome::Delivered);
            let delivered: Vec<Delivery> = delivered.map(|(row, _)| row.clone()).collect();
            state.taken.extend(delivered);
            outcomes
        })
    }

    /// One that is named like a topic says that it publishes there.
    fn publishes_to(&self) -> Option<String> {
        self.name.contains('/').then(|| self.name.clone())
    }
}

pub(super) struct Hub {
    pub(super) running: Running,
    pub(super) clock: Clock,
    _folder: Arc<TempDir>,
}

pub(super) fn device(name: &str) -> Principal {
    Principal::Device(format!("A1B2C3D4E5/{name}").parse().unwrap())
}

pub(super) fn administrator() -> Principal {
    Principal::Administrator("admin".parse().unwrap())
}

pub(super) fn application(subscribe: &str) -> Principal {
    let grants = Grants { publish: Vec::new(), subscribe: vec![subscribe.parse().unwrap()] };
    Principal::Application { key: "app".parse().unwrap(), grants: Arc::new(grants) }
}

impl Hub {
    pub(super) async fn start(storage: &Arc<dyn Storage>, folder: &Arc<TempDir>, targets: &Targets) -> Self {
        Self::start_with(storage, folder, targets, Limits { inbox_messages: 100, ..Limits::default() }).await
    }

    pub(super) async fn start_with(
        storage: &Arc<dyn Storage>,
        folder: &Arc<TempDir>,
        targets: &Targets,
        limits: Limits,
    ) -> Self {
        Self::start_on(storage, folder, targets, limits, LogOptions::default()).await
    }

    pub(super) async fn start_on(
        storage: &Arc<dyn Storage>,
        folder: &Arc<TempDir>,
        targets: &Targets,
        limits: Limits,
        log: LogOptions,
    ) -> Self {
        let clock = Clock::manual(Timestamp(1_700_000_000_000));
        let log = Log::open(Arc::clone(storage), log, clock.clone()).unwrap();
        let store = Store::open(folder.path()).unwrap();
        let role = Role::Administrator;
        store.import_key(&"admin".parse().unwrap(), role, "secret", clock.now()).await.unwrap();
        let product = NewProduct { id: "A1B2C3D4E5".parse().ok(), name: "test".to_owned(), ..NewProduct::default() };
        // A second start finds what the first has made.
        if store.create_product(product, clock.now()).await.is_ok() {
            store.create_key(&"app".parse().unwrap(), Role::Application(Grants::default()), clock.now()).await.unwrap();
            for name in ["a", "b"] {
                let device = format!("A1B2C3D4E5/{name}").parse().unwrap();
                store.create_device(&device, None, clock.now()).await.unwrap();
            }
        }
        let kinds = targets.clone();
        let parts = Parts {
            log,
            store,
            clock: clock.clone(),
            limits,
            rules: RuleOptions { checkpoint: Duration::from_millis(20), ..RuleOptions::default() },
            language: Arc::new(Lines::default()),
            targets: Box::new(move |_publisher| vec![Arc::new(TestKind(kinds))]),
            plugins: Arc::new(weir_core::plugin::NoPlugins),
            front: Drain::new(),
        };
        let running = parts.start().await.unwrap();
        Self { running, clock, _folder: Arc::clone(folder) }
    }

    /// Ends at once: nothing more is stored, unsynced bytes are gone, tasks are dropped where they stand. Returns the
    /// disk as the next start finds it.
    pub(super) async fn crash(self, faulty: &Faulty) -> Faulty {
        self.running.broker.store().close().await;
        let after = faulty.crash();
        self.running.drain(Duration::ZERO).await;
        after
    }

    pub(super) async fn apply(&self, script: &str) {
        self.running.broker.rules().apply(script, &administrator()).await.unwrap();
    }

    pub(super) async fn publish(&self, name: &str, payload: &str) {
        let topic = format!("A1B2C3D4E5/{name}/event");
        let publisher = device(name);
        let text = publisher.to_string();
        let message = Envelope::new(&topic, &text, Protocol::Mqtt311, Qos::AtLeastOnce, payload.as_bytes());
        self.running.broker.publish(&publisher, message).await.unwrap();
    }

    /// A session that ends with its connection.
    pub(super) async fn session(&self, principal: Principal) -> crate::Session {
        self.open(principal, "client", |_| {}).await
    }

    /// A session that is kept for an hour.
    pub(super) async fn kept(&self, principal: Principal, client_id: &str) -> crate::Session {
        self.open(principal, client_id, |options| (options.clean_start, options.expiry) = (false, 3_600)).await
    }

    pub(super) async fn open(
        &self,
        principal: Principal,
        client_id: &str,
        change: impl FnOnce(&mut SessionOptions),
    ) -> crate::Session {
        let mut options = SessionOptions {
            client_id: client_id.to_owned(),
            protocol: Protocol::Mqtt5,
            clean_start: true,
            expiry: 0,
            receive_maximum: 20,
            will: None,
            peer: PeerIdentity::None,
        };
        change(&mut options);
        self.running.broker.open_session(principal, options).await.unwrap()
    }

    pub(super) fn status(&self, rule: &str) -> RuleStatus {
        self.running.broker.rules().status(&rule.parse().unwrap()).unwrap()
    }

    /// The equations of each action of a rule, whenever it is looked at.
    pub(super) fn balanced(&self, rule: &str) {
        for action in self.status(rule).actions {
            let settled = action.delivered + action.dead_lettered + action.expired;
            assert_eq!(action.produced, settled + action.pending, "{action:?}");
            assert_eq!(action.read, action.matched + action.unmatched + action.failed, "{action:?}");
        }
    }
}

/// A subscription without any options.
pub(super) fn filter(text: &str, qos: Qos) -> Subscription {
    Subscription::new(text.parse().unwrap(), qos)
}

/// Waits until something is true. Bounded in real time, whatever the runtime's clock does.
pub(super) async fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !check() {
        assert!(start.elapsed() < Duration::from_secs(20), "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
