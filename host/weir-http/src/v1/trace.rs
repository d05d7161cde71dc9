//! `/v1/trace`: what becomes of messages, one JSON document per line: refused at the door, or accepted with what each rule
//! found, and later what became of the rows at their targets.

use std::convert::Infallible;

use axum::{
    Extension,
    body::Body,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::stream;
use serde::{Deserialize, Serialize};
use weir_broker::{
    admin::keys,
    trace::{Happening, Judged, Refused, Settled, Step, Trace},
};
use weir_core::{ErrorKind, Principal, RuleName, Timestamp, TopicFilter, seams::Findings};

use super::tail::{CHECK_MS, Line, line};
use crate::{
    access::{Access, Caller},
    error::ApiError,
    extract::QueryParams,
    router::{Hub, Route},
};

pub(crate) fn routes() -> Vec<Route> {
    // It shows conditions, payloads and outcomes of everybody's rules.
    vec![Route::get(Access::Administrator, "/v1/trace", follow)]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Follow {
    filter: TopicFilter,
    /// Without it every rule is looked at.
    rule: Option<RuleName>,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Told<'a> {
    Message {
        #[serde(flatten)]
        message: Line<'a>,
        rules: Vec<RuleTold<'a>>,
    },
    Refused(&'a Refused),
    Settled(&'a Settled),
    Missed {
        count: u64,
    },
}

#[derive(Serialize)]
struct RuleTold<'a> {
    rule: &'a RuleName,
    enabled: bool,
    matched: bool,
    #[serde(flatten)]
    findings: Option<&'a Findings>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

impl<'a> From<&'a Judged> for RuleTold<'a> {
    fn from(judged: &'a Judged) -> Self {
        let (findings, error) = match &judged.findings {
            Ok(findings) => (Some(findings), None),
            Err(error) => (None, Some(error.as_str())),
        };
        let matched = judged.enabled && findings.is_some_and(Findings::is_match);
        Self { rule: &judged.rule, enabled: judged.enabled, matched, findings, error }
    }
}

async fn follow(
    State(hub): State<Hub>,
    Extension(Caller(reader)): Extension<Caller>,
    QueryParams(Follow { filter, rule }): QueryParams<Follow>,
) -> Result<Response, ApiError> {
    if let Some(rule) = &rule
        && hub.broker.rules().status(rule).is_none()
    {
        return Err(ApiError::new(ErrorKind::NotFound, format!("there is no rule {rule}")));
    }
    let trace = hub.broker.trace(&reader, filter, rule)?;
    let checked_at = hub.broker.clock().now();
    let lines = stream::unfold(Some(Follower { hub, reader, trace, checked_at }), |follower| async move {
        let mut follower = follower?;
        let (line, goes_on) = follower.next().await?;
        Some((Ok::<_, Infallible>(line), goes_on.then_some(follower)))
    });
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}

struct Follower {
    hub: Hub,
    reader: Principal,
    trace: Trace,
    checked_at: Timestamp,
}

impl Follower {
    /// The next line, and whether another may follow. `None` when the hub drains.
    async fn next(&mut self) -> Option<(Bytes, bool)> {
        let step = tokio::select! {
            biased;
            () = self.hub.drain.token().cancelled() => return None,
            step = self.trace.next() => step,
        };
        let now = self.hub.broker.clock().now();
        if now.0.saturating_sub(self.checked_at.0) >= CHECK_MS {
            if !keys::in_force(&self.hub.broker, &self.reader) {
                let error = ApiError::new(ErrorKind::Unauthenticated, "the key was deleted or changed");
                return Some((last(&error), false));
            }
            self.checked_at = now;
        }
        match step {
            Ok(step) => Some((written(&step), true)),
            Err(error) => Some((last(&ApiError::new(ErrorKind::Unavailable, error.to_string())), false)),
        }
    }
}

fn last(error: &ApiError) -> Bytes {
    Bytes::from(format!("{}\n", error.body()))
}

fn written(step: &Step) -> Bytes {
    let told = match step {
        Step::Message { frame, row, rules } => {
            Told::Message { message: line(&frame.records, *row), rules: rules.iter().map(RuleTold::from).collect() }
        }
        Step::Happened(Happening::Refused(refused)) => Told::Refused(refused),
        Step::Happened(Happening::Settled(settled)) => Told::Settled(settled),
        Step::Missed(count) => Told::Missed { count: *count },
    };
    let mut text = Vec::new();
    // Writing texts and numbers to memory cannot fail.
    let _written = serde_json::to_writer(&mut text, &told);
    text.push(b'\n');
    text.into()
}
