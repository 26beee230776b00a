//! Dead letters: tasks that failed because every holder vanished with them. They can be looked at and replayed.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use ghost_core::broker::Query;
use ghost_core::lifecycle::{DELIVERIES_EXHAUSTED, State as Stands};
use ghost_service::door::Problem;
use serde::Deserialize;
use serde_json::Value;

use super::App;
use super::answer::{Located, View, located, not_advanced};
use super::ask::{Asked, Name};
use super::tasks::page;

/// Which page, and how to show them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listed {
    limit: Option<usize>,
    offset: Option<u32>,
    #[serde(default)]
    view: View,
}

pub(super) async fn list(State(app): App, Asked(listed): Asked<Listed>) -> Result<Json<Value>, Problem> {
    let query =
        Query { failure: Some(DELIVERIES_EXHAUSTED.to_owned()), ..page(listed.limit, listed.offset)? };
    Ok(Json(app.page(query, listed.view).await?))
}

pub(super) async fn replay(State(app): App, name: Name) -> Result<Located, Problem> {
    let record = app.find(&name).await?;
    match &record.state {
        Stands::Failed(failure) if failure.code == DELIVERIES_EXHAUSTED => {}
        _ => {
            let words =
                format!("the task is no dead letter but {}; only those are replayed here", record.status());
            return Err(Problem::new(StatusCode::CONFLICT, "not_a_dead_letter", words));
        }
    }
    let record = app.handle.retry(&record.key).await.map_err(not_advanced)?;
    Ok(located(StatusCode::ACCEPTED, &record, View::Result))
}
