//! Tasks that were accepted: shown, listed, withdrawn, and taken up again.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use ghost_core::broker::{AdvanceError, Query, patiently};
use ghost_core::id::BatchId;
use ghost_core::lifecycle::Refusal;
use ghost_core::task::Status;
use ghost_service::door::Problem;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Located, View, located, no_task, not_advanced, store};
use super::ask::{Asked, Name, bad_query, patience};
use super::{App, MAX_PAGE, Shared};

/// Records that the store hands over at once: each may have megabytes.
const AT_ONCE: usize = 50;
/// A page is full where it has this many bytes.
const PAGE_BYTES: usize = 8 << 20;
const DEFAULT_PAGE: usize = 100;

/// How to show one task.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Look {
    wait: Option<f64>,
    #[serde(default)]
    view: View,
}

pub(super) async fn show(
    State(app): App,
    name: Name,
    Asked(look): Asked<Look>,
) -> Result<Json<Value>, Problem> {
    let patience = patience(look.wait)?;
    let record = app.waited(app.find(&name).await?, patience).await?;
    Ok(Json(look.view.of(&record)))
}

pub(super) async fn cancel(State(app): App, name: Name) -> Result<Json<Value>, Problem> {
    let record = app.find(&name).await?;
    match app.handle.cancel(&record.key).await {
        Ok(record) => Ok(Json(View::Result.of(&record))),
        // It is as was asked; whoever did not hear so the first time may ask again.
        Err(AdvanceError::Refused(Refusal::Settled(Status::Cancelled))) => {
            let record = patiently(|| app.broker().get(&record.key)).await.map_err(store)?;
            Ok(Json(View::Result.of(&record.ok_or_else(no_task)?)))
        }
        Err(error) => Err(not_advanced(error)),
    }
}

pub(super) async fn retry(State(app): App, name: Name) -> Result<Located, Problem> {
    let record = app.find(&name).await?;
    let record = app.handle.retry(&record.key).await.map_err(not_advanced)?;
    Ok(located(StatusCode::ACCEPTED, &record, View::Result))
}

/// Which tasks to list, and how to show them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listed {
    status: Option<Status>,
    batch: Option<BatchId>,
    limit: Option<usize>,
    offset: Option<u32>,
    #[serde(default)]
    view: View,
}

pub(super) async fn list(State(app): App, Asked(listed): Asked<Listed>) -> Result<Json<Value>, Problem> {
    let Listed { status, batch, limit, offset, view } = listed;
    let query = Query { batch, status, ..page(limit, offset)? };
    let tally = patiently(|| app.broker().tally(batch)).await.map_err(store)?;
    let total: u64 =
        tally.iter().filter(|(of, _)| status.is_none_or(|status| status == *of)).map(|(_, n)| n).sum();
    let mut found = app.page(query, view).await?;
    found["total"] = json!(total);
    Ok(Json(found))
}

/// The part of a query that says which page.
pub(super) fn page(limit: Option<usize>, offset: Option<u32>) -> Result<Query, Problem> {
    let limit = limit.unwrap_or(DEFAULT_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(bad_query(format!("limit is 1 to {MAX_PAGE}")));
    }
    Ok(Query { limit, offset: offset.unwrap_or(0) as usize, ..Query::default() })
}

impl Shared {
    /// One page, and where the next one begins if there may be one.
    pub(super) async fn page(&self, query: Query, view: View) -> Result<Value, Problem> {
        let (mut tasks, mut bytes, mut more) = (Vec::new(), 0, true);
        while more && tasks.len() < query.limit && bytes < PAGE_BYTES {
            let limit = AT_ONCE.min(query.limit - tasks.len());
            let some = Query { limit, offset: query.offset + tasks.len(), ..query.clone() };
            let records = patiently(|| self.broker().list(&some)).await.map_err(store)?;
            more = records.len() == limit;
            for record in &records {
                let task = view.of(record);
                bytes += task.to_string().len();
                tasks.push(task);
            }
        }
        let next_offset = more.then(|| query.offset + tasks.len());
        Ok(json!({ "tasks": tasks, "next_offset": next_offset }))
    }
}
