//! What the process is told by its user: every setting, declared once, in the table below.
//!
//! [`Config::load`] asks flags, environment, `.env`, `ghost.toml` and defaults in this order and takes the first that
//! speaks; an empty value is an answer too, and means the default. Only programs read a [`Config`]; libraries have
//! small ones of their own. `docs/configuration.md` and `.env.example` repeat [`SETTINGS`], and a test keeps them so.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::id::AgentId;
use crate::taskmaster::{BadThresholds, Thresholds};

#[macro_use]
mod table;
mod parse;
mod sources;
#[cfg(test)]
mod tests;

use sources::Values;
pub use sources::{Error, Problem, Row, Source, Sources};
pub use table::{Default, Setting};

/// The variable that names the file.
const CONFIG_FILE: &str = "GHOST_CONFIG";
/// The model that is asked where Claude is the LLM and nobody names another.
pub const DEFAULT_LLM_MODEL: &str = "claude-sonnet-5-5";

settings! {
    /// The LLM: the strong model, reached over the network.
    llm: Llm {
        /// The key for Claude. With it, Claude is the LLM.
        anthropic_api_key: Option<Secret> = ANTHROPIC_API_KEY, secret, Unset "Claude is not used";
        /// Where Claude's Messages API is reached.
        anthropic_base_url: String = ANTHROPIC_BASE_URL, url, Is "https://api.anthropic.com";
        /// The version of Claude's API that is spoken; `2023-06-01` for a proxy that knows only that.
        anthropic_version: String = ANTHROPIC_VERSION, text, Is "2026-10-21";
        /// The LLM's model.
        model: Option<String> = LLM_MODEL, text, Unset "claude-sonnet-5-5 with Claude; none elsewhere";
        /// The key for an LLM that speaks OpenAI's API. Used where no Claude key is set, and only with LLM_MODEL.
        openai_api_key: Option<Secret> = OPENAI_API_KEY, secret, Unset "no key is sent";
        /// Where an LLM that speaks OpenAI's API is reached, `/v1` included; enough alone for a server without a key.
        openai_api_base: Option<String> = OPENAI_API_BASE, url,
            Unset "https://api.openai.com/v1 with OPENAI_API_KEY";
        /// A TOML file with prices that replace or extend the built-in ones.
        prices: Option<PathBuf> = GHOST_PRICES, path, Unset "the built-in prices";
    }

    /// The SLM: the small model on this machine.
    slm: Slm {
        /// `llama_cpp` runs the model inside the process; `none` means that there is no SLM.
        provider: SlmProvider = SLM_PROVIDER, provider, Is "llama_cpp";
        /// A server with OpenAI's API (`ghost-worker serve`, llama-server, Ollama, vLLM) that is the SLM instead of a model
        /// in the process; without a path, `/v1` is meant.
        endpoint: Option<String> = SLM_ENDPOINT, url, Unset "the model runs in the process";
        /// The model's name at SLM_ENDPOINT; needed there, though llama-server takes any. Without SLM_ENDPOINT, a model
        /// that `ghost models pull` brought, by the name that it was pulled with.
        model: Option<String> = SLM_MODEL, text, Unset "a model in the process names itself";
        /// The key for SLM_ENDPOINT, where it asks for one; for a `ghost-worker serve` its GHOST_API_TOKEN.
        api_key: Option<Secret> = SLM_API_KEY, secret, Unset "no key is sent";
        /// A GGUF file to run in the process; `model.toml` beside `model.gguf` tells what it can do.
        model_path: Option<PathBuf> = SLM_MODEL_PATH, path, Unset "the tiny model inside the program";
        /// The most tokens of a prompt and its answer together.
        context_tokens: Option<u32> = SLM_CONTEXT_TOKENS, tokens, Unset "what the model was trained for, at most 8192";
        /// How many of the model's layers run on a GPU; it takes a build with GPU support.
        gpu_layers: u32 = SLM_GPU_LAYERS, layers, Is "0";
        /// How many answers the model in the process makes at once; more wait.
        parallel: usize = SLM_PARALLEL, sequences, Is "16";
        /// Threads that the model in the process computes with; a tiny one has use for one alone.
        threads: Option<usize> = SLM_THREADS, threads,
            Unset "what MAX_PROCESS_WORKERS leaves it; where that is unset too, all cores that the process may use";
        /// Memory in MiB for what the model in the process is reading and writing, of all answers together.
        kv_mib: Option<u64> = SLM_KV_MIB, mebibytes,
            Unset "twice the size of the model, at least one and a half contexts, at most 2048";
        /// Memory in MiB for beginnings of prompts that come again; 0 remembers none.
        prefix_cache_mib: u64 = SLM_PREFIX_CACHE_MIB, mebibytes_or_none, Is "256";
        /// One answer at a time, so that the same request gets the same answer to the last bit.
        deterministic: bool = SLM_DETERMINISTIC, switch, Is "false";
    }

    /// The server of the local model: `ghost-worker serve`.
    slm_server: SlmServer {
        /// Where it listens. Beyond this machine it needs GHOST_API_TOKEN.
        host: String = SLM_SERVER_HOST, host, Is "127.0.0.1";
        /// Its port; 0 takes a free one.
        port: u16 = SLM_SERVER_PORT, port, Is "8090";
    }

    /// The hub: where `ghost models pull` gets model files from.
    hub: Hub {
        /// Where the hub is reached; a mirror has the same layout.
        endpoint: String = HF_ENDPOINT, url, Is "https://huggingface.co";
        /// The access token for models that need one. It is sent to HF_ENDPOINT and to nobody else.
        token: Option<Secret> = HF_TOKEN, secret, Unset "no token is sent";
    }

    /// Who answers what.
    routing: Routing {
        /// A task that scores below this is simple: the SLM answers.
        simple_threshold: f64 = SIMPLE_THRESHOLD, share, Is "0.3";
        /// A task that scores above this is complex: the LLM answers. Between the two the SLM goes first.
        complex_threshold: f64 = COMPLEX_THRESHOLD, share, Is "0.7";
        /// Whether the SLM answers what it can; if not, the LLM answers everything wherever there is one.
        hybrid: bool = ENABLE_HYBRID_INFERENCE, switch, Is "true";
        /// How many further samples the SLM gives where its draft is to decide, so that they can be compared; 0 gives the
        /// draft as it is.
        drafts: u32 = SLM_DRAFTS, drafts, Is "2";
        /// Whether the LLM answers where the SLM fails.
        fallback: bool = ENABLE_SLM_FALLBACK, switch, Is "true";
    }

    /// Where tasks are kept, and how long they wait.
    broker: Broker {
        /// The directory that holds the tasks and everything else that must survive the process.
        data: Option<PathBuf> = GHOST_DATA, path, Unset "the platform's data directory", flag "--data";
        /// The Redis that keeps the tasks of a swarm of several programs, as in `redis://:password@host:6379/0`,
        /// or `rediss://` over TLS. It goes before REDIS_HOST. Where neither is set, tasks are kept in SQLite in the data directory; the commands of
        /// `ghost` but `ghost up` and `ghost taskmaster` always work there, or at GHOST_URL.
        redis_url: Option<Secret> = REDIS_URL, redis_url, Unset "REDIS_HOST decides";
        /// The host of that Redis, with REDIS_PORT, REDIS_DB and REDIS_PASSWORD, where there is no REDIS_URL.
        redis_host: Option<String> = REDIS_HOST, host, Unset "SQLite in the data directory";
        /// Its port, with REDIS_HOST.
        redis_port: u16 = REDIS_PORT, port, Is "6379";
        /// The number of its database, with REDIS_HOST.
        redis_db: u32 = REDIS_DB, database, Is "0";
        /// Its password, where REDIS_URL does not say.
        redis_password: Option<Secret> = REDIS_PASSWORD, secret, Unset "none is sent";
        /// A file with the certificates (PEM) of whoever signed that of Redis, where REDIS_URL begins with `rediss://`.
        redis_ca: Option<PathBuf> = REDIS_CA, path, Unset "the system's authorities";
        /// In how many shards of Redis the tasks lie, 1 to 64; more than one are for a Redis Cluster, which keeps each on one
        /// of its nodes. All programs of a swarm say the same.
        redis_shards: usize = REDIS_SHARDS, shards, Is "1";
        /// Whose tasks: swarms of different names share a Redis without seeing each other.
        swarm: String = GHOST_SWARM, name, Is "ghost";
        /// How long settled tasks are kept.
        result_ttl: Option<Duration> = RESULT_TTL, duration, Unset "24h on Redis; in SQLite until `ghost gc`";
        /// How many tasks may wait before new ones are refused.
        max_backlog: u64 = MAX_BACKLOG, tasks, Is "100000";
        /// How long a task may wait for a worker before it has failed.
        max_wait: Duration = MAX_WAIT, duration, Is "24h";
        /// How long a worker keeps a task without a sign of life before another one gets it.
        lease: Duration = LEASE_SECONDS, duration, Is "30";
    }

    /// What a worker takes on.
    worker: Worker {
        /// How many tasks a worker has at once.
        at_once: Option<usize> = MAX_WORKERS, threads,
            Unset "MAX_THREAD_WORKERS; SLM_PARALLEL where that is more and the model runs in the process";
        /// The longest that a worker spends on one delivery of a task, whatever `timeout` the task itself allows.
        timeout: Option<Duration> = WORKER_TIMEOUT, duration, Unset "the task's own `timeout`, 300 s where it names none";
    }

    /// The hub, where ghosts in any language join over WebSocket.
    a2a: A2a {
        /// Where the hub listens. Beyond this machine it needs GHOST_API_TOKEN.
        host: String = A2A_HOST, host, Is "127.0.0.1";
        /// The port of the hub; 0 takes a free one.
        port: u16 = A2A_PORT, port, Is "8765";
    }

    /// The orchestrator's HTTP door.
    orchestrator: Orchestrator {
        /// Where the orchestrator listens. Beyond this machine it needs GHOST_API_TOKEN.
        host: String = ORCHESTRATOR_HOST, host, Is "127.0.0.1";
        /// The port of the orchestrator; 0 takes a free one.
        port: u16 = ORCHESTRATOR_PORT, port, Is "8080";
        /// A TOML file with the rules by which messages in Redis become tasks (docs/ingestion.md); it takes REDIS_URL.
        ingest: Option<PathBuf> = GHOST_INGEST, path, Unset "no messages are taken in";
    }

    /// Which swarm `ghost` talks to.
    client: Client {
        /// Where an orchestrator of a running swarm is reached, as in `http://127.0.0.1:8080`.
        url: Option<String> = GHOST_URL, url, Unset "the data directory on this machine", flag "--url";
    }

    /// What the process may use of its machine.
    executor: Executor {
        /// Threads for computing, those of the SLM included.
        cpus: Option<usize> = MAX_PROCESS_WORKERS, threads, Unset "the cores that the process may use, at most 4";
        /// How many calls over the network may run at once.
        io: usize = MAX_THREAD_WORKERS, threads, Is "20";
    }

    /// How a program says how it is: /healthz, /readyz and /metrics.
    health: Health {
        /// Where it says so. Beyond this machine it needs GHOST_API_TOKEN, which only /metrics asks for.
        host: String = HEALTH_HOST, host, Is "127.0.0.1";
        /// At which port; 0 takes a free one. A port that is set and taken stops the program.
        port: Option<u16> = HEALTH_PORT, port,
            Unset "8081 for the orchestrator, 8082 worker, 8083 evaluator, 8084 hub, 8085 `ghost up`, as far as they are free";
    }

    /// What every process has.
    service: Service {
        /// The name of the agent in the swarm, which no other may have; those of `ghost up` get their role behind it.
        agent_id: Option<AgentId> = AGENT_ID, agent_id, Unset "a fresh name for each start";
        /// How long a program that was told to end may take to finish what it has begun; a worker then hands it back.
        drain: Duration = DRAIN_SECONDS, duration, Is "20";
        /// What callers must know, as `Authorization: Bearer …`.
        api_token: Option<Secret> = GHOST_API_TOKEN, secret, Unset "callers on this machine need none, and no others are let in";
        /// Opens doors beyond this machine without GHOST_API_TOKEN; for networks that shut strangers out themselves.
        allow_anonymous: bool = GHOST_ALLOW_ANONYMOUS, switch, Is "false";
        /// The least severe log lines to print: `error`, `warn`, `info`, `debug` or `trace`. `ghost` itself prints from
        /// `warn` up where this is unset.
        log_level: LogLevel = LOG_LEVEL, level, Is "info";
        /// `text` for people; `json` for machines, one flat object a line with the name of what happened in `event`.
        log_format: LogFormat = LOG_FORMAT, format, Is "text";
        /// The file with settings by topic, as in `[llm] model = "…"`.
        config: Option<PathBuf> = GHOST_CONFIG, path, Unset "`ghost.toml` where it is there", flag "--config";
    }
}

impl Config {
    /// Asks every source and checks every value.
    ///
    /// # Errors
    /// [`Error`] with everything that is wrong, each with its name, its source and what would be right.
    pub fn load(sources: Sources) -> Result<Self, Error> {
        let mut config = Self::assemble(Values::gather(sources)?);
        if !config.broker.on_redis()
            && let Some(row) = config.rows.iter().find(|row| {
                row.source != Source::Default
                    && ["REDIS_PORT", "REDIS_DB", "REDIS_PASSWORD"].contains(&row.setting.variable)
            })
        {
            config.warnings.push(format!(
                "{} is set, but neither REDIS_URL nor REDIS_HOST is; tasks are kept in SQLite",
                row.setting.variable
            ));
        }
        let problems = config.contradictions();
        if !problems.is_empty() {
            return Err(Error { problems });
        }
        if config.llm.choice().is_none() && config.llm.speaks_openai() {
            config.warnings.push(
                "OPENAI_API_KEY or OPENAI_API_BASE is set, but there is no LLM without LLM_MODEL; set it to a model there"
                    .to_owned(),
            );
        }
        Ok(config)
    }

    /// Every setting with its value and who decided it, in the order of the documentation.
    pub fn describe(&self) -> &[Row] {
        &self.rows
    }

    /// Whether anybody set this variable, be it to its default.
    pub fn is_set(&self, variable: &str) -> bool {
        self.rows.iter().any(|row| row.setting.variable == variable && row.source != Source::Default)
    }

    fn contradictions(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let Routing { simple_threshold, complex_threshold, .. } = self.routing;
        if simple_threshold > complex_threshold {
            problems.push(Problem::Together(format!(
                "SIMPLE_THRESHOLD ({simple_threshold}) is above COMPLEX_THRESHOLD ({complex_threshold}); \
                 a simple task scores lower than a complex one"
            )));
        }
        if self.slm.endpoint.is_some() && self.slm.model.is_none() {
            problems.push(Problem::Together(
                "SLM_ENDPOINT needs SLM_MODEL: name the model that it is to run (llama-server takes any name)".to_owned(),
            ));
        }
        if self.orchestrator.ingest.is_some() && !self.broker.on_redis() {
            problems.push(Problem::Together(
                "GHOST_INGEST needs REDIS_URL: say in which Redis the messages are".to_owned(),
            ));
        }
        problems
    }
}

impl Broker {
    /// Whether Redis keeps the tasks; SQLite in the data directory does otherwise.
    pub fn on_redis(&self) -> bool {
        self.redis_url.is_some() || self.redis_host.is_some()
    }
}

/// The LLM that the settings choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LlmChoice<'a> {
    /// Claude, by its own API.
    Claude {
        /// The key.
        api_key: &'a Secret,
        /// Where.
        base_url: &'a str,
        /// Of the API.
        version: &'a str,
        /// The model.
        model: &'a str,
    },
    /// Any server that speaks OpenAI's API.
    OpenAiCompatible {
        /// The key, where one is needed.
        api_key: Option<&'a Secret>,
        /// Where, `/v1` included.
        base_url: &'a str,
        /// The model.
        model: &'a str,
    },
}

impl Llm {
    /// Which LLM there is, if any: Claude where it has a key, else what speaks OpenAI's API.
    pub fn choice(&self) -> Option<LlmChoice<'_>> {
        if let Some(api_key) = &self.anthropic_api_key {
            return Some(LlmChoice::Claude {
                api_key,
                base_url: &self.anthropic_base_url,
                version: &self.anthropic_version,
                model: self.model_or_default(),
            });
        }
        let model = self.model.as_deref().filter(|_| self.speaks_openai())?;
        Some(LlmChoice::OpenAiCompatible {
            api_key: self.openai_api_key.as_ref(),
            base_url: self.openai_api_base.as_deref().unwrap_or("https://api.openai.com/v1"),
            model,
        })
    }

    /// The model that savings are measured against, even where there is no LLM.
    pub fn model_or_default(&self) -> &str {
        self.model.as_deref().unwrap_or(DEFAULT_LLM_MODEL)
    }

    fn speaks_openai(&self) -> bool {
        self.openai_api_key.is_some() || self.openai_api_base.is_some()
    }
}

/// The SLM that the settings choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlmChoice<'a> {
    /// None at all.
    None,
    /// A server that speaks OpenAI's API.
    Endpoint {
        /// Where, `/v1` included or not, as its user wrote it.
        url: &'a str,
        /// The model's name there.
        model: &'a str,
    },
    /// A GGUF file, run in the process.
    File(&'a Path),
    /// The tiny model that is part of the program.
    Embedded,
}

impl Routing {
    /// Where tasks stop to be simple, and begin to be complex.
    ///
    /// # Errors
    /// [`BadThresholds`] where the two contradict each other.
    pub fn thresholds(&self) -> Result<Thresholds, BadThresholds> {
        Thresholds::new(self.simple_threshold, self.complex_threshold)
    }
}

impl Slm {
    /// Which SLM there is.
    pub fn choice(&self) -> SlmChoice<'_> {
        match (self.provider, &self.endpoint, &self.model, &self.model_path) {
            (SlmProvider::None, ..) => SlmChoice::None,
            (_, Some(url), Some(model), _) => SlmChoice::Endpoint { url, model },
            (_, _, _, Some(path)) => SlmChoice::File(path),
            _ => SlmChoice::Embedded,
        }
    }
}

/// Something that must never be shown: no `Display`, and `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself, for the one header that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Who runs the SLM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlmProvider {
    /// llama.cpp in the process, or the server at SLM_ENDPOINT.
    LlamaCpp,
    /// Nobody: there is no SLM.
    None,
}

/// How severe a log line must be to be printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Something failed.
    Error,
    /// Something looks wrong.
    Warn,
    /// Something happened.
    Info,
    /// How it happened.
    Debug,
    /// Every step.
    Trace,
}

impl LogLevel {
    const NAMES: [(&str, LogLevel); 5] = [
        ("error", LogLevel::Error),
        ("warn", LogLevel::Warn),
        ("info", LogLevel::Info),
        ("debug", LogLevel::Debug),
        ("trace", LogLevel::Trace),
    ];
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: a flat JSON object a line.
    Json,
}
