//! What every command starts from: the settings, the form of its output, the data directory.

use std::io::IsTerminal as _;

use anyhow::Context as _;
use ghost_core::config::{Config, LogLevel, Sources};
use ghost_service::data_dir::DataDir;
use ghost_service::telemetry;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::access::{Access, Local, Remote};
use crate::cli::Global;
use crate::exit::misuse;
use crate::hub;
use crate::output::{Format, talk};
use crate::progress::Pen;

/// The settings of this call.
#[derive(Debug)]
pub(crate) struct Context {
    /// Everything that can be set.
    pub config: Config,
    /// The form of the output, where one was asked for.
    pub output: Option<Format>,
}

impl Context {
    /// Reads the settings, and begins to log.
    pub(crate) fn new(global: &Global) -> anyhow::Result<Self> {
        let mut flags = Vec::new();
        for setting in &global.set {
            let (name, value) = setting
                .split_once('=')
                .ok_or_else(|| misuse(format!("--set takes NAME=VALUE, not `{setting}`")))?;
            flags.push((name.to_owned(), value.to_owned()));
        }
        if let Some(url) = &global.url {
            flags.push(("GHOST_URL".to_owned(), url.clone()));
        }
        for (name, path) in [("GHOST_DATA", &global.data), ("GHOST_CONFIG", &global.config)] {
            if let Some(path) = path {
                let text = path.to_str().ok_or_else(|| misuse(format!("{} is not UTF-8", path.display())))?;
                flags.push((name.to_owned(), text.to_owned()));
            }
        }
        let mut config = Config::load(Sources::of_process(flags)).map_err(|error| {
            misuse(format!(
                "the settings make no sense\n{error}\n`ghost doctor --help` tells where they come from"
            ))
        })?;
        let warning = hub::resolve(&mut config);
        config.warnings.extend(warning);
        // A person at a terminal wants to hear of trouble only, unless they say otherwise.
        let level = match global.verbose {
            0 if config.is_set("LOG_LEVEL") => config.service.log_level,
            0 => LogLevel::Warn,
            1 => LogLevel::Info,
            _ => LogLevel::Debug,
        };
        // A bar may be on the terminal, and a log line must not tear it.
        let color =
            std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
        telemetry::subscriber(config.service.log_format, level, color, || Pen)
            .with(filter_fn(move |line| level > LogLevel::Warn || !is_everyday(line)))
            .try_init()
            .context("the log cannot be set up")?;
        for warning in &config.warnings {
            talk(format!("warning: {warning}"));
        }
        Ok(Self { config, output: global.output })
    }

    /// The form of the output, for people where nobody said.
    pub(crate) fn format(&self) -> Format {
        self.output.unwrap_or(Format::Table)
    }

    /// The data directory, which exists.
    pub(crate) fn data(&self) -> anyhow::Result<DataDir> {
        DataDir::open(self.config.broker.data.as_deref())
    }

    /// The swarm to look at: the data directory, or one that runs.
    pub(crate) fn access(&self) -> anyhow::Result<Access> {
        match &self.config.client.url {
            Some(url) => Ok(Access::Remote(Remote::new(url, self.config.service.api_token.clone())?)),
            None => Ok(Access::Local(Local::open(self)?)),
        }
    }

    /// Refuses to do here what was meant for a running swarm.
    pub(crate) fn only_here(&self, command: &str) -> anyhow::Result<()> {
        match &self.config.client.url {
            None => Ok(()),
            Some(url) => Err(misuse(format!(
                "`{command}` works on the data directory of this machine, not on {url}; leave --url out and GHOST_URL unset"
            ))),
        }
    }

    /// The model against which savings are reckoned.
    pub(crate) fn yardstick(&self) -> &str {
        self.config.llm.model_or_default()
    }
}

/// A task that the local model sends up to the LLM is worth a warning in a service. Here the results and the summary
/// say so, and a line for each would bury what is really wrong.
fn is_everyday(line: &Metadata<'_>) -> bool {
    line.target().ends_with("inference::hybrid")
        && *line.level() == Level::WARN
        && line.fields().field("event").is_some()
}

/// A runtime for commands that wait for something.
pub(crate) fn wait<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the threads that a command needs cannot be started")?
        .block_on(work)
}
