//! One frame: a JSON-RPC 2.0 object, read from text and written as text. Pure.
//!
//! A frame is a request (with no id where no answer is wanted), a response, a part of a stream, or the wish to end a
//! stream. What is neither is [`Malformed`], with the id to answer to where one can be made out. Names that nobody
//! here knows are passed over, so that a newer peer is understood.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::error::{INVALID_REQUEST, NOT_JSON, RpcError};

#[cfg(test)]
mod tests;

/// The most bytes that a frame may have.
pub const MAX_FRAME_BYTES: usize = 1 << 20;
/// The most bytes that a method's name, an id or a stream's name may have.
pub const MAX_NAME_BYTES: usize = 128;

/// What peers send each other.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    /// Somebody wants something.
    Request(Request),
    /// What came of it.
    Response(Response),
    /// Somebody has heard enough of the stream that answers this request.
    CancelStream(Id),
}

/// A call.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// What its response will carry; none where no response is wanted.
    pub id: Option<Id>,
    /// What is to be done.
    pub method: String,
    /// With what.
    pub params: Map<String, Value>,
    /// How long its sender waits.
    pub deadline: Option<Duration>,
}

/// An answer to a call, or a part of one.
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    /// The call; none where an error belongs to no call that could be made out.
    pub id: Option<Id>,
    /// What came of it.
    pub outcome: Result<Value, RpcError>,
    /// Where in a stream this part stands.
    pub position: Option<Position>,
    /// Whether it is the last part of a stream.
    pub stream_end: bool,
}

/// Tells calls of one peer on one connection apart, and nothing more.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(untagged)]
pub enum Id {
    /// A whole number.
    Number(i64),
    /// At most [`MAX_NAME_BYTES`].
    Text(String),
}

/// A place in a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The stream's name.
    pub stream: String,
    /// Changes where its numbers begin anew.
    pub epoch: u64,
    /// Goes up by one with every change.
    pub seq: u64,
}

/// Text that is no frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Malformed {
    /// The id that the answer goes to.
    pub id: Option<Id>,
    /// What to answer.
    pub error: RpcError,
    /// Whether to answer at all: a broken response is not answered, or two peers would never stop.
    pub answer: bool,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Id::Number(number) => number.fmt(f),
            Id::Text(text) => text.fmt(f),
        }
    }
}

impl Frame {
    /// Reads one frame.
    ///
    /// # Errors
    /// [`Malformed`] says what to answer.
    pub fn parse(text: &str) -> Result<Self, Box<Malformed>> {
        if text.len() > MAX_FRAME_BYTES {
            return Err(refused(format!("a frame has at most {MAX_FRAME_BYTES} bytes, not {}", text.len())));
        }
        let value: Value = serde_json::from_str(text).map_err(|error| {
            let error = RpcError::new(NOT_JSON, format!("the frame is no JSON: {error}"));
            Box::new(Malformed { id: None, error, answer: true })
        })?;
        let Value::Object(object) = value else {
            return Err(refused("a frame is one JSON object; send each call in a frame of its own"));
        };
        let id = object.get("id").map(Id::read).transpose();
        let answer = ["method", "result", "error"].map(|name| object.contains_key(name));
        let broken = |words: String| {
            let id = id.clone().ok().flatten().flatten();
            let error = RpcError::new(INVALID_REQUEST, words);
            // Only what may have been a call is answered.
            Box::new(Malformed { id, error, answer: answer[0] || !(answer[1] || answer[2]) })
        };
        let id = id.clone().map_err(|words| broken(words.to_owned()))?.flatten();
        let wire = Wire::deserialize(Value::Object(object)).map_err(|error| broken(error.to_string()))?;
        wire.frame(id).map_err(|words| broken(words.to_owned()))
    }

    /// The frame as text. It is up to its sender that it has at most [`MAX_FRAME_BYTES`].
    pub fn to_json(&self) -> String {
        let line = match self {
            Frame::Request(request) => serde_json::to_string(&Line {
                id: request.id.as_ref(),
                method: Some(&request.method),
                params: Some(&request.params),
                meta: request.deadline.map(|time| Meta {
                    deadline_ms: Some(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
                    ..Meta::default()
                }),
                ..Line::new()
            }),
            Frame::Response(response) => serde_json::to_string(&Answer {
                jsonrpc: "2.0",
                id: response.id.as_ref(),
                result: response.outcome.as_ref().ok(),
                error: response.outcome.as_ref().err(),
                meta: response.position.as_ref().map(|position| Meta {
                    stream: Some(position.stream.clone()),
                    epoch: Some(position.epoch),
                    seq: Some(position.seq),
                    ..Meta::default()
                }),
                stream_end: response.stream_end,
            }),
            Frame::CancelStream(id) => {
                serde_json::to_string(&Line { id: Some(id), cancel_stream: true, ..Line::new() })
            }
        };
        line.expect("names are text, so that a frame is always JSON")
    }
}

impl Id {
    /// An id as it stands in a frame; none for null.
    fn read(value: &Value) -> Result<Option<Self>, &'static str> {
        match value {
            Value::Null => Ok(None),
            Value::Number(number) => number
                .as_i64()
                .map(|number| Some(Id::Number(number)))
                .ok_or("an id is a whole number of 64 bits or text"),
            Value::String(text) if text.len() <= MAX_NAME_BYTES => Ok(Some(Id::Text(text.clone()))),
            Value::String(_) => Err("an id has at most 128 bytes"),
            _ => Err("an id is a whole number of 64 bits or text"),
        }
    }
}

/// Everything that any frame may hold.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    jsonrpc: String,
    method: Option<String>,
    #[serde(default)]
    params: Option<Map<String, Value>>,
    #[serde(default, deserialize_with = "present")]
    result: Option<Value>,
    error: Option<RpcError>,
    #[serde(default)]
    meta: Meta,
    #[serde(default)]
    stream_end: bool,
    #[serde(default)]
    cancel_stream: bool,
}

/// What stands beside a call or an answer.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deadline_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stream: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    epoch: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
}

impl Wire {
    fn frame(self, id: Option<Id>) -> Result<Frame, &'static str> {
        if self.jsonrpc != "2.0" {
            return Err("`jsonrpc` must be \"2.0\"");
        }
        match (self.method, self.result, self.error, self.cancel_stream) {
            (Some(method), None, None, false) => {
                if method.is_empty()
                    || method.len() > MAX_NAME_BYTES
                    || !method.bytes().all(|c| c.is_ascii_graphic())
                {
                    return Err("a method's name has 1 to 128 printable ASCII characters and no spaces");
                }
                Ok(Frame::Request(Request {
                    id,
                    method,
                    params: self.params.unwrap_or_default(),
                    deadline: self.meta.deadline_ms.map(Duration::from_millis),
                }))
            }
            (None, Some(result), None, false) => {
                if id.is_none() {
                    return Err("a result needs the id of its call");
                }
                let position = self.meta.position()?;
                Ok(Frame::Response(Response {
                    id,
                    outcome: Ok(result),
                    position,
                    stream_end: self.stream_end,
                }))
            }
            (None, None, Some(error), false) => {
                let position = self.meta.position()?;
                Ok(Frame::Response(Response {
                    id,
                    outcome: Err(error),
                    position,
                    stream_end: self.stream_end,
                }))
            }
            (None, None, None, true) => id
                .map(Frame::CancelStream)
                .ok_or("`cancelStream` needs the id of the call that began the stream"),
            _ => Err("a frame has exactly one of `method`, `result`, `error` and `cancelStream`"),
        }
    }
}

impl Meta {
    fn position(self) -> Result<Option<Position>, &'static str> {
        match (self.stream, self.epoch, self.seq) {
            (None, None, None) => Ok(None),
            (Some(stream), Some(epoch), Some(seq)) if stream.len() <= MAX_NAME_BYTES => {
                Ok(Some(Position { stream, epoch, seq }))
            }
            _ => Err(
                "a part of a stream carries `stream` (at most 128 bytes), `epoch` and `seq` in its `meta`",
            ),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    jsonrpc: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a Id>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<&'a Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    meta: Option<Meta>,
    #[serde(skip_serializing_if = "is_false")]
    cancel_stream: bool,
}

impl Line<'_> {
    fn new() -> Self {
        Self { jsonrpc: "2.0", id: None, method: None, params: None, meta: None, cancel_stream: false }
    }
}

/// An answer has an id even where it is null.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    jsonrpc: &'static str,
    id: Option<&'a Id>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a RpcError>,
    #[serde(skip_serializing_if = "Option::is_none")]
    meta: Option<Meta>,
    #[serde(skip_serializing_if = "is_false")]
    stream_end: bool,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// A field that is there, be it null.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

fn refused(words: impl Into<String>) -> Box<Malformed> {
    Box::new(Malformed { id: None, error: RpcError::new(INVALID_REQUEST, words), answer: true })
}
