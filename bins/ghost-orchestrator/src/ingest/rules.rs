//! The rules by which messages become tasks, as a TOML file has them. `docs/ingestion.md` tells them to people.
//!
//! ```toml
//! [[rules]]
//! stream = "support-mails"
//! id = "mail-{message_id}"
//! task = { task_type = "classify", description = "Who should answer?", parameters = { prompt = "{text}" } }
//! ```

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use ghost_core::task::{self, TaskRequest};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::message::{Message, Origin, Values};
use super::template::{self, Missing, Template, Text};

/// The most rules in a file; each stream is asked for in every read.
pub const MAX_RULES: usize = 64;
/// The largest file that is read.
const MAX_FILE: u64 = 1 << 20;

/// What becomes of messages, by where they come from.
#[derive(Debug, Clone)]
pub struct Rules(HashMap<Origin, Rule>);

#[derive(Debug, Clone)]
struct Rule {
    /// The field of a stream's entry that holds JSON with more values.
    json: Option<String>,
    id: Option<Text>,
    task: Template,
}

/// Why there are no rules.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("the rules {0} cannot be read (GHOST_INGEST)")]
    Unreadable(PathBuf, #[source] io::Error),
    /// It is no TOML, or says what no rule has.
    #[error("the rules {0} make no sense: {1}")]
    Senseless(PathBuf, String),
    /// One of them makes no sense.
    #[error("rule {number} of {file} makes no sense: {reason}")]
    Rule {
        /// Which one, from 1.
        number: usize,
        /// In which file.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// Why a message is no task.
#[derive(Debug, thiserror::Error)]
pub(super) enum Useless {
    #[error("{0}")]
    Unreadable(&'static str),
    #[error("its field {0:?} is no JSON object")]
    NotJson(String),
    #[error(transparent)]
    Missing(#[from] Missing),
    #[error("it makes no task: {0}")]
    Task(#[from] task::Error),
    #[error("no rule is for it")]
    NoRule,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileForm {
    #[serde(default)]
    rules: Vec<RuleForm>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleForm {
    stream: Option<String>,
    channel: Option<String>,
    json: Option<String>,
    id: Option<String>,
    task: Map<String, Value>,
}

impl Rules {
    /// Reads a file of rules.
    ///
    /// # Errors
    /// [`Error`] that says where and what is wrong.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let unreadable = |error| Error::Unreadable(path.to_owned(), error);
        let size = fs::metadata(path).map_err(unreadable)?.len();
        if size > MAX_FILE {
            return Err(Error::Senseless(
                path.to_owned(),
                format!("{size} bytes are more than the {MAX_FILE} that it may have"),
            ));
        }
        Self::parse(&fs::read_to_string(path).map_err(unreadable)?, path)
    }

    pub(super) fn parse(text: &str, path: &Path) -> Result<Self, Error> {
        let senseless = |reason: String| Error::Senseless(path.to_owned(), reason);
        let FileForm { rules } = toml::from_str(text).map_err(|error| senseless(error.to_string()))?;
        if rules.is_empty() || rules.len() > MAX_RULES {
            return Err(senseless(format!("it has {} rules, where 1 to {MAX_RULES} are right", rules.len())));
        }
        let mut by_origin = HashMap::new();
        for (at, form) in rules.into_iter().enumerate() {
            let refused = |reason: String| Error::Rule { number: at + 1, file: path.to_owned(), reason };
            let (origin, rule) = Rule::parse(form).map_err(refused)?;
            if by_origin.insert(origin, rule).is_some() {
                return Err(refused("another rule has the same stream or channel".to_owned()));
            }
        }
        Ok(Self(by_origin))
    }

    /// The streams that are read.
    pub(super) fn streams(&self) -> Vec<String> {
        let streams = self.0.keys().filter_map(|origin| match origin {
            Origin::Stream(name) => Some(name.clone()),
            Origin::Channel(_) => None,
        });
        streams.collect()
    }

    /// The patterns of channels that are heard.
    pub(super) fn patterns(&self) -> Vec<String> {
        let patterns = self.0.keys().filter_map(|origin| match origin {
            Origin::Channel(pattern) => Some(pattern.clone()),
            Origin::Stream(_) => None,
        });
        patterns.collect()
    }

    /// The task that a message stands for. Its id is the same whenever the message comes.
    pub(super) fn task(&self, message: &Message) -> Result<TaskRequest, Useless> {
        let rule = self.0.get(&message.origin).ok_or(Useless::NoRule)?;
        if let Some(reason) = message.unreadable {
            return Err(Useless::Unreadable(reason));
        }
        let values = Values { message, json: rule.json(message)? };
        let get = |name: &str| values.get(name);
        let id = match &rule.id {
            Some(id) => id.fill(&get)?,
            None => own_id(message),
        };
        let mut task = rule.task.fill(&get)?;
        task["task_id"] = json!(id);
        Ok(TaskRequest::parse(task.to_string().as_bytes())?)
    }
}

impl Rule {
    fn parse(form: RuleForm) -> Result<(Origin, Self), String> {
        let RuleForm { stream, channel, json, id, task } = form;
        let named =
            |name: String| if name.is_empty() { Err("its name is empty".to_owned()) } else { Ok(name) };
        let origin = match (stream, channel) {
            (Some(stream), None) => Origin::Stream(named(stream)?),
            (None, Some(channel)) => Origin::Channel(named(channel)?),
            _ => return Err("it needs either `stream` or `channel`".to_owned()),
        };
        if json.is_some() && matches!(origin, Origin::Channel(_)) {
            return Err(
                "`json` names a field of a stream's entry; a channel's message is JSON as a whole".to_owned()
            );
        }
        if task.contains_key("task_id") {
            return Err("the id of a task is what `id` says; leave out `task_id`".to_owned());
        }
        for needed in ["task_type", "description"] {
            if !task.contains_key(needed) {
                return Err(format!("`task` needs `{needed}`"));
            }
        }
        let words = |error: template::Error| error.to_string();
        let id = id.map(|id| Text::parse(&id)).transpose().map_err(words)?;
        let task = Template::parse(Value::Object(task)).map_err(words)?;
        Ok((origin, Self { json, id, task }))
    }

    fn json(&self, message: &Message) -> Result<Option<Value>, Useless> {
        let object = |text: &str| serde_json::from_str::<Value>(text).ok().filter(Value::is_object);
        match &self.json {
            Some(field) => {
                let found = message.field(field).and_then(object);
                Ok(Some(found.ok_or_else(|| Useless::NotJson(field.clone()))?))
            }
            // A message on a channel may be JSON, and may be a text.
            None if message.entry.is_empty() => Ok(object(&message.text())),
            None => Ok(None),
        }
    }
}

/// The id of a task whose rule names none: a stream's entry has a number; on a channel equal messages are one.
fn own_id(message: &Message) -> String {
    let mut hash = Sha256::new();
    hash.update(message.source.as_bytes());
    hash.update([0]);
    hash.update(if message.entry.is_empty() { message.bytes.as_slice() } else { message.entry.as_bytes() });
    let hash: String = hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("ingest-{hash}")
}
