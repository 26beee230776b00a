//! The way to Redis: one connection that all calls share, made anew when it breaks, and what Redis's errors mean to us.
//!
//! In a Cluster a line leads to the node that has its shard: it begins at any node, and goes where that one sends it.
//!
//! Redis is refused, loads its data, changes its master or lacks memory now and then. A call that certainly did nothing
//! is tried again here for a moment; one whose reply was lost is its sender's to repeat, who knows whether that is safe.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ErrorKind, IntoConnectionInfo, RedisError,
    TlsCertificates, Value,
};
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::Config;
use super::keys::Keys;
use super::scripts::Source;
use crate::broker::Error;
use crate::retry::Backoff;

const CONNECT: Duration = Duration::from_secs(2);
/// Above what a script of 64 large tasks and an fsync behind a busy disk take. No call blocks by intention.
const RESPONSE: Duration = Duration::from_secs(5);
const BACKOFF: Backoff = Backoff::growing(Duration::from_millis(5), Duration::from_millis(250));

/// A connection that mends itself.
pub(super) struct Line {
    client: Client,
    address: String,
    patience: Duration,
    /// Where connections live: whoever calls may have a runtime of its own, which ends before them or knows no sockets.
    runtime: Handle,
    current: Mutex<Current>,
}

#[derive(Default)]
struct Current {
    connection: Option<MultiplexedConnection>,
    /// The node of a Cluster that another one named, instead of the one in the settings.
    node: Option<Client>,
    /// Goes up with every connection, so that late news of an old one's death does not end its successor.
    number: u64,
}

impl Line {
    /// A line whose connections live in the caller's runtime.
    pub(super) fn new(config: &Config) -> Result<Self, Error> {
        let unusable = |error: RedisError| {
            // The URL may hold a password, so it is not repeated.
            Error::Misconfigured(format!(
                "REDIS_URL is no address of a Redis, as in redis://host:6379/0 ({error})"
            ))
        };
        let info = config.url.as_str().into_connection_info().map_err(unusable)?;
        let tcp = info.tcp_settings().clone().set_nodelay(true);
        let mut settings = info.redis_settings().clone();
        if let Some(password) = &config.password {
            settings = settings.set_password(password);
        }
        let address = info.addr().to_string();
        let info = info.set_tcp_settings(tcp).set_redis_settings(settings);
        let client = match &config.ca {
            None => Client::open(info),
            Some(_) if !config.url.starts_with("rediss:") => {
                return Err(Error::Misconfigured(
                    "REDIS_CA is for a REDIS_URL that begins with rediss://".to_owned(),
                ));
            }
            Some(file) => {
                let unread = |error| {
                    Error::Misconfigured(format!("REDIS_CA, {}, cannot be read: {error}", file.display()))
                };
                let pem = std::fs::read(file).map_err(unread)?;
                if !String::from_utf8_lossy(&pem).contains("BEGIN CERTIFICATE") {
                    let words = format!("REDIS_CA, {}, holds no certificate in PEM", file.display());
                    return Err(Error::Misconfigured(words));
                }
                Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert: Some(pem) })
            }
        }
        .map_err(unusable)?;
        let (patience, runtime) = (config.patience, Handle::current());
        Ok(Self { client, address, patience, runtime, current: Mutex::default() })
    }

    /// What connects and subscribes on its own.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Where everything belongs that serves more than one caller.
    pub(super) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Runs a script.
    pub(super) async fn run(&self, keys: &Keys, script: &Source, args: &[&[u8]]) -> Result<Value, Error> {
        let by = |name: &str, what: &str| {
            let size = args.iter().map(|arg| arg.len()).sum::<usize>() + what.len() + 256;
            let mut command = Cmd::with_capacity(args.len() + 4, size);
            command.arg(name).arg(what).arg(1).arg(keys.shard());
            for arg in args {
                command.arg(*arg);
            }
            command
        };
        match self.call(&by("EVALSHA", &script.sha)).await {
            // Redis forgot its scripts, in a restart or a failover; this tells it the text and runs it.
            Err(Fault { code: Some(code), .. }) if code == "NOSCRIPT" => {
                self.call(&by("EVAL", &script.code)).await
            }
            result => result,
        }
        .map_err(|fault| self.error(fault))
    }

    /// Runs one command.
    pub(super) async fn command(&self, command: &Cmd) -> Result<Value, Error> {
        self.call(command).await.map_err(|fault| self.error(fault))
    }

    async fn call(&self, command: &Cmd) -> Result<Value, Fault> {
        let started = Instant::now();
        let mut failures = 0;
        loop {
            match self.once(command).await {
                Err(fault) if fault.nothing_happened() && started.elapsed() < self.patience => {
                    failures += 1;
                    tokio::time::sleep(BACKOFF.wait(failures, &mut fastrand::Rng::new())).await;
                }
                result => return result,
            }
        }
    }

    async fn once(&self, command: &Cmd) -> Result<Value, Fault> {
        let (mut connection, number) = self.connection().await?;
        let reply = connection.send_packed_command(command).await.and_then(Value::extract_error);
        match reply {
            Ok(value) => Ok(value),
            Err(error) => {
                let fault = Fault::of(&error, true);
                if fault.ends_the_connection() {
                    let mut current = self.current.lock().await;
                    if current.number == number {
                        current.connection = None;
                        current.node = self.named(&error);
                    }
                }
                Err(fault)
            }
        }
    }

    async fn connection(&self) -> Result<(MultiplexedConnection, u64), Fault> {
        let mut current = self.current.lock().await;
        if let Some(connection) = &current.connection {
            return Ok((connection.clone(), current.number));
        }
        // Whoever else calls meanwhile waits for this try instead of making one of its own.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(RESPONSE));
        let client = current.node.as_ref().unwrap_or(&self.client).clone();
        let connecting = async move { client.get_multiplexed_async_connection_with_config(&config).await };
        let connection = self
            .runtime
            .spawn(connecting)
            .await
            .map_err(|_| Fault::unsent("the runtime that reached Redis has ended"))?
            .map_err(|error| Fault::of(&error, false));
        // A node that is gone knows no other; the one in the settings does.
        let connection = connection.inspect_err(|_| current.node = None)?;
        current.number += 1;
        current.connection = Some(connection.clone());
        Ok((connection, current.number))
    }

    /// The node that has what was asked for, where this error names it.
    fn named(&self, error: &RedisError) -> Option<Client> {
        if error.code() != Some("MOVED") {
            return None;
        }
        let (address, _) = error.redirect_node()?;
        let (name, port) = address.rsplit_once(':')?;
        let mut node = self.client.get_connection_info().addr().clone();
        if let ConnectionAddr::Tcp(host, at) | ConnectionAddr::TcpTls { host, port: at, .. } = &mut node {
            // A node that does not know its own name leaves it out: then it is the one that was asked.
            if !matches!(name, "" | "?") {
                name.clone_into(host);
            }
            *at = port.parse().ok()?;
        }
        Client::open(self.client.get_connection_info().clone().set_addr(node)).ok()
    }

    /// What a failed try means to the caller.
    fn error(&self, fault: Fault) -> Error {
        let Fault { code, words, .. } = fault;
        let address = &self.address;
        match code.as_deref() {
            Some("NOAUTH" | "WRONGPASS" | "NOPERM") => Error::Unavailable(format!(
                "Redis at {address} does not let us in ({words}); check REDIS_URL or REDIS_PASSWORD"
            )),
            Some("OOM") => Error::Unavailable(format!(
                "Redis at {address} is out of memory ({words}); raise its maxmemory or shorten RESULT_TTL, nothing accepted is lost"
            )),
            Some("MISCONF") => Error::DiskFull(format!("Redis at {address} cannot write to it ({words})")),
            Some(code) if PASSING.contains(&code) => {
                Error::Unavailable(format!("Redis at {address} is not ready ({words})"))
            }
            Some(_) => Error::Damaged(format!("Redis at {address} refuses what we ask: {words}")),
            None if words.contains("certificate") => Error::Unavailable(format!(
                "Redis at {address} is not trusted ({words}); REDIS_CA names a file with the certificates of who signed its own"
            )),
            None => Error::Unavailable(format!("Redis at {address}: {words}")),
        }
    }
}

/// Codes of refusals that pass: a restart, a failover, a long script, a replica that lags, too many guests.
const PASSING: [&str; 11] = [
    "LOADING",
    "READONLY",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "MOVED",
    "ASK",
    "BUSY",
    "MAXCLIENTS",
    "NOREPLICAS",
    "NOSCRIPT",
];

/// Why a call failed.
#[derive(Debug)]
struct Fault {
    /// The first word of Redis's refusal; none where the line failed.
    code: Option<String>,
    words: String,
    /// Whether the command may have reached Redis.
    sent: bool,
}

impl Fault {
    fn of(error: &RedisError, sent: bool) -> Self {
        let code = match error.kind() {
            // A connection that is not let in has no code of Redis's own.
            ErrorKind::AuthenticationFailed => Some("WRONGPASS".to_owned()),
            _ if error.detail().is_some_and(|detail| detail.contains("max number of clients")) => {
                Some("MAXCLIENTS".to_owned())
            }
            _ => error.code().map(str::to_owned),
        };
        Self { code, words: error.to_string(), sent }
    }

    fn unsent(words: &str) -> Self {
        Self { code: None, words: words.to_owned(), sent: false }
    }

    /// Redis said no, or never heard of it.
    fn nothing_happened(&self) -> bool {
        match self.code.as_deref() {
            Some("NOSCRIPT") => false,
            Some(code) => {
                PASSING.contains(&code) || ["NOAUTH", "WRONGPASS", "OOM", "MISCONF"].contains(&code)
            }
            None => !self.sent,
        }
    }

    /// The line is broken, or leads to a Redis that is not the master, or no longer lets us in.
    fn ends_the_connection(&self) -> bool {
        match self.code.as_deref() {
            Some(code) => {
                ["READONLY", "NOAUTH", "MASTERDOWN", "LOADING", "MAXCLIENTS", "MOVED"].contains(&code)
            }
            None => true,
        }
    }
}
