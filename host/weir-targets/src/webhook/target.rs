//! Rows to requests, answers to outcomes.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures::{StreamExt, stream};
use reqwest::{
    Response, StatusCode, Url,
    header::{CONTENT_TYPE, DATE, HeaderMap, RETRY_AFTER},
};
use weir_core::{
    Timestamp,
    seams::{BoxFuture, Delivery, IdempotenceKey, Outcome, Target},
};

use super::{
    body::body,
    client::{Clients, refusal, root_cause},
    config::{Config, URL, parse_url},
    signature::{nonce, signature},
};

/// Devices whose rows are sent at the same time.
pub(super) const LANES: usize = 8;

/// Bytes of an answer that are read, so that its connection can be used again.
const ANSWER_BYTES: usize = 64 << 10;

pub(super) struct WebhookTarget {
    pub(super) config: Config,
    pub(super) clients: Clients,
    /// Whether the rule may reach loopback and private addresses.
    pub(super) private: bool,
    pub(super) now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

impl Target for WebhookTarget {
    /// The rows of a device go one after the other. Once the receiver is found unavailable, no further row is sent, of
    /// any device: it would cost a time-out each, and overtake the one that waits.
    fn write<'a>(&'a self, rows: &'a [Delivery]) -> BoxFuture<'a, Vec<Outcome>> {
        Box::pin(async move {
            let unavailable = OnceLock::new();
            let mut outcomes: Vec<(usize, Outcome)> = stream::iter(lanes(rows))
                .map(|lane| self.write_lane(rows, lane, &unavailable))
                .buffer_unordered(LANES)
                .map(stream::iter)
                .flatten()
                .collect()
                .await;
            outcomes.sort_unstable_by_key(|(index, _)| *index);
            outcomes.into_iter().map(|(_, outcome)| outcome).collect()
        })
    }
}

impl WebhookTarget {
    async fn write_lane(
        &self,
        rows: &[Delivery],
        lane: Vec<usize>,
        unavailable: &OnceLock<Outcome>,
    ) -> Vec<(usize, Outcome)> {
        let mut outcomes = Vec::with_capacity(lane.len());
        for index in lane {
            let Some(row) = rows.get(index) else { continue };
            let outcome = match unavailable.get() {
                Some(outcome) => outcome.clone(),
                None => self.post(row).await.unwrap_or_else(|refused| refused),
            };
            if matches!(outcome, Outcome::Unavailable { .. }) {
                unavailable.get_or_init(|| outcome.clone());
            }
            outcomes.push((index, outcome));
        }
        outcomes
    }

    async fn post(&self, row: &Delivery) -> Result<Outcome, Outcome> {
        let rejected = |reason: String| Outcome::Rejected { reason, retry: false };
        let url: Url = match &self.config.url {
            Some(url) => url.clone(),
            None => {
                let text = crate::value(None, row, URL).ok_or_else(|| rejected("the row has no url".to_owned()))?;
                parse_url(text).map_err(|reason| rejected(format!("{URL}: {reason}")))?
            }
        };
        let client = self.clients.of(&url, self.private).map_err(|refusal| rejected(refusal.to_string()))?;
        let mut request = client
            .post(url)
            .timeout(self.config.timeout)
            .header(CONTENT_TYPE, "application/json")
            .header("Idempotency-Key", idempotency_key(&row.key))
            .body(body(row));
        if let Some(token) = &self.config.token {
            let unavailable = |reason: getrandom::Error| Outcome::Unavailable {
                reason: format!("no random numbers: {reason}"),
                retry_after: None,
            };
            let (timestamp, nonce) = ((self.now)().seconds().to_string(), nonce().map_err(unavailable)?);
            request = request
                .header("Signature", signature(token, &timestamp, &nonce))
                .header("Timestamp", timestamp)
                .header("Nonce", nonce);
        }
        match request.send().await {
            Ok(answer) => Ok(read(answer).await),
            Err(error) => Err(self.failure(&error)),
        }
    }

    fn failure(&self, error: &reqwest::Error) -> Outcome {
        if let Some(refusal) = refusal(error) {
            return Outcome::Rejected { reason: refusal.to_string(), retry: false };
        }
        if error.is_builder() {
            return Outcome::Rejected { reason: "the request cannot be made".to_owned(), retry: false };
        }
        let reason = if error.is_timeout() {
            format!("no answer within {}", humantime::format_duration(self.config.timeout))
        } else if error.is_connect() {
            format!("cannot connect: {}", root_cause(error))
        } else {
            format!("the request failed: {}", root_cause(error))
        };
        Outcome::Unavailable { reason, retry_after: None }
    }
}

/// Which rows each device has, in the order in which the devices appear. Rows without a device are one lane.
fn lanes(rows: &[Delivery]) -> Vec<Vec<usize>> {
    let mut lanes: Vec<Vec<usize>> = Vec::new();
    let mut places = HashMap::new();
    for (index, row) in rows.iter().enumerate() {
        let place = *places.entry((row.product.as_deref(), row.device.as_deref())).or_insert(lanes.len());
        match lanes.get_mut(place) {
            Some(lane) => lane.push(index),
            None => lanes.push(vec![index]),
        }
    }
    lanes
}

/// Names the row for ever, so that a receiver can tell a repetition.
fn idempotency_key(key: &IdempotenceKey) -> String {
    format!("{}/{}/{}", key.rule, key.offset, key.row)
}

async fn read(mut answer: Response) -> Outcome {
    let outcome = outcome(answer.status(), answer.headers());
    // What the answer says does not matter, nor whether it ends well; a connection that has more to say is closed.
    let mut size = 0;
    while let Ok(Some(chunk)) = answer.chunk().await {
        size += chunk.len();
        if size > ANSWER_BYTES {
            break;
        }
    }
    outcome
}

fn outcome(status: StatusCode, headers: &HeaderMap) -> Outcome {
    if status.is_success() {
        return Outcome::Delivered;
    }
    let reason = format!("the receiver answered {status}");
    let busy = matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
    if busy || status.is_server_error() {
        return Outcome::Unavailable { reason, retry_after: retry_after(headers) };
    }
    let reason = if status.is_redirection() { format!("{reason}; redirects are not followed") } else { reason };
    Outcome::Rejected { reason, retry: true }
}

/// Seconds, or a date that is compared with the receiver's own clock (RFC 9110 §10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let now = httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()?;
    Some(httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default())
}
