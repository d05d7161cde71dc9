//! `/v1/tail`: messages as they become durable, one JSON document per line.
//!
//! Nothing is buffered for a reader: its place is a cursor over the log, moved when it reads. One that falls too far
//! behind is told so in a last line and ended, as is one whose key was deleted meanwhile.

use std::convert::Infallible;

use arrow::array::{Array, StringArray};
use axum::{
    Extension,
    body::Body,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures::stream;
use serde::{Deserialize, Serialize};
use weir_broker::{Tail, admin::keys};
use weir_core::{ErrorKind, Principal, Protocol, Timestamp, TopicFilter, schema::Records};

use crate::{
    access::{Access, Caller},
    error::ApiError,
    extract::QueryParams,
    router::{Hub, Route},
};

/// Bytes of lines that are made before the reader is waited for again; one more message may go beyond it.
const CHUNK_BYTES: usize = 64 * 1024;

/// Milliseconds after which the reader's key is looked up again before more is sent.
pub(super) const CHECK_MS: i64 = 5_000;

pub(crate) fn routes() -> Vec<Route> {
    vec![Route::get(Access::Application, "/v1/tail", follow)]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Follow {
    filter: TopicFilter,
}

async fn follow(
    State(hub): State<Hub>,
    Extension(Caller(reader)): Extension<Caller>,
    QueryParams(Follow { filter }): QueryParams<Follow>,
) -> Result<Response, ApiError> {
    let tail = hub.broker.tail(&reader, filter)?;
    let checked_at = hub.broker.clock().now();
    let follower = Follower { hub, reader, tail, checked_at, pending: None };
    let lines = stream::unfold(Some(follower), |follower| async move {
        let mut follower = follower?;
        match follower.next().await {
            Next::Lines(lines) => Some((Ok::<_, Infallible>(lines), Some(follower))),
            Next::Last(error) => Some((Ok(Bytes::from(format!("{}\n", error.body()))), None)),
            Next::End => None,
        }
    });
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}

/// One reader and its place.
struct Follower {
    hub: Hub,
    reader: Principal,
    tail: Tail,
    checked_at: Timestamp,
    pending: Option<Pending>,
}

/// What was read of the log and not sent yet.
struct Pending {
    records: Records,
    rows: std::vec::IntoIter<u32>,
}

enum Next {
    Lines(Bytes),
    /// The reader is ended, and told why.
    Last(ApiError),
    /// The hub drains.
    End,
}

impl Follower {
    async fn next(&mut self) -> Next {
        if self.pending.as_ref().is_none_or(|pending| pending.rows.len() == 0) {
            let read = tokio::select! {
                biased;
                () = self.hub.drain.token().cancelled() => return Next::End,
                read = self.tail.next() => read,
            };
            match read {
                Ok((frame, rows)) => {
                    self.pending = Some(Pending { records: Records::clone(&frame.records), rows: rows.into_iter() });
                }
                Err(error) => return Next::Last(ApiError::new(ErrorKind::Unavailable, error.to_string())),
            }
        }
        let now = self.hub.broker.clock().now();
        if now.0.saturating_sub(self.checked_at.0) >= CHECK_MS {
            if !keys::in_force(&self.hub.broker, &self.reader) {
                return Next::Last(ApiError::new(ErrorKind::Unauthenticated, "the key was deleted or changed"));
            }
            self.checked_at = now;
        }
        let mut lines = Vec::new();
        if let Some(Pending { records, rows }) = &mut self.pending {
            for row in rows.by_ref() {
                let row = row as usize;
                let limit = self.hub.options.limits.tail_lag;
                let behind = now.0.saturating_sub(records.accepted_at.value(row));
                if u128::try_from(behind).is_ok_and(|behind| behind > limit.as_millis()) {
                    return Next::Last(too_slow(limit.as_secs()));
                }
                write_line(&mut lines, records, row);
                if lines.len() >= CHUNK_BYTES {
                    return Next::Lines(lines.into());
                }
            }
        }
        Next::Lines(lines.into())
    }
}

fn too_slow(seconds: u64) -> ApiError {
    let message = format!("this reader is more than {seconds} seconds behind: read faster, or narrow the filter");
    ApiError::new(ErrorKind::Throttled, message)
}

/// A message, as readers see it.
#[derive(Serialize)]
pub(super) struct Line<'a> {
    offset: u64,
    time: i64,
    topic: &'a str,
    product: Option<&'a str>,
    device: Option<&'a str>,
    publisher: &'a str,
    protocol: &'static str,
    qos: u8,
    retain: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
    /// Instead of `payload`, when that is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
}

fn write_line(lines: &mut Vec<u8>, records: &Records, row: usize) {
    // Writing texts and numbers to memory cannot fail.
    let _written = serde_json::to_writer(&mut *lines, &line(records, row));
    lines.push(b'\n');
}

pub(super) fn line(records: &Records, row: usize) -> Line<'_> {
    let bytes = records.payload.value(row);
    let payload = std::str::from_utf8(bytes).ok();
    Line {
        offset: records.offset.value(row),
        time: records.accepted_at.value(row),
        topic: records.topic.value(row),
        product: optional(&records.product, row),
        device: optional(&records.device, row),
        publisher: records.publisher.value(row),
        protocol: Protocol::from_u8(records.protocol.value(row)).map_or("unknown", Protocol::as_str),
        qos: records.qos.value(row),
        retain: records.retain.value(row),
        payload,
        payload_base64: payload.is_none().then(|| STANDARD.encode(bytes)),
    }
}

fn optional(column: &StringArray, row: usize) -> Option<&str> {
    column.is_valid(row).then(|| column.value(row))
}
