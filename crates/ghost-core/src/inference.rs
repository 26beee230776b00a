//! Answers a task: the local model, Claude, or local first and Claude where it stumbles.
//!
//! [`Backend`] is the seam: llama.cpp (crate `ghost-llama`), any OpenAI-compatible endpoint, Claude, and a scripted
//! one. [`hybrid`] carries a route out over two of them. Nothing here knows a broker.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use crate::retry::Retry;
pub use sampling::Sampling;

pub mod breaker;
pub mod claude;
mod http;
pub mod hybrid;
mod instructions;
pub mod limited;
pub mod openai_compatible;
pub mod pricing;
pub mod prompt;
mod sampling;
pub mod scripted;
pub mod sse;

/// Which of the two sorts of model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// The small local model: cheap.
    Slm,
    /// The large remote model: strong.
    Llm,
}

impl Provider {
    /// Its name in JSON, metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Provider::Slm => "slm",
            Provider::Llm => "llm",
        }
    }
}

/// Something that continues a conversation.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// Which sort of model it is used as.
    fn provider(&self) -> Provider;

    /// The model that answers where a request names none.
    fn model(&self) -> &str;

    /// Answers `request`. Text goes to `deltas` as it appears, where somebody listens; the whole comes back at the
    /// end. A cancelled token ends it at once with [`Error::Cancelled`]; a full `deltas` channel makes it wait.
    ///
    /// # Errors
    /// [`Error`], which also says whether the same backend may be asked again.
    async fn generate(&self, request: Request, deltas: Option<Deltas>) -> Result<Completion, Error>;
}

/// Where an answer's text goes as it appears.
pub type Deltas = mpsc::Sender<String>;

/// What a backend is asked.
#[derive(Debug, Clone)]
pub struct Request {
    /// What the model is to be.
    pub system: Option<String>,
    /// The conversation, oldest first; the last turn is the user's.
    pub messages: Vec<Message>,
    /// The model, where the task names one.
    pub model: Option<String>,
    /// The most tokens that the answer may have.
    pub max_tokens: u32,
    /// How the next token is chosen.
    pub sampling: Sampling,
    /// Strings that end the answer; they are not part of it.
    pub stop: Vec<String>,
    /// What the answer must look like.
    pub shape: Shape,
    /// Tools in the provider's own form, passed through to the LLM.
    pub tools: Option<Value>,
    /// How long the whole call may take.
    pub timeout: Duration,
    /// Ends the call early.
    pub cancel: CancellationToken,
}

impl Request {
    /// One user turn, with defaults for all else: 1,024 tokens, 300 s, any text.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            system: None,
            messages: vec![Message { role: Role::User, text: text.into() }],
            model: None,
            max_tokens: 1024,
            sampling: Sampling::default(),
            stop: Vec::new(),
            shape: Shape::Text,
            tools: None,
            timeout: Duration::from_secs(300),
            cancel: CancellationToken::new(),
        }
    }
}

/// One turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What they say.
    pub text: String,
}

/// Who speaks in a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The one who asks.
    User,
    /// The model.
    Assistant,
}

impl Role {
    /// Its name on every wire we speak.
    pub fn name(self) -> &'static str {
        match self {
            Role::User => "user",
            Role::Assistant => "assistant",
        }
    }
}

/// What an answer must look like. A local model is held to it token by token; of a remote one it is asked where the
/// API allows. Either way the answer is validated afterwards.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// Any text.
    Text,
    /// One line of text.
    Line,
    /// JSON that satisfies this schema.
    Json(Value),
    /// Exactly one of these.
    Choice(Vec<String>),
    /// A part of this text, letter by letter.
    Span(String),
    /// JSON that satisfies the schema and whose strings (keys too, where the schema names none) are parts of the text.
    JsonOfSpans {
        /// The schema.
        schema: Value,
        /// Where the strings come from.
        source: String,
    },
    /// Text that this GBNF grammar generates, from its rule `root`.
    Grammar(String),
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// Its text: of Claude's blocks only those of type `text`.
    pub text: String,
    /// Why it ended.
    pub finish: Finish,
    /// What it took.
    pub usage: Usage,
    /// The model that really answered, as the provider names it.
    pub model: String,
    /// The provider's id of the call, for its support.
    pub request_id: Option<String>,
    /// The natural logarithm of each answer token's probability before any constraint, the end token included;
    /// empty where the backend cannot say.
    pub logprobs: Vec<f32>,
    /// The text of each of these tokens, as far as it is text; empty where the backend cannot say.
    pub tokens: Vec<String>,
    /// Calls to tools that the model asks for, in the provider's own form.
    pub tool_calls: Vec<Value>,
    /// What the caller should hear though the call succeeded, as in "temperature was dropped: … does not take it".
    pub warnings: Vec<String>,
}

/// Why an answer ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// The model had said all.
    Stop,
    /// The token budget ended it: the answer is cut off.
    Length,
    /// One of the request's stop strings.
    StopSequence(String),
    /// The model wants a tool's result.
    ToolUse,
    /// The model declined, or a filter stopped it. Unlike [`Error::ContentFilter`] the call was paid for; like it, it
    /// is not routed around.
    Refusal,
}

/// Tokens that a call took, as the provider counts them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Read at the full price.
    pub input_tokens: u64,
    /// Written, thinking included.
    pub output_tokens: u64,
    /// Read from the provider's cache.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_read_tokens: u64,
    /// Written to the provider's cache for 5 minutes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_write_5m_tokens: u64,
    /// Written to the provider's cache for an hour.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_write_1h_tokens: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.input_tokens += other.input_tokens;
        self.output_tokens += other.output_tokens;
        self.cache_read_tokens += other.cache_read_tokens;
        self.cache_write_5m_tokens += other.cache_write_5m_tokens;
        self.cache_write_1h_tokens += other.cache_write_1h_tokens;
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The provider asks for patience (429, 529, a full queue).
    #[error("{provider} is overloaded{}", after(.retry_after))]
    Overloaded {
        /// Who.
        provider: String,
        /// How long it asked us to wait.
        retry_after: Option<Duration>,
    },
    /// The provider failed on its side (5xx).
    #[error("{provider} failed with status {status}: {message}")]
    Server {
        /// Who.
        provider: String,
        /// The HTTP status.
        status: u16,
        /// What it said.
        message: String,
    },
    /// The connection could not be made or broke.
    #[error("the connection to {provider} failed: {message}")]
    Connection {
        /// Who.
        provider: String,
        /// What happened.
        message: String,
    },
    /// No answer, no first token or no next token in time.
    #[error("{provider} was silent for {0:?}", .waited)]
    Timeout {
        /// Who.
        provider: String,
        /// How long we waited.
        waited: Duration,
    },
    /// The prompt is too long for the model.
    #[error("the prompt is too long for the model{}", tokens(*.needed, *.limit))]
    ContextTooLong {
        /// Prompt and answer together; 0 where the provider does not say.
        needed: u64,
        /// The model's context; 0 where the provider does not say.
        limit: u64,
    },
    /// The provider does not accept the key.
    #[error("{provider} does not accept the key: {message}")]
    Authentication {
        /// Who.
        provider: String,
        /// What it said.
        message: String,
    },
    /// The request makes no sense to the provider.
    #[error("{provider} refused the request: {message}")]
    InvalidRequest {
        /// Who.
        provider: String,
        /// What it said.
        message: String,
    },
    /// A content filter stopped it; never routed around.
    #[error("{provider} declined on grounds of content: {message}")]
    ContentFilter {
        /// Who.
        provider: String,
        /// What it said.
        message: String,
    },
    /// There is no such backend, or it cannot work: no key, no model file, an open breaker.
    #[error("{0}")]
    Unavailable(String),
    /// The caller withdrew.
    #[error("cancelled")]
    Cancelled,
    /// The backend broke a promise of its own: a bug, or a model file that does not fit.
    #[error("the engine failed: {0}")]
    Engine(String),
}

fn after(retry_after: &Option<Duration>) -> String {
    retry_after.map(|wait| format!(" and asks us to wait {wait:?}")).unwrap_or_default()
}

/// A number as people write it: 0.7, and not the 0.699999988079071 that the nearest `f32` is.
fn decimal(number: f32) -> Value {
    number.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}

fn tokens(needed: u64, limit: u64) -> String {
    if needed == 0 { String::new() } else { format!(": it needs {needed} tokens of {limit}") }
}

impl Error {
    /// Whether the same backend may be asked again with the same request.
    pub fn retry(&self) -> Retry {
        match self {
            Error::Overloaded { retry_after: Some(wait), .. } => Retry::After(*wait),
            Error::Overloaded { .. } | Error::Server { .. } | Error::Connection { .. } => Retry::Now,
            Error::Timeout { .. }
            | Error::ContextTooLong { .. }
            | Error::Authentication { .. }
            | Error::InvalidRequest { .. }
            | Error::ContentFilter { .. }
            | Error::Unavailable(_)
            | Error::Cancelled
            | Error::Engine(_) => Retry::Never,
        }
    }

    /// A short stable code for results, logs and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Error::Overloaded { .. } => "overloaded",
            Error::Server { .. } => "server_error",
            Error::Connection { .. } => "connection_failed",
            Error::Timeout { .. } => "timeout",
            Error::ContextTooLong { .. } => "context_too_long",
            Error::Authentication { .. } => "authentication_failed",
            Error::InvalidRequest { .. } => "invalid_request",
            Error::ContentFilter { .. } => "content_filter",
            Error::Unavailable(_) => "unavailable",
            Error::Cancelled => "cancelled",
            Error::Engine(_) => "engine_failed",
        }
    }
}
