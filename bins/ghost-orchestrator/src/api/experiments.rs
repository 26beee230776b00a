//! Experiments: started, watched, stopped. Every orchestrator of the swarm shows the same.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::header::LOCATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use ghost_core::broker::patiently;
use ghost_core::experiment::{Definition, Error, Experiment, Report, store};
use ghost_service::door::Problem;
use serde_json::error::Category;
use serde_json::{Value, json};

use super::answer;
use super::ask::json_only;
use super::{App, Shared};

pub(super) async fn list(State(app): App) -> Result<Json<Value>, Problem> {
    let experiments = patiently(|| store::all(app.broker())).await.map_err(answer::store)?;
    Ok(Json(json!({ "experiments": app.reports(&experiments).await? })))
}

/// The name in a path. One that no experiment can have names none.
pub(super) struct Named(String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(name)) => Ok(Self(name)),
            Err(error) => {
                let words = format!("the path names no experiment: {error}");
                Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_id", words))
            }
        }
    }
}

/// An experiment, and where it is found from now on.
type Located = (StatusCode, [(HeaderName, String); 1], Json<Value>);

pub(super) async fn start(State(app): App, headers: HeaderMap, body: Bytes) -> Result<Located, Problem> {
    json_only(&headers, "the experiment")?;
    let definition = Definition::parse(&body).map_err(problem)?;
    let (experiment, new) = store::start(app.broker(), definition).await.map_err(problem)?;
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    // A name has nothing that a path would have to hide.
    let location = format!("/v1/experiments/{}", experiment.definition.name);
    Ok((status, [(LOCATION, location)], app.report(&experiment).await?))
}

pub(super) async fn show(State(app): App, Named(name): Named) -> Result<Json<Value>, Problem> {
    let experiment = store::find(app.broker(), &name).await.map_err(problem)?;
    app.report(&experiment).await
}

pub(super) async fn stop(State(app): App, Named(name): Named) -> Result<Json<Value>, Problem> {
    let experiment = store::stop(app.broker(), &name).await.map_err(problem)?;
    app.report(&experiment).await
}

impl Shared {
    async fn report(&self, experiment: &Experiment) -> Result<Json<Value>, Problem> {
        let reports = self.reports(std::slice::from_ref(experiment)).await?;
        Ok(Json(json!(reports[0])))
    }

    async fn reports(&self, experiments: &[Experiment]) -> Result<Vec<Report>, Problem> {
        let counters = patiently(|| self.broker().counters()).await.map_err(answer::store)?;
        Ok(experiments.iter().map(|experiment| Report::of(experiment, &counters)).collect())
    }
}

fn problem(error: Error) -> Problem {
    let (status, code) = match error {
        Error::Broker(error) => return answer::store(error),
        Error::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
        Error::Json(ref error) if error.classify() != Category::Data => {
            (StatusCode::BAD_REQUEST, "invalid_json")
        }
        Error::Json(_) | Error::Field { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_experiment"),
        Error::Running(_) => (StatusCode::CONFLICT, "experiment_running"),
        Error::Taken(_) => (StatusCode::CONFLICT, "name_taken"),
        Error::Unknown(_) => (StatusCode::NOT_FOUND, "experiment_not_found"),
    };
    Problem::new(status, code, error.to_string())
}
