//! Work that takes long, told line by line: `{"progress":{…}}` while it goes on, `{"report":{…}}` or `{"error":{…}}` at
//! last. A client that goes away ends it.

use std::convert::Infallible;

use axum::{
    body::Body,
    http::header,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture, stream};
use serde_json::{Value, json};
use tokio::time::Interval;

use super::query::{LINES, ticks};
use crate::error::ApiError;

pub(super) fn told_by_lines(
    work: impl Future<Output = Result<Value, ApiError>> + Send + 'static,
    progress: impl Fn() -> Value + Send + 'static,
) -> Response {
    let lines = Lines { work: work.boxed(), progress: Box::new(progress), tick: ticks() };
    let body = Body::from_stream(stream::unfold(Some(lines), |lines| async move {
        let mut lines = lines?;
        let (line, is_last) = lines.next().await;
        Some((Ok::<_, Infallible>(line), (!is_last).then_some(lines)))
    }));
    ([(header::CONTENT_TYPE, LINES)], body).into_response()
}

struct Lines {
    work: BoxFuture<'static, Result<Value, ApiError>>,
    progress: Box<dyn Fn() -> Value + Send>,
    tick: Interval,
}

impl Lines {
    /// A line, and whether it is the last.
    async fn next(&mut self) -> (Bytes, bool) {
        let (line, is_last) = tokio::select! {
            biased;
            done = &mut self.work => match done {
                Ok(report) => (json!({ "report": report }), true),
                Err(error) => (error.body(), true),
            },
            _ = self.tick.tick() => (json!({ "progress": (self.progress)() }), false),
        };
        (format!("{line}\n").into(), is_last)
    }
}
