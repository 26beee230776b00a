//! What callers ask: the task that a path names, the parameters of a query, and the patience of whoever waits.

use std::time::Duration;

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use ghost_core::broker::{self, MAX_BATCH, patiently};
use ghost_core::id::{TaskId, TaskKey};
use ghost_core::lifecycle::Record;
use ghost_service::door::Problem;
use serde::de::DeserializeOwned;

use super::answer::{no_task, store};
use super::{MAX_WAIT_SECONDS, Shared};

/// The name of a task in a path: its id, or `RUN/ID` with the slash as `%2F`.
#[derive(Debug, Clone)]
pub(super) struct Name {
    /// Read as an id.
    id: TaskId,
    /// Read as the id within a run.
    of_run: Option<TaskKey>,
}

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let bad = |words: String| Problem::new(StatusCode::BAD_REQUEST, "invalid_id", words);
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|error| bad(format!("the path names no task: {error}")))?;
        let of_run = text
            .split_once('/')
            .and_then(|(batch, id)| Some(TaskKey { batch: Some(batch.parse().ok()?), id: id.parse().ok()? }));
        match (text.parse(), of_run) {
            (Ok(id), of_run) => Ok(Self { id, of_run }),
            (Err(_), Some(key)) => Ok(Self { id: key.id.clone(), of_run: Some(key) }),
            (Err(error), None) => Err(bad(error.to_string())),
        }
    }
}

impl Shared {
    /// The task that a caller means.
    pub(super) async fn find(&self, name: &Name) -> Result<Record, Problem> {
        for key in [Some(TaskKey::lone(name.id.clone())), name.of_run.clone()].into_iter().flatten() {
            if let Some(record) = patiently(|| self.broker().get(&key)).await.map_err(store)? {
                return Ok(record);
            }
        }
        let query = broker::Query { id: Some(name.id.clone()), limit: MAX_BATCH, ..broker::Query::default() };
        let mut found = patiently(|| self.broker().list(&query)).await.map_err(store)?;
        match (found.pop(), &found[..]) {
            (Some(record), []) => Ok(record),
            (None, _) => Err(no_task()),
            (Some(_), _) => {
                let words = format!("several runs have a task {}; name it as RUN%2FID", name.id);
                Err(Problem::new(StatusCode::CONFLICT, "ambiguous_id", words))
            }
        }
    }

    /// The task once it is settled, or as it stands when its caller has waited long enough.
    pub(super) async fn waited(&self, record: Record, patience: Duration) -> Result<Record, Problem> {
        if patience.is_zero() || record.status().is_settled() {
            return Ok(record);
        }
        let _place = self.watcher()?;
        let settled = tokio::time::timeout(patience, self.handle.wait(&record.key));
        if let Some(Ok(Ok(settled))) = self.shutdown.run_until_cancelled(settled).await {
            return Ok(settled);
        }
        patiently(|| self.broker().get(&record.key)).await.map_err(store)?.ok_or_else(no_task)
    }
}

/// The parameters of a query; unknown ones are refused, since a mistyped filter would find too much.
#[derive(Debug)]
pub(super) struct Asked<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(asked)) => Ok(Self(asked)),
            Err(error) => Err(bad_query(error.body_text())),
        }
    }
}

pub(super) fn bad_query(words: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid_query", words)
}

/// How long a caller wants to wait, from the `wait` of its query.
pub(super) fn patience(seconds: Option<f64>) -> Result<Duration, Problem> {
    match seconds {
        None => Ok(Duration::ZERO),
        Some(seconds) if (0.0..=MAX_WAIT_SECONDS).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        Some(_) => Err(bad_query(format!("wait is 0 to {MAX_WAIT_SECONDS} seconds"))),
    }
}

/// Refuses a body that is not said to be JSON: a page of another origin may send any other kind unasked.
pub(super) fn json_only(headers: &HeaderMap, what: &str) -> Result<(), Problem> {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json")) {
        return Ok(());
    }
    let words = format!("send {what} as JSON, with `Content-Type: application/json`");
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", words))
}
