//! A message as rules see it: where it came from, and named values.

use std::borrow::Cow;

use ghost_core::broker::redis::feed::{Entry, Said};
use serde_json::Value;

/// A message of a stream or a channel.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Message {
    /// The stream, or the channel.
    pub(super) source: String,
    /// The stream, or the pattern that the channel matched: what rules go by.
    pub(super) origin: Origin,
    /// Its number in a stream; empty on a channel.
    pub(super) entry: String,
    /// A stream's fields. A channel's message has none of its own.
    pub(super) fields: Vec<(String, String)>,
    /// All of it as it came, to be kept where it cannot be used.
    pub(super) bytes: Vec<u8>,
    /// Why it cannot be read at all.
    pub(super) unreadable: Option<&'static str>,
}

/// What rules go by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Origin {
    Stream(String),
    Channel(String),
}

const NOT_UTF8: &str = "it is not UTF-8";

impl Message {
    pub(super) fn of_entry(entry: &Entry) -> Self {
        let bytes = entry
            .fields
            .iter()
            .flat_map(|(name, value)| [name.as_slice(), b": ", value, b"\n"].concat())
            .collect();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        let fields: Option<Vec<_>> =
            entry.fields.iter().map(|(name, value)| Some((text(name)?, text(value)?))).collect();
        Self {
            source: entry.stream.clone(),
            origin: Origin::Stream(entry.stream.clone()),
            entry: entry.id.clone(),
            unreadable: fields.is_none().then_some(NOT_UTF8),
            fields: fields.unwrap_or_default(),
            bytes,
        }
    }

    pub(super) fn of_channel(said: Said) -> Self {
        Self {
            source: said.channel,
            origin: Origin::Channel(said.pattern),
            entry: String::new(),
            unreadable: std::str::from_utf8(&said.payload).is_err().then_some(NOT_UTF8),
            fields: Vec::new(),
            bytes: said.payload,
        }
    }

    /// All of it as text.
    pub(super) fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.bytes)
    }

    /// A field of a stream's entry.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }
}

/// What templates ask for by name: the members of the message's JSON first, then its fields, then what is known of it.
pub(super) struct Values<'a> {
    pub(super) message: &'a Message,
    pub(super) json: Option<Value>,
}

impl Values<'_> {
    pub(super) fn get(&self, name: &str) -> Option<Value> {
        let known = |text: &str| Value::String(text.to_owned());
        let member = self.json.as_ref().and_then(|json| json.get(name)).cloned();
        member.or_else(|| self.message.field(name).map(known)).or_else(|| match name {
            "source" => Some(known(&self.message.source)),
            "entry" if !self.message.entry.is_empty() => Some(known(&self.message.entry)),
            "message" => Some(known(&self.message.text())),
            _ => None,
        })
    }
}
