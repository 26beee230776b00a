//! Reads what others put into Redis for the swarm: streams, as one of a group of readers, and channels.
//!
//! An entry of a stream belongs to the reader that got it until it is [`Feed::done`] with it; where a reader is silent
//! about one for [`ABANDONED`], the next gets it. So every entry is handled at least once, and entries stay in their
//! stream: to trim it is its owner's. A message on a channel is heard once, by whoever listens just then, and is gone.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, RedisError, Value};
use tokio::time::Instant;

use super::keys::Keys;
use super::line::Line;
use super::listen::{Heard, Topic, listen};
use super::reply::bytes;
use super::{Config, Error};
use crate::id::AgentId;

/// After so long another reader gets an entry that its reader said nothing about.
const ABANDONED: Duration = Duration::from_secs(60);
/// How often abandoned entries are looked for.
const LOOK: Duration = Duration::from_secs(15);
/// How long a read waits for something new. The connection is its own, and nobody waits behind it.
const BLOCK: Duration = Duration::from_secs(1);
/// Entries of one stream that one read brings.
const AT_ONCE: usize = 16;
/// Unusable messages that are kept.
const KEPT: usize = 10_000;

/// Streams, read as one of a group.
pub struct Feed {
    line: Line,
    keys: Keys,
    streams: Vec<String>,
    reader: String,
    reading: Option<MultiplexedConnection>,
    looked: Option<Instant>,
}

/// An entry of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// In which stream.
    pub stream: String,
    /// Its number there, as in `1764000000000-0`.
    pub id: String,
    /// Its fields and their values, which may be any bytes.
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A message on a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The pattern that its channel matched.
    pub pattern: String,
    /// Its channel.
    pub channel: String,
    /// The message, which may be any bytes.
    pub payload: Vec<u8>,
}

/// A message that no task could be made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable<'a> {
    /// The stream or channel that it came from.
    pub source: &'a str,
    /// Its number in a stream; empty where it came from a channel.
    pub entry: &'a str,
    /// Why it cannot be used.
    pub reason: &'a str,
    /// What it was, as much as is kept.
    pub message: &'a [u8],
}

impl Feed {
    /// Reads these streams under a name that no other reader has. It connects when it is first used.
    ///
    /// # Errors
    /// [`Error::Misconfigured`] where the address or the swarm's name makes no sense.
    pub fn new(config: &Config, streams: Vec<String>, reader: &AgentId) -> Result<Self, Error> {
        Ok(Self {
            line: Line::new(config)?,
            keys: Keys::of(&config.swarm, 0)?,
            streams,
            reader: reader.to_string(),
            reading: None,
            looked: None,
        })
    }

    /// What came in, or nothing within a second. Do not drop it while it waits: what it would have brought then comes only
    /// after [`ABANDONED`].
    ///
    /// # Errors
    /// [`Error`] where Redis cannot be reached or refuses; the next call tries again.
    pub async fn next(&mut self) -> Result<Vec<Entry>, Error> {
        let read = self.read().await;
        if read.is_err() {
            self.reading = None;
        }
        read.map_err(|error| match error.code() {
            Some("WRONGTYPE") => {
                Error::Misconfigured(format!("one of {} is no stream", self.streams.join(", ")))
            }
            Some("MOVED" | "CROSSSLOT") => {
                Error::Misconfigured("ingestion reads from one Redis, not from a Cluster".to_owned())
            }
            _ => Error::Unavailable(format!("the streams cannot be read: {error}")),
        })
    }

    async fn read(&mut self) -> Result<Vec<Entry>, RedisError> {
        let mut connection = match self.reading.clone() {
            Some(connection) => connection,
            None => {
                // Nothing bounds a reply but Redis, which knows how long to wait.
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(Duration::from_secs(2)))
                    .set_response_timeout(Some(BLOCK * 5));
                let connection =
                    self.line.client().get_multiplexed_async_connection_with_config(&config).await?;
                self.reading.insert(connection).clone()
            }
        };
        if self.looked.is_none_or(|looked| looked.elapsed() >= LOOK) {
            self.join(&mut connection).await?;
            let abandoned = self.take_over(&mut connection).await?;
            if !abandoned.is_empty() {
                return Ok(abandoned);
            }
            self.looked = Some(Instant::now());
        }
        let mut command = Cmd::new();
        command.arg("XREADGROUP").arg("GROUP").arg(self.keys.group()).arg(&self.reader);
        command.arg("COUNT").arg(AT_ONCE).arg("BLOCK").arg(BLOCK.as_millis() as u64).arg("STREAMS");
        for stream in &self.streams {
            command.arg(stream);
        }
        for _ in &self.streams {
            command.arg(">");
        }
        match ask(&mut connection, &command).await {
            // A stream was deleted with its group. The next call makes both again.
            Err(error) if error.code() == Some("NOGROUP") => {
                self.looked = None;
                Ok(Vec::new())
            }
            reply => Ok(streams(reply?)),
        }
    }

    /// Makes the groups that are missing. From the beginning: what was said before anybody listened counts too.
    async fn join(&self, connection: &mut MultiplexedConnection) -> Result<(), RedisError> {
        for stream in &self.streams {
            let mut command = Cmd::new();
            command.arg("XGROUP").arg("CREATE").arg(stream).arg(self.keys.group()).arg("0").arg("MKSTREAM");
            match ask(connection, &command).await {
                Err(error) if error.code() != Some("BUSYGROUP") => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes entries over that their readers said nothing about.
    async fn take_over(&self, connection: &mut MultiplexedConnection) -> Result<Vec<Entry>, RedisError> {
        let mut taken = Vec::new();
        for stream in &self.streams {
            let mut command = Cmd::new();
            command.arg("XAUTOCLAIM").arg(stream).arg(self.keys.group()).arg(&self.reader);
            command.arg(ABANDONED.as_millis() as u64).arg("0-0").arg("COUNT").arg(AT_ONCE);
            if let Value::Array(parts) = ask(connection, &command).await?
                && let Some(found) = parts.into_iter().nth(1)
            {
                taken.extend(entries(stream, found));
            }
        }
        Ok(taken)
    }

    /// These entries are handled.
    ///
    /// # Errors
    /// [`Error`] of Redis; the entries then come again.
    pub async fn done(&self, stream: &str, ids: &[String]) -> Result<(), Error> {
        let mut command = Cmd::new();
        command.arg("XACK").arg(stream).arg(self.keys.group()).arg(ids);
        self.line.command(&command).await.map(drop)
    }

    /// Puts a message aside that cannot be used; the newest ten thousand are kept.
    ///
    /// # Errors
    /// [`Error`] of Redis.
    pub async fn put_aside(&self, unusable: &Unusable<'_>) -> Result<(), Error> {
        let mut command = Cmd::new();
        command.arg("XADD").arg(self.unusable()).arg("MAXLEN").arg("~").arg(KEPT).arg("*");
        command.arg("source").arg(unusable.source).arg("entry").arg(unusable.entry);
        command.arg("reason").arg(unusable.reason).arg("message").arg(unusable.message);
        self.line.command(&command).await.map(drop)
    }

    /// The stream that keeps what could not be used.
    pub fn unusable(&self) -> String {
        self.keys.unusable()
    }

    /// Takes its name out of the groups; what it was given and is not done with goes to another reader.
    pub async fn leave(mut self) {
        let Some(mut connection) = self.reading.take() else { return };
        for stream in &self.streams {
            let mut pending = Cmd::new();
            pending
                .arg("XPENDING")
                .arg(stream)
                .arg(self.keys.group())
                .arg("-")
                .arg("+")
                .arg(1)
                .arg(&self.reader);
            // With the name its entries would be forgotten, so a name with entries stays.
            if matches!(ask(&mut connection, &pending).await, Ok(Value::Array(none)) if none.is_empty()) {
                let mut command = Cmd::new();
                command.arg("XGROUP").arg("DELCONSUMER").arg(stream).arg(self.keys.group()).arg(&self.reader);
                // A name that stays costs a few bytes.
                let _ = ask(&mut connection, &command).await;
            }
        }
    }
}

/// Listens to the channels that match one of the patterns, for ever.
///
/// # Errors
/// [`Error::Misconfigured`] where the address makes no sense.
pub async fn channels(
    config: &Config,
    patterns: Vec<String>,
    mut hear: impl FnMut(Said),
) -> Result<(), Error> {
    let line = Line::new(config)?;
    listen(line.client(), &Topic::Patterns(patterns), "what is said on the channels", |heard| {
        if let Heard::Message(message) = heard {
            hear(Said {
                pattern: message.get_pattern().unwrap_or_default(),
                channel: message.get_channel_name().to_owned(),
                payload: message.get_payload_bytes().to_vec(),
            });
        }
    })
    .await
}

async fn ask(connection: &mut MultiplexedConnection, command: &Cmd) -> Result<Value, RedisError> {
    connection.send_packed_command(command).await.and_then(Value::extract_error)
}

/// `[[stream, entries], …]`, or nothing.
fn streams(reply: Value) -> Vec<Entry> {
    let Value::Array(streams) = reply else { return Vec::new() };
    let each = streams.into_iter().filter_map(|stream| match stream {
        Value::Array(pair) => {
            let [name, found] = <[Value; 2]>::try_from(pair).ok()?;
            let name = String::from_utf8(bytes(name).ok()?).ok()?;
            Some(entries(&name, found))
        }
        _ => None,
    });
    each.flatten().collect()
}

/// `[[id, [field, value, …]], …]`; entries that were deleted have no fields, and need none.
fn entries(stream: &str, found: Value) -> Vec<Entry> {
    let Value::Array(found) = found else { return Vec::new() };
    let each = found.into_iter().filter_map(|entry| {
        let Value::Array(pair) = entry else { return None };
        let [id, Value::Array(values)] = <[Value; 2]>::try_from(pair).ok()? else { return None };
        let mut values = values.into_iter().map_while(|value| bytes(value).ok());
        let fields = std::iter::from_fn(|| Some((values.next()?, values.next()?))).collect();
        Some(Entry { stream: stream.to_owned(), id: String::from_utf8(bytes(id).ok()?).ok()?, fields })
    });
    each.collect()
}
