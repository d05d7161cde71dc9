//! What is published for a device: as server-sent events, or as a list that is waited for.
//!
//! Nothing is buffered for a reader: its place is an offset of the log, which it is told with each message and may come
//! back with (`Last-Event-ID`, `?after=`). What the log has dropped by then is gone.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Extension, Json,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::stream;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};
use weir_broker::Tail;
use weir_core::{DeviceId, ErrorKind, Offset, TopicFilter, topic::TopicError};

use super::{
    Named,
    credentials::{Proof, prove},
};
use crate::{
    error::ApiError,
    extract::query,
    gateway::{Gate, Peer, Proved},
    v1::tail::write_line,
};

/// Bytes of events that are made before the reader is waited for again; one more message may go beyond it.
const CHUNK_BYTES: usize = 64 * 1024;

/// How often a reader to whom nothing happens is told so, and how often it is asked whether it still may read.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// The longest that a list is waited for; less than the time that a request may take.
const LONGEST_WAIT: u64 = 25;

/// Messages of one list.
const MOST: usize = 1_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Follow {
    /// `PRODUCT/DEVICE/control` without it.
    filter: Option<TopicFilter>,
    /// Only what has a higher offset; what is published from now on without it.
    after: Option<u64>,
    /// Seconds that a list is waited for.
    #[serde(default = "usual_wait")]
    wait: u64,
    /// Messages of a list.
    #[serde(default = "usual_limit")]
    limit: usize,
}

fn usual_wait() -> u64 {
    20
}

fn usual_limit() -> usize {
    100
}

#[derive(Serialize)]
struct Messages {
    messages: Vec<Box<RawValue>>,
    /// To be given as `after` next time.
    next: Offset,
}

pub(super) async fn follow(
    State(gate): State<Arc<Gate>>,
    Extension(peer): Extension<Peer>,
    Extension(proved): Extension<Proved>,
    Named(device): Named<DeviceId>,
    uri: axum::http::Uri,
    headers: HeaderMap,
) -> Response {
    let begun = begin(&gate, peer, proved, &device, &uri, &headers);
    let answered = match begun {
        Ok(Begun { reader, by_events: true, .. }) => Ok(events(reader)),
        Ok(Begun { reader, wait, limit, .. }) => list(reader, wait, limit).await.map(IntoResponse::into_response),
        Err(error) => Err(error),
    };
    gate.counted(answered).into_response()
}

struct Begun {
    reader: Reader,
    by_events: bool,
    wait: Duration,
    limit: usize,
}

/// One reader and its place.
struct Reader {
    gate: Arc<Gate>,
    proof: Proof,
    tail: Tail,
    /// The first offset that it has not seen.
    next: Offset,
}

fn begin(
    gate: &Arc<Gate>,
    peer: Peer,
    proved: Proved,
    device: &DeviceId,
    uri: &axum::http::Uri,
    headers: &HeaderMap,
) -> Result<Begun, ApiError> {
    let proof = prove(gate, peer, proved, headers, device)?;
    let Follow { filter, after, wait, limit } = query(uri)?;
    let own = || format!("{device}/control").parse().map_err(|error: TopicError| ApiError::invalid(error.to_string()));
    let filter = match filter {
        Some(filter) => filter,
        None => own()?,
    };
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()?.parse().ok());
    let after = last.or(after).map(|after: u64| Offset(after.saturating_add(1)));
    let tail = gate.broker.tail_from(&proof.principal, filter, after)?;
    let next = after.unwrap_or_else(|| gate.broker.log().appended());
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let reader = Reader { gate: Arc::clone(gate), proof, tail, next };
    let wait = Duration::from_secs(wait.min(LONGEST_WAIT));
    Ok(Begun { reader, by_events: accepted.contains("text/event-stream"), wait, limit: limit.clamp(1, MOST) })
}

fn events(reader: Reader) -> Response {
    let events = stream::unfold(Some(reader), |reader| async move {
        let mut reader = reader?;
        match reader.events().await {
            Ok(Some(events)) => Some((Ok::<_, Infallible>(events), Some(reader))),
            Ok(None) => None,
            Err(error) => Some((Ok(Bytes::from(format!("event: error\ndata: {}\n\n", error.body()))), None)),
        }
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, Body::from_stream(events)).into_response()
}

impl Reader {
    /// The next events; a comment where there are none for a while. `None`: the hub drains.
    async fn events(&mut self) -> Result<Option<Bytes>, ApiError> {
        let broker = self.gate.broker.clone();
        let found = tokio::select! {
            biased;
            () = broker.until_draining() => return Ok(None),
            found = self.read(Instant::now() + HEARTBEAT, usize::MAX) => found?,
        };
        if !self.proof.holds(&broker) {
            return Err(ApiError::new(ErrorKind::Unauthenticated, "the credentials are good no more"));
        }
        if found.is_empty() {
            return Ok(Some(Bytes::from_static(b": nothing new\n\n")));
        }
        let mut events = Vec::new();
        for (offset, line) in found {
            events.extend_from_slice(format!("id: {}\ndata: ", offset.0).as_bytes());
            events.extend(line);
            events.extend_from_slice(b"\n\n");
        }
        Ok(Some(events.into()))
    }

    /// Messages of one frame from the reader's place on, or none by `until`.
    async fn read(&mut self, until: Instant, limit: usize) -> Result<Vec<(Offset, Vec<u8>)>, ApiError> {
        let Ok(read) = timeout_at(until, self.tail.next()).await else { return Ok(Vec::new()) };
        let (frame, rows) = read.map_err(|error| ApiError::new(ErrorKind::Unavailable, error.to_string()))?;
        let mut found = Vec::new();
        for row in rows {
            let row = row as usize;
            let offset = Offset(frame.records.offset.value(row));
            if offset < self.next {
                continue;
            }
            if found.len() >= limit {
                break;
            }
            let mut line = Vec::new();
            write_line(&mut line, &frame.records, row);
            // Without its end.
            line.pop();
            self.next = offset.plus(1);
            found.push((offset, line));
        }
        Ok(found)
    }
}

/// Waits for the first messages, and gives what is there then.
async fn list(mut reader: Reader, wait: Duration, limit: usize) -> Result<Json<Messages>, ApiError> {
    let broker = reader.gate.broker.clone();
    let until = Instant::now() + wait;
    let (mut messages, mut bytes) = (Vec::new(), 0);
    loop {
        // Once there is something, only what is there already is added.
        let until = if messages.is_empty() { until } else { Instant::now() };
        let found = tokio::select! {
            biased;
            () = broker.until_draining() => break,
            found = reader.read(until, limit.saturating_sub(messages.len())) => found?,
        };
        let nothing = found.is_empty();
        for (_, line) in found {
            bytes += line.len();
            let line = String::from_utf8(line).ok().and_then(|line| RawValue::from_string(line).ok());
            messages.extend(line);
        }
        if messages.len() >= limit || bytes >= CHUNK_BYTES || nothing && Instant::now() >= until {
            break;
        }
    }
    let next = Offset(reader.next.0.saturating_sub(1));
    Ok(Json(Messages { messages, next }))
}
