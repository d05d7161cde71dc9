//! `/v1/deadletters`: rows that no target took, with the reason.

use axum::{Json, extract::State, http::StatusCode};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use weir_broker::admin::dead_letters::{self, DeadLetter, DeadLetterKind, Replayed, Selection};
use weir_core::{Offset, RuleName, Timestamp};

use super::List;
use crate::{
    access::Access,
    error::ApiError,
    extract::{JsonBody, PathParams, QueryParams},
    router::{Hub, Route},
};

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::get(Access::Administrator, "/v1/deadletters", list),
        Route::post(Access::Administrator, "/v1/deadletters/replay", replay),
        Route::get(Access::Administrator, "/v1/deadletters/{id}", describe),
        Route::delete(Access::Administrator, "/v1/deadletters/{id}", remove),
    ]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    rule: Option<RuleName>,
    /// The id of the last one seen.
    #[serde(default)]
    after: i64,
    #[serde(default = "super::page_limit")]
    limit: u32,
}

#[derive(Serialize)]
struct Shown {
    id: i64,
    rule: RuleName,
    /// Its place in the rule; the error target is 1000.
    action: u32,
    reason: String,
    created_at: Timestamp,
    #[serde(flatten)]
    letter: Letter,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Letter {
    Row(Box<Row>),
    /// Every row of the messages from one offset up to and without another, which the log had to drop.
    Range {
        from: Offset,
        to: Offset,
    },
}

#[derive(Serialize)]
struct Row {
    offset: Offset,
    row: u32,
    topic: String,
    product: Option<String>,
    device: Option<String>,
    /// Of the message that the rule read.
    accepted_at: Timestamp,
    qos: u8,
    hop: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
    payload_bytes: usize,
    #[serde(flatten)]
    contents: Option<Contents>,
}

/// Shown of one dead letter, not of many.
#[derive(Serialize)]
struct Contents {
    /// The settings that the rule computed for this row.
    arguments: serde_json::Map<String, serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
    /// Instead of `payload`, when that is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
}

impl Shown {
    fn listed(letter: DeadLetter) -> Self {
        Self::new(letter, false)
    }

    fn whole(letter: DeadLetter) -> Self {
        Self::new(letter, true)
    }

    fn new(letter: DeadLetter, with_contents: bool) -> Self {
        let shown = match letter.kind {
            DeadLetterKind::Range { from, to } => Letter::Range { from, to },
            DeadLetterKind::Row(row) => {
                let contents = with_contents.then(|| {
                    let payload = std::str::from_utf8(&row.payload).ok().map(ToOwned::to_owned);
                    let payload_base64 = payload.is_none().then(|| STANDARD.encode(&row.payload));
                    let arguments = row.arguments.into_iter().map(|(name, value)| (name, value.into())).collect();
                    Contents { arguments, payload, payload_base64 }
                });
                Letter::Row(Box::new(Row {
                    offset: row.key.offset,
                    row: row.key.row,
                    topic: row.topic,
                    product: row.product,
                    device: row.device,
                    accepted_at: Timestamp(row.accepted_at),
                    qos: row.qos,
                    hop: row.hop,
                    failure: row.failure,
                    payload_bytes: row.payload.len(),
                    contents,
                }))
            }
        };
        Self {
            id: letter.id,
            rule: letter.rule,
            action: letter.action,
            reason: letter.reason,
            created_at: letter.created_at,
            letter: shown,
        }
    }
}

async fn list(
    State(hub): State<Hub>,
    QueryParams(Page { rule, after, limit }): QueryParams<Page>,
) -> Result<Json<List<Shown>>, ApiError> {
    let (letters, total) = dead_letters::list(&hub.broker, rule.as_ref(), after, limit).await?;
    Ok(Json(List { items: letters.into_iter().map(Shown::listed).collect(), total }))
}

async fn describe(State(hub): State<Hub>, PathParams(id): PathParams<i64>) -> Result<Json<Shown>, ApiError> {
    Ok(Json(Shown::whole(dead_letters::get(&hub.broker, id).await?)))
}

async fn remove(State(hub): State<Hub>, PathParams(id): PathParams<i64>) -> Result<StatusCode, ApiError> {
    dead_letters::delete(&hub.broker, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Replay {
    ids: Option<Vec<i64>>,
    rule: Option<RuleName>,
}

#[derive(Serialize)]
struct Outcome {
    replayed: u64,
    failed: u64,
    /// Why the first that failed did.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

async fn replay(
    State(hub): State<Hub>,
    JsonBody(Replay { ids, rule }): JsonBody<Replay>,
) -> Result<Json<Outcome>, ApiError> {
    let selection = match (ids, rule) {
        (Some(ids), None) => Selection::Ids(ids),
        (None, Some(rule)) => Selection::Rule(rule),
        _ => return Err(ApiError::invalid("give either ids or rule")),
    };
    let Replayed { replayed, failed, error } = dead_letters::replay(&hub.broker, selection).await?;
    Ok(Json(Outcome { replayed, failed, error }))
}
