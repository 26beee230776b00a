//! A task as people write it and as its sender gets it back.
//!
//! [`TaskRequest`] and [`TaskResult`] keep the field names and values of the Python original, so that its JSON is
//! accepted. A request is checked once, by [`TaskRequest::parse`]; what lies behind it can trust every field.
//! How a task lives in between is told in [`crate::lifecycle`].

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::id::{TaskId, Tenant};
use crate::inference::Sampling;

#[cfg(test)]
mod tests;

/// The most bytes that one request may have as JSON.
pub const MAX_REQUEST_BYTES: usize = 4 << 20;
/// The most bytes that a description or a prompt may have.
pub const MAX_TEXT_BYTES: usize = 1 << 20;
/// The most categories that one task may offer.
pub const MAX_CATEGORIES: usize = 256;
/// The longest that one task may run, in seconds.
pub const MAX_TIMEOUT: f64 = 86_400.0;

/// What the swarm is asked to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskRequest {
    /// The sender's name for it and its idempotency key; made by us where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<TaskId>,
    /// What sort of task it claims to be. Open; see [`Kind`] for the ones that shape the answer.
    pub task_type: String,
    /// What to do, in words.
    pub description: String,
    /// How to do it.
    #[serde(default)]
    pub parameters: Parameters,
    /// 1 (can wait) to 10 (first).
    #[serde(default)]
    pub priority: Priority,
    /// Seconds from the first claim until the task has failed.
    #[serde(default = "default_timeout")]
    pub timeout: f64,
    /// Whatever else travels with the task; `context.tenant` names the tenant.
    #[serde(default)]
    pub context: Map<String, Value>,
}

fn default_timeout() -> f64 {
    300.0
}

/// How a task is to be done. Unknown names are kept, since ghosts of your own may read them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Parameters {
    /// The material; where it is given, the description instructs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// A JSON Schema that the answer must satisfy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
    /// The answer must be exactly one of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub categories: Option<Vec<String>>,
    /// The most tokens that an answer may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// 0 (the likeliest word each time) to 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// Only so many of the likeliest words, 1 to 1,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// Only the likeliest words that have this probability together, above 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f32>,
    /// Only words at least this share as likely as the likeliest one, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_p: Option<f32>,
    /// Makes words that the answer already has less likely, above 0 to 2; 1 changes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repetition_penalty: Option<f32>,
    /// Taken off the score of a word that the answer already has, -2 to 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presence_penalty: Option<f32>,
    /// Taken off the score of a word for each time that the answer has it, -2 to 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frequency_penalty: Option<f32>,
    /// Where chance begins, so that an answer can be repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Strings that end the answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// The LLM's model for this task instead of the configured one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Only the LLM may answer.
    #[serde(default, skip_serializing_if = "is_false")]
    pub force_llm: bool,
    /// Only the SLM may answer.
    #[serde(default, skip_serializing_if = "is_false")]
    pub force_slm: bool,
    /// Judge the answer even where that is not the rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluate: Option<bool>,
    /// What a worker must offer to be given this task; `inference` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capability: Option<String>,
    /// Everything else, unread by us.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Parameters {
    /// How the next token is to be chosen.
    pub fn sampling(&self) -> Sampling {
        Sampling {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            seed: self.seed,
        }
    }
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// 1 (can wait) to 10 (first); 5 where nobody says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "u8")]
pub struct Priority(u8);

impl Priority {
    /// The number, 1 to 10.
    pub fn get(self) -> u8 {
        self.0
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self(5)
    }
}

impl From<Priority> for u8 {
    fn from(priority: Priority) -> u8 {
        priority.0
    }
}

impl TryFrom<i64> for Priority {
    type Error = String;
    fn try_from(number: i64) -> Result<Self, String> {
        match u8::try_from(number) {
            Ok(number @ 1..=10) => Ok(Self(number)),
            _ => Err(format!("priority must be 1 to 10, not {number}")),
        }
    }
}

/// The kinds of simple task whose answers have a known shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The bare value of one field of a JSON document.
    JsonField,
    /// `{"sender": address, "subject": …}` of an e-mail.
    EmailParse,
    /// Exactly one of the given categories.
    Classify,
    /// A JSON object: keys as written, values as strings.
    KeyValue,
    /// The bare value that the text names.
    ExtractValue,
    /// One line that says what is now the case.
    StatusUpdate,
}

impl Kind {
    /// All of them, in the order of the documentation.
    pub const ALL: [Kind; 6] = [
        Kind::JsonField,
        Kind::EmailParse,
        Kind::Classify,
        Kind::KeyValue,
        Kind::ExtractValue,
        Kind::StatusUpdate,
    ];

    /// Its name as a `task_type`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::JsonField => "json_field",
            Kind::EmailParse => "email_parse",
            Kind::Classify => "classify",
            Kind::KeyValue => "key_value",
            Kind::ExtractValue => "extract_value",
            Kind::StatusUpdate => "status_update",
        }
    }

    /// The kind that a `task_type` names, if it is one of these.
    pub fn from_name(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a request was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// More bytes than [`MAX_REQUEST_BYTES`].
    #[error("a task has at most {MAX_REQUEST_BYTES} bytes, not {0}")]
    TooLarge(usize),
    /// Not UTF-8.
    #[error("not UTF-8: byte {0} is invalid")]
    NotUtf8(usize),
    /// Not JSON, or another JSON value.
    #[error("a task is a JSON object: {{\"task_type\": …, \"description\": …}}")]
    NotAnObject,
    /// Not the JSON of a task.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// A field whose value makes no sense.
    #[error("{field}: {problem}")]
    Field {
        /// The field's path, as in `parameters.temperature`.
        field: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
}

fn field(field: impl Into<String>, problem: impl Into<String>) -> Error {
    Error::Field { field: field.into(), problem: problem.into() }
}

impl TaskRequest {
    /// A task of this type with this description, and defaults for all else.
    pub fn new(task_type: impl Into<String>, description: impl Into<String>) -> Self {
        Self {
            task_id: None,
            task_type: task_type.into(),
            description: description.into(),
            parameters: Parameters::default(),
            priority: Priority::default(),
            timeout: default_timeout(),
            context: Map::new(),
        }
    }

    /// Reads one request from JSON and checks every field.
    ///
    /// # Errors
    /// [`Error`] names the field and what would be right.
    pub fn parse(json: &[u8]) -> Result<Self, Error> {
        if json.len() > MAX_REQUEST_BYTES {
            return Err(Error::TooLarge(json.len()));
        }
        let text = std::str::from_utf8(json).map_err(|e| Error::NotUtf8(e.valid_up_to() + 1))?;
        // Serde would take an array of values for the fields in their order.
        if !text.trim_start().starts_with('{') {
            return Err(Error::NotAnObject);
        }
        let request: TaskRequest = serde_json::from_str(text)?;
        request.check()?;
        Ok(request)
    }

    /// Checks what the types alone cannot say: lengths, ranges, and fields that contradict each other.
    ///
    /// # Errors
    /// [`Error::Field`] for the first field that makes no sense.
    pub fn check(&self) -> Result<(), Error> {
        let p = &self.parameters;
        if self.task_type.is_empty() || self.task_type.len() > 64 {
            return Err(field("task_type", "must have 1 to 64 characters"));
        }
        if self.description.len() > MAX_TEXT_BYTES {
            return Err(field("description", format!("has more than {MAX_TEXT_BYTES} bytes")));
        }
        if p.prompt.as_ref().is_some_and(|prompt| prompt.len() > MAX_TEXT_BYTES) {
            return Err(field("parameters.prompt", format!("has more than {MAX_TEXT_BYTES} bytes")));
        }
        if self.text().trim().is_empty() {
            return Err(field("description", "says nothing; write what to do"));
        }
        if !(self.timeout.is_finite() && self.timeout > 0.0 && self.timeout <= MAX_TIMEOUT) {
            return Err(field("timeout", format!("must be above 0 and at most {MAX_TIMEOUT} seconds")));
        }
        if let Some((name, range)) = p.sampling().out_of_range() {
            return Err(field(format!("parameters.{name}"), format!("must be {range}")));
        }
        if p.max_tokens.is_some_and(|n| n == 0 || n > 1_000_000) {
            return Err(field("parameters.max_tokens", "must be 1 to 1000000"));
        }
        if p.force_llm && p.force_slm {
            return Err(field("parameters", "force_llm and force_slm contradict each other; set one"));
        }
        if let Some(categories) = &p.categories {
            if categories.is_empty() || categories.len() > MAX_CATEGORIES {
                return Err(field(
                    "parameters.categories",
                    format!("must have 1 to {MAX_CATEGORIES} entries"),
                ));
            }
            if categories.iter().any(|c| c.trim().is_empty() || c.len() > 256 || c.contains('\n')) {
                return Err(field("parameters.categories", "each is one line of 1 to 256 bytes"));
            }
        }
        if p.schema.as_ref().is_some_and(|schema| !schema.is_object() && !schema.is_boolean()) {
            return Err(field("parameters.schema", "must be a JSON Schema, which is an object"));
        }
        if let Some(schema) = &p.schema {
            jsonschema::validator_for(schema)
                .map_err(|e| field("parameters.schema", format!("is not a valid JSON Schema: {e}")))?;
        }
        if p.stop.len() > 16 || p.stop.iter().any(|s| s.is_empty() || s.len() > 256) {
            return Err(field("parameters.stop", "has at most 16 entries of 1 to 256 bytes"));
        }
        if let Some(tenant) = self.context.get("tenant") {
            tenant
                .as_str()
                .ok_or_else(|| "must be a string".to_owned())
                .and_then(|t| t.parse::<Tenant>().map_err(|e| e.to_string()))
                .map_err(|problem| field("context.tenant", problem))?;
        }
        Ok(())
    }

    /// What a model is asked: the prompt, else the description; where both are given the description instructs
    /// and the prompt is its material.
    pub fn text(&self) -> String {
        match &self.parameters.prompt {
            Some(prompt) if self.description.trim().is_empty() => prompt.clone(),
            Some(prompt) => format!("{}\n\n{prompt}", self.description),
            None => self.description.clone(),
        }
    }

    /// On whose behalf it runs.
    pub fn tenant(&self) -> Tenant {
        self.context.get("tenant").and_then(Value::as_str).and_then(|t| t.parse().ok()).unwrap_or_default()
    }

    /// How long it may run from its first claim.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs_f64(self.timeout.clamp(0.001, MAX_TIMEOUT))
    }

    /// The SHA-256 of everything but the id, in hexadecimal: the same id with another fingerprint is a conflict.
    pub fn fingerprint(&self) -> String {
        let nameless = TaskRequest { task_id: None, ..self.clone() };
        let value = serde_json::to_value(nameless).expect("a request is always JSON");
        Sha256::digest(canonical(&value).as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// JSON with the keys of every object in order, so that equal documents are equal text.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            let inner: Vec<_> = entries
                .iter()
                .map(|(k, v)| format!("{}:{}", Value::from(k.as_str()), canonical(v)))
                .collect();
            format!("{{{}}}", inner.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

/// Where a task stands, in the seed's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Waiting to be claimed.
    Pending,
    /// Claimed, not begun.
    Assigned,
    /// Being answered, or its answer is being judged.
    InProgress,
    /// Answered.
    Completed,
    /// Given up.
    Failed,
    /// Withdrawn by its sender.
    Cancelled,
}

impl Status {
    /// All of them, in the order of a task's life.
    pub const ALL: [Status; 6] = [
        Status::Pending,
        Status::Assigned,
        Status::InProgress,
        Status::Completed,
        Status::Failed,
        Status::Cancelled,
    ];

    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Status::Pending => "pending",
            Status::Assigned => "assigned",
            Status::InProgress => "in_progress",
            Status::Completed => "completed",
            Status::Failed => "failed",
            Status::Cancelled => "cancelled",
        }
    }

    /// Whether nothing more will happen to the task by itself.
    pub fn is_settled(self) -> bool {
        matches!(self, Status::Completed | Status::Failed | Status::Cancelled)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What came of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskResult {
    /// The id that the request had.
    pub task_id: TaskId,
    /// Where the task stands.
    pub status: Status,
    /// The answer: its text in `text`, and parsed in `json` where it is JSON.
    pub result: Option<Value>,
    /// What went wrong: a code, a colon, and words that help.
    pub error: Option<String>,
    /// Seconds from the first claim to the end.
    pub execution_time: f64,
    /// Route, provider, model, complexity, score, confidence, attempts, usage, cost_micro_usd, evaluation, findings.
    #[serde(default)]
    pub metadata: Map<String, Value>,
}
