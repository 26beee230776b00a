//! Serves the model of this process over OpenAI's API: one engine a machine, which any number of workers use through
//! SLM_ENDPOINT, since one large batch is faster than ten small ones.
//!
//! ```text
//! POST /v1/chat/completions ─▶ ask: what is wanted ─▶ the engine ─▶ tell: an answer, whole or as a stream
//!                                └──────── refusal: the same words wherever it fails ────────┘
//! ```
//! Who may come in, and how much they may bring, is the [`door`]'s business; how many may wait is the engine's. Whoever
//! hangs up withdraws the request. `docs/slm-server.md` tells the API for people, with what it adds to OpenAI's.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use ghost_core::config;
use ghost_core::inference::Backend;
use ghost_core::inference::openai_compatible::extension;
use ghost_core::taskmaster::capability::Capability;
use ghost_service::door::{self, Door};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tracing::info;

pub mod ask;
mod refusal;
mod tell;

pub use ask::Asked;
pub use refusal::Refusal;

/// How many requests may wait in the engine; more are told to come back. A few workers with all their tasks.
pub const QUEUE: usize = 128;

/// How the server behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it is (SLM_SERVER_HOST, SLM_SERVER_PORT), and who may come in. Default: 127.0.0.1:8090.
    pub address: door::Address,
    /// How much callers may hold, and how long they may take. Default: 1 MiB, more than any context holds, and 256
    /// requests that have no answer yet, more than the engine takes.
    pub limits: door::Limits,
    /// How long one answer may take. Default: 600 s, as long as OpenAI's own clients wait.
    pub timeout: Duration,
    /// How often a stream says that it is alive. Default: 15 s.
    pub heartbeat: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            address: door::Address {
                host: "127.0.0.1".to_owned(),
                port: 8090,
                settings: ["SLM_SERVER_HOST", "SLM_SERVER_PORT"],
                token: None,
                allow_anonymous: false,
            },
            limits: door::Limits { body_bytes: 1 << 20, requests: 256, ..door::Limits::default() },
            timeout: Duration::from_secs(600),
            heartbeat: Duration::from_secs(15),
        }
    }
}

impl From<&config::Config> for Config {
    fn from(settings: &config::Config) -> Self {
        let default = Self::default();
        let address = door::Address {
            host: settings.slm_server.host.clone(),
            port: settings.slm_server.port,
            token: settings.service.api_token.clone(),
            allow_anonymous: settings.service.allow_anonymous,
            ..default.address
        };
        // Answers in the making are what a drain is for.
        let limits = door::Limits { drain: settings.service.drain, ..default.limits };
        Self { address, limits, ..default }
    }
}

/// What the server works with.
#[derive(Debug, Clone, Default)]
pub struct Deps {
    /// Routes that ask for no token, as of health checks.
    pub open: Router,
}

/// The model that is served.
pub struct Model {
    /// Where it runs.
    pub backend: Arc<dyn Backend>,
    /// What it can do.
    pub capability: Capability,
    /// The most tokens that a prompt and its answer may have together.
    pub context_tokens: u32,
}

/// A server that listens and lets nobody in yet.
pub struct Server {
    door: Door,
    deps: Deps,
    shared: Arc<Shared>,
}

/// The way to a server that runs.
#[derive(Clone)]
pub struct Handle(Arc<Shared>);

/// What all requests share.
struct Shared {
    config: Config,
    /// Empty while it loads.
    model: OnceLock<Served>,
}

/// The model, and since when.
struct Served {
    model: Model,
    since: u64,
}

type App = State<Arc<Shared>>;

impl Server {
    /// A server that has no model yet: it says that one is loading.
    ///
    /// # Errors
    /// [`door::Error`] where its address is taken, or open to strangers without a token.
    pub async fn build(config: Config, deps: Deps) -> Result<Self, door::Error> {
        let door = Door::open(&config.address, config.limits).await?.wording(refusal::wording);
        info!("the local model is served at http://{}/v1", door.address());
        Ok(Self { door, deps, shared: Arc::new(Shared { config, model: OnceLock::new() }) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.door.address()
    }

    /// The way to it.
    pub fn handle(&self) -> Handle {
        Handle(self.shared.clone())
    }

    /// Answers until `shutdown`; then answers in the making may end within the drain.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self { door, deps, shared } = self;
        let guarded = Router::new()
            .route("/v1/chat/completions", post(complete))
            .route("/v1/models", get(models))
            .route("/v1/models/{id}", get(model))
            .fallback(nothing)
            .method_not_allowed_fallback(otherwise)
            // The door has read and bounded it already.
            .layer(DefaultBodyLimit::disable())
            .with_state(shared);
        door.serve(guarded, deps.open, shutdown).await;
    }
}

impl Handle {
    /// From now on this model answers; the first one that is named stays.
    pub fn serves(&self, model: Model) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        info!(model = model.backend.model(), "the local model {} answers", model.backend.model());
        // A server has one model for as long as it lives.
        let _ = self.0.model.set(Served { model, since });
    }
}

impl Shared {
    fn served(&self) -> Result<&Served, Refusal> {
        self.model.get().ok_or_else(Refusal::loading)
    }
}

impl Served {
    fn name(&self) -> &str {
        self.model.backend.model()
    }

    fn has(&self, name: &str) -> Result<(), Refusal> {
        if name == self.name() { Ok(()) } else { Err(Refusal::no_such_model(name, self.name())) }
    }

    fn json(&self) -> Value {
        json!({
            "id": self.name(),
            "object": "model",
            "created": self.since,
            "owned_by": "ghost-swarm",
            "max_model_len": self.model.context_tokens,
            extension::GHOST: extension::write_capability(&self.model.capability),
        })
    }
}

async fn complete(State(app): App, body: Bytes) -> Result<Response, Refusal> {
    let served = app.served()?;
    let mut asked = Asked::parse(&body)?;
    if let Some(name) = asked.model.take() {
        served.has(&name)?;
    }
    asked.request.timeout = app.config.timeout;
    // Dropped with the response, where its reader hangs up, and it ends the answer in the making.
    let withdrawn = asked.request.cancel.clone().drop_guard();
    tell::answer(served.model.backend.clone(), asked, withdrawn, app.config.heartbeat).await
}

async fn models(State(app): App) -> Result<Json<Value>, Refusal> {
    Ok(Json(json!({ "object": "list", "data": [app.served()?.json()] })))
}

async fn model(State(app): App, id: Result<Path<String>, PathRejection>) -> Result<Json<Value>, Refusal> {
    let served = app.served()?;
    // A name that is no text is nobody's.
    served.has(&id.map(|Path(id)| id).unwrap_or_default())?;
    Ok(Json(served.json()))
}

async fn nothing(method: Method, uri: Uri) -> impl IntoResponse {
    let words = format!(
        "there is no {method} {}; there are POST /v1/chat/completions and GET /v1/models",
        uri.path()
    );
    Refusal::new(StatusCode::NOT_FOUND, "not_found", words)
}

async fn otherwise(method: Method, uri: Uri) -> impl IntoResponse {
    let words = format!("{} does not take {method}", uri.path());
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", words)
}
