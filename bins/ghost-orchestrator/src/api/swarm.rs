//! What the swarm knows of itself: its agents, its queue, its statistics.

use axum::Json;
use axum::extract::State;
use ghost_core::broker::patiently;
use ghost_core::stats::Statistics;
use ghost_core::task::Status;
use ghost_service::door::Problem;
use serde_json::{Map, Value, json};

use super::App;
use super::answer::store;

pub(super) async fn agents(State(app): App) -> Result<Json<Value>, Problem> {
    let agents = patiently(|| app.broker().agents()).await.map_err(store)?;
    Ok(Json(json!({ "agents": agents })))
}

pub(super) async fn queue(State(app): App) -> Result<Json<Value>, Problem> {
    let tally = patiently(|| app.broker().tally(None)).await.map_err(store)?;
    let count = |status: Status| tally.iter().find(|(of, _)| *of == status).map_or(0, |(_, n)| *n);
    let tasks: Map<String, Value> =
        Status::ALL.into_iter().map(|status| (status.name().to_owned(), count(status).into())).collect();
    Ok(Json(json!({ "tasks": tasks })))
}

pub(super) async fn stats(State(app): App) -> Result<Json<Value>, Problem> {
    let counters = patiently(|| app.broker().counters()).await.map_err(store)?;
    Ok(Json(json!(Statistics::from(&counters))))
}
