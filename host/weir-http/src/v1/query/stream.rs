//! Results while they are made. Dropping the body ends the query.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use arrow::{array::RecordBatch, error::ArrowError, ipc::writer::StreamWriter};
use axum::body::Body;
use bytes::Bytes;
use futures::stream;
use serde_json::json;
use tokio::{sync::OwnedSemaphorePermit, time::Interval};
use weir_core::{
    ErrorKind,
    history::{QueryRun, ScanProgress},
    seams::QueryError,
};

use super::{cells, rendered};
use crate::{error::ApiError, router::Hub};

/// How often a client is told how far its query is.
const PROGRESS: Duration = Duration::from_millis(250);

/// A query that is being answered.
pub(super) struct Running {
    pub(super) run: Box<dyn QueryRun>,
    pub(super) progress: Arc<ScanProgress>,
    pub(super) rows: usize,
    /// Rows of the result at the most.
    pub(super) limit: usize,
    /// Given back when the answer ends.
    pub(super) _place: OwnedSemaphorePermit,
    pub(super) hub: Hub,
}

impl Running {
    /// The next rows. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Result<RecordBatch, QueryError>> {
        let token = self.hub.drain.token().clone();
        let batch = tokio::select! {
            biased;
            () = token.cancelled() => return Some(Err(QueryError::Unavailable("the hub is draining".to_owned()))),
            batch = self.run.next() => batch?,
        };
        if let Ok(batch) = &batch {
            self.rows += batch.num_rows();
            if self.rows > self.limit {
                let limit = self.limit;
                let message = format!("the result has more than the limit of {limit} rows: add LIMIT");
                return Some(Err(QueryError::LimitExceeded(message)));
            }
        }
        Some(batch)
    }
}

/// One JSON document for each step: `{"columns":[…]}` first, then `{"rows":[…]}` and `{"progress":{…}}`, and at last
/// `{"scan":{…}}` or `{"error":{…}}`.
pub(super) fn lines(running: Running) -> Body {
    let columns = format!("{{\"columns\":{}}}\n", cells::columns(&running.run.schema()));
    let state = Some(Lines { running, first: Some(columns.into()), tick: ticks() });
    Body::from_stream(stream::unfold(state, |state| async move {
        let mut state = state?;
        let (line, is_last) = state.next().await;
        Some((Ok::<_, Infallible>(line), (!is_last).then_some(state)))
    }))
}

pub(in super::super) fn ticks() -> Interval {
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + PROGRESS, PROGRESS);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks
}

struct Lines {
    running: Running,
    first: Option<Bytes>,
    tick: Interval,
}

impl Lines {
    /// A line, and whether it is the last.
    async fn next(&mut self) -> (Bytes, bool) {
        if let Some(first) = self.first.take() {
            return (first, false);
        }
        loop {
            let batch = tokio::select! {
                biased;
                batch = self.running.next() => batch,
                _ = self.tick.tick() => {
                    let progress = json!({ "progress": self.running.progress.counts() });
                    return (format!("{progress}\n").into(), false);
                }
            };
            let Some(batch) = batch else {
                let scan = json!({ "scan": self.running.progress.counts() });
                return (format!("{scan}\n").into(), true);
            };
            let rows = match batch {
                Ok(batch) => rendered(batch).await,
                Err(error) => Err(error),
            };
            match rows {
                Ok(rows) if rows.is_empty() => {}
                Ok(rows) => return ([b"{\"rows\":[", rows.as_slice(), b"]}\n"].concat().into(), false),
                Err(error) => return (format!("{}\n", ApiError::from(error).body()).into(), true),
            }
        }
    }
}

/// Arrow's IPC stream.
pub(super) fn arrow(running: Running) -> Result<Body, ApiError> {
    let unwritable = |error: ArrowError| ApiError::new(ErrorKind::Internal, error.to_string());
    let writer = StreamWriter::try_new(Vec::new(), &running.run.schema()).map_err(unwritable)?;
    let state = Some((running, writer));
    Ok(Body::from_stream(stream::unfold(state, |state| async move {
        let (mut running, mut writer) = state?;
        match running.next().await {
            None => {
                let end = writer.finish().map(|()| Bytes::from(std::mem::take(writer.get_mut())));
                Some((end.map_err(io::Error::other), None))
            }
            Some(Ok(batch)) => {
                let written = writer.write(&batch).map(|()| Bytes::from(std::mem::take(writer.get_mut())));
                let is_written = written.is_ok();
                Some((written.map_err(io::Error::other), is_written.then_some((running, writer))))
            }
            Some(Err(error)) => Some((Err(io::Error::other(error)), None)),
        }
    })))
}
