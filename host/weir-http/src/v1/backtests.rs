//! `/v1/backtests`: a rule, saved or not, over what the hub holds of the past. Nothing is sent.
//!
//! The answer is the report. A client that accepts `application/x-ndjson` is told how far the work is before, by
//! `{"progress":{…}}`, and gets `{"report":{…}}` or `{"error":{…}}` at last. A client that goes away ends the work.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use futures::FutureExt;
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, timeout_at};
use weir_core::{
    ErrorKind, RuleName, Timestamp,
    history::{Backtest, ScanProgress},
    seams::QueryError,
    statement::RuleDefinition,
};

use super::{
    lines::told_by_lines,
    query::{LINES, accepts, range},
};
use crate::{
    access::Access,
    error::ApiError,
    extract::JsonBody,
    router::{Hub, Route},
};

pub(crate) fn routes() -> Vec<Route> {
    vec![Route::post(Access::Administrator, "/v1/backtests", backtest)]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    /// Text with a CREATE RULE. Without it, a rule of the hub is run.
    script: Option<String>,
    /// Which rule of the script, or of the hub.
    rule: Option<RuleName>,
    /// Accept times of the messages.
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    /// Whether the rows are set against those of the hub's own version of the rule.
    #[serde(default)]
    compare: bool,
    /// Rows of each action that are shown.
    #[serde(default = "samples")]
    samples: usize,
}

fn samples() -> usize {
    10
}

async fn backtest(
    State(hub): State<Hub>,
    headers: HeaderMap,
    JsonBody(request): JsonBody<Request>,
) -> Result<Response, ApiError> {
    let limits = hub.options.limits.clone();
    let Ok(place) = Arc::clone(&hub.backtests).try_acquire_owned() else {
        let message = format!("{} backtests are running, which is the limit; try again", limits.backtests);
        return Err(ApiError::new(ErrorKind::Throttled, message));
    };
    let rule = chosen(&hub, request.script.as_deref(), request.rule)?;
    let compare = match request.compare {
        true => Some(in_force(&hub, &rule.name)?),
        false => None,
    };
    let progress = Arc::new(ScanProgress::default());
    let (script, text) = (request.script, rule.text.clone());
    let backtest = Backtest {
        rule,
        compare,
        time: range(request.from, request.to),
        samples: request.samples,
        progress: Arc::clone(&progress),
    };
    let deadline = Instant::now() + limits.backtest_time;
    let work = async move {
        let _place = place;
        let drain = hub.drain.token().clone();
        let tested = tokio::select! {
            biased;
            () = drain.cancelled() => Err(QueryError::Unavailable("the hub is draining".to_owned())),
            tested = timeout_at(deadline, hub.options.query.backtest(backtest)) => tested.unwrap_or_else(|_| {
                let seconds = limits.backtest_time.as_secs();
                Err(QueryError::LimitExceeded(format!("the backtest ran longer than {seconds} seconds")))
            }),
        };
        tested.map_err(|error| match (error, script) {
            (QueryError::Sql(error), Some(script)) => QueryError::Sql(error.within(&script, &text)),
            (error, _) => error,
        })
    };
    if accepts(&headers, LINES) {
        let told = move || json!(progress.counts());
        return Ok(told_by_lines(work.map(|tested| tested.map(|report| json!(report)).map_err(ApiError::from)), told));
    }
    Ok(Json(work.await?).into_response())
}

/// The rule that is meant.
fn chosen(hub: &Hub, script: Option<&str>, name: Option<RuleName>) -> Result<RuleDefinition, ApiError> {
    let Some(script) = script else {
        let name =
            name.ok_or_else(|| ApiError::invalid("say which rule: its text as \"script\", or its name as \"rule\""))?;
        return in_force(hub, &name);
    };
    let mut rules = hub.broker.rules().read(script)?;
    if let Some(name) = name {
        let missing = || ApiError::invalid(format!("the script makes no rule {name}"));
        return rules.into_iter().find(|rule| rule.name == name).ok_or_else(missing);
    }
    match (rules.pop(), rules.len()) {
        (Some(rule), 0) => Ok(rule),
        (None, _) => Err(ApiError::invalid("the script makes no rule: write CREATE RULE … AS SELECT …")),
        (Some(last), others) => {
            let names: Vec<&str> = rules.iter().chain([&last]).map(|rule| rule.name.as_str()).collect();
            let names = names.join(", ");
            Err(ApiError::invalid(format!("the script makes {} rules; say which: {names}", others + 1)))
        }
    }
}

fn in_force(hub: &Hub, name: &RuleName) -> Result<RuleDefinition, ApiError> {
    let missing = || ApiError::new(ErrorKind::NotFound, format!("there is no rule \"{name}\""));
    hub.broker.rules().definition_of(name).ok_or_else(missing)
}
