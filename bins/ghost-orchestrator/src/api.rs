//! The HTTP door of the swarm: tasks in and out as JSON, their life as server-sent events, and what the swarm knows of
//! itself. `docs/doors.md` tells it for people, `api/openapi.json` for programs.
//!
//! Who may come in, and how much they may bring, is the [`door`]'s business. Here is what may be asked: of tasks
//! ([`tasks`], [`submit`], [`events`], [`feedback`]), of dead letters ([`dead_letters`]), of experiments ([`experiments`])
//! and of the swarm ([`swarm`]). Everything
//! goes through a [`Handle`]; the door keeps nothing that the broker does not know.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use ghost_core::broker::Broker;
use ghost_service::door::{self, Door, Problem};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::Handle;

mod answer;
mod ask;
mod dead_letters;
mod events;
mod experiments;
mod feedback;
mod submit;
mod swarm;
mod tasks;

/// The OpenAPI document of this door, as it serves it.
pub const OPENAPI: &str = include_str!("api/openapi.json");
/// The most records that one page of a list holds.
pub const MAX_PAGE: usize = 500;
/// The longest that a caller may ask to wait, in seconds.
pub const MAX_WAIT_SECONDS: f64 = 30.0;

const INDEX: &str = "\
Ghost Swarm: one door in front of a swarm of agents.

  POST /v1/tasks              give it a task:  {\"task_type\": \"llm_inference\", \"description\": \"…\"}
  GET  /v1/tasks/ID           how it stands    (?wait=10 waits for its end)
  GET  /v1/tasks/ID/events    its life, live   (server-sent events)
  POST /v1/tasks/ID/feedback  say how good the answer was:  {\"rating\": \"good\"}
  GET  /openapi.json          all of it, for programs
";

/// How the door behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it is (ORCHESTRATOR_HOST, ORCHESTRATOR_PORT), and who may come in. Default: 127.0.0.1:8080.
    pub address: door::Address,
    /// How much callers may hold, and how long they may take.
    pub limits: door::Limits,
    /// How many callers may wait for or watch tasks at once. Default: 256.
    pub watchers: usize,
    /// How often a watched task is looked at though no news came. Default: 1 s.
    pub poll: Duration,
    /// How often a stream says that it is alive. Default: 15 s.
    pub heartbeat: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            address: door::Address {
                host: "127.0.0.1".to_owned(),
                port: 8080,
                settings: ["ORCHESTRATOR_HOST", "ORCHESTRATOR_PORT"],
                token: None,
                allow_anonymous: false,
            },
            limits: door::Limits::default(),
            watchers: 256,
            poll: Duration::from_secs(1),
            heartbeat: Duration::from_secs(15),
        }
    }
}

impl From<&ghost_core::config::Config> for Config {
    fn from(settings: &ghost_core::config::Config) -> Self {
        let default = Self::default();
        let address = door::Address {
            host: settings.orchestrator.host.clone(),
            port: settings.orchestrator.port,
            token: settings.service.api_token.clone(),
            allow_anonymous: settings.service.allow_anonymous,
            ..default.address
        };
        Self { address, ..default }
    }
}

/// What the door works with.
#[derive(Clone)]
pub struct Deps {
    /// The way to the orchestrator behind it.
    pub handle: Handle,
    /// Routes that ask for no token, as of health checks; none where it is empty.
    pub open: Router,
}

/// The door, which listens and lets nobody in yet.
pub struct Api {
    config: Config,
    deps: Deps,
    door: Door,
}

impl Api {
    /// A door over these.
    ///
    /// # Errors
    /// [`door::Error`] where its address is taken, or open to strangers without a token.
    pub async fn build(config: Config, deps: Deps) -> Result<Self, door::Error> {
        let door = Door::open(&config.address, config.limits).await?;
        info!("the orchestrator listens on http://{}", door.address());
        Ok(Self { config, deps, door })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.door.address()
    }

    /// Answers until `shutdown`; then streams end, and whoever waits is told how its task stands.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self { config, deps, door } = self;
        door.serve(router(deps.handle, config, shutdown.clone()), deps.open, shutdown).await;
    }
}

/// What all requests share.
struct Shared {
    handle: Handle,
    config: Config,
    watchers: Arc<Semaphore>,
    shutdown: CancellationToken,
}

type App = State<Arc<Shared>>;

/// Every route of the door, without its guard. Who waits or watches stops with `shutdown`.
pub fn router(handle: Handle, config: Config, shutdown: CancellationToken) -> Router {
    let watchers = Arc::new(Semaphore::new(config.watchers));
    let shared = Arc::new(Shared { handle, config, watchers, shutdown });
    let mut router = Router::new();
    for (path, methods) in routes() {
        router = router.route(path, methods);
    }
    router.fallback(nothing_here).method_not_allowed_fallback(not_that_way).with_state(shared)
}

/// Every path that there is.
pub fn paths() -> Vec<&'static str> {
    routes().into_iter().map(|(path, _)| path).collect()
}

fn routes() -> Vec<(&'static str, MethodRouter<Arc<Shared>>)> {
    vec![
        ("/", get(index)),
        ("/openapi.json", get(openapi)),
        ("/v1/tasks", post(submit::submit).get(tasks::list)),
        ("/v1/tasks/{id}", get(tasks::show).delete(tasks::cancel)),
        ("/v1/tasks/{id}/retry", post(tasks::retry)),
        ("/v1/tasks/{id}/events", get(events::watch)),
        ("/v1/tasks/{id}/feedback", post(feedback::rate)),
        ("/v1/dead-letters", get(dead_letters::list)),
        ("/v1/dead-letters/{id}/replay", post(dead_letters::replay)),
        ("/v1/experiments", get(experiments::list).post(experiments::start)),
        ("/v1/experiments/{id}", get(experiments::show)),
        ("/v1/experiments/{id}/stop", post(experiments::stop)),
        ("/v1/agents", get(swarm::agents)),
        ("/v1/queue", get(swarm::queue)),
        ("/v1/stats", get(swarm::stats)),
    ]
}

async fn index() -> Response {
    ([(CONTENT_TYPE, "text/plain; charset=utf-8")], INDEX).into_response()
}

async fn openapi() -> Response {
    ([(CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

async fn nothing_here(uri: Uri) -> Problem {
    let words = format!("there is no {}; /openapi.json lists what there is", uri.path());
    Problem::new(StatusCode::NOT_FOUND, "not_found", words)
}

async fn not_that_way(method: Method, uri: Uri) -> Problem {
    let words = format!("{} does not take {method}; `Allow` and /openapi.json say what it takes", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", words)
}

impl Shared {
    fn broker(&self) -> &dyn Broker {
        &*self.handle.inner.deps.broker
    }

    /// A place among those who wait or watch.
    fn watcher(&self) -> Result<OwnedSemaphorePermit, Problem> {
        self.watchers.clone().try_acquire_owned().map_err(|_| {
            let words = format!(
                "{} callers wait for tasks already; ask without waiting, or try again",
                self.config.watchers
            );
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_watchers", words)
                .after(Duration::from_secs(5))
        })
    }
}
