//! `ghost doctor`: looks at everything that an answer depends on, and says what to do where it is not in order.

use std::time::Duration;

use anyhow::anyhow;
use ghost_core::config::{Config, LlmChoice, Row, SlmChoice, Source};
use ghost_core::executor::ExecutorConfig;
use ghost_core::inference::Request;
use ghost_service::data_dir::{DataDir, Turn};
use ghost_worker::engine;
use serde::Serialize;

use crate::context::Context;
use crate::exit::Exit;
use crate::output::{self, plain, table, talk};
use crate::swarm;

/// How long the local model may take for a first word.
const FIRST_WORD: Duration = Duration::from_secs(30);

/// Check that everything is in place, and say what to do where it is not
///
/// Looks at the data directory, the store, the local model (it is loaded, or its server reached, and asked for
/// a word), the key, the prices and the CPUs. The LLM is not asked: a key is only tried by a task, as in
///
///   ghost submit --force-llm "Say hello"
///
/// Settings come from, in this order: flags, --set, the environment, .env, ghost.toml (or --config FILE), defaults.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Show every setting, not only those that somebody set
    #[arg(long)]
    all: bool,
}

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Health {
    Good,
    Doubtful,
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    what: &'static str,
    health: Health,
    finding: String,
}

/// A setting as it is shown.
#[derive(Debug, Serialize)]
struct Setting {
    variable: &'static str,
    value: String,
    source: String,
}

#[derive(Debug, Serialize)]
struct Report {
    checks: Vec<Check>,
    settings: Vec<Setting>,
}

pub(crate) async fn perform(context: &Context, args: Args) -> anyhow::Result<Exit> {
    let mut checks = Vec::new();
    let data = look(
        &mut checks,
        "data directory",
        context.data().map(|data| (data.path().display().to_string(), data)),
    );
    if let Some(data) = &data {
        look(&mut checks, "store", store(context, data).await.map(|words| (words, ())));
        local_model(&context.config, data, &mut checks).await;
    }
    llm(&context.config, &mut checks);
    checks.push(cpus(&context.config));
    let shown = |row: &&Row| args.all || row.source != Source::Default;
    let settings = context.config.describe().iter().filter(shown).map(setting).collect();
    let report = Report { checks, settings };
    output::one(context.format(), &report, people)?;
    if report.checks.iter().any(|check| check.health == Health::Bad) {
        talk("something is not in order; what to do stands beside it");
        return Ok(Exit::Failed);
    }
    Ok(Exit::Success)
}

/// Notes what was found, and passes on what was found good.
fn look<T>(checks: &mut Vec<Check>, what: &'static str, found: anyhow::Result<(String, T)>) -> Option<T> {
    let (health, finding, good) = match found {
        Ok((finding, good)) => (Health::Good, finding, Some(good)),
        Err(error) => (Health::Bad, format!("{error:#}"), None),
    };
    checks.push(Check { what, health, finding });
    good
}

async fn store(context: &Context, data: &DataDir) -> anyhow::Result<String> {
    let broker = swarm::store(context, data)?;
    let tally = broker.tally(None).await?;
    let counts: Vec<_> = tally.iter().map(|(status, n)| format!("{n} {status}")).collect();
    let holder = match data.lock("ghost doctor")? {
        Turn::Ours(_) => "nobody executes from it now".to_owned(),
        Turn::Theirs(holder) => format!("{holder} executes from it"),
    };
    let counts = if counts.is_empty() { "no tasks yet".to_owned() } else { counts.join(", ") };
    Ok(format!("{counts}; {holder}"))
}

async fn local_model(config: &Config, data: &DataDir, checks: &mut Vec<Check>) {
    let what = "local model";
    match config.slm.choice() {
        SlmChoice::None => {
            let finding = "switched off (SLM_PROVIDER=none); the LLM answers everything".to_owned();
            checks.push(Check { what, health: Health::Doubtful, finding });
        }
        SlmChoice::Endpoint { .. } => {
            let found = first_word(config, data).await.map_err(|error| {
                anyhow!("{error:#}; start it (`ghost-worker serve`), or unset SLM_ENDPOINT for a model in the process")
            });
            look(checks, what, found.map(|words| (words, ())));
        }
        SlmChoice::File(_) | SlmChoice::Embedded => {
            look(checks, what, first_word(config, data).await.map(|words| (words, ())));
            if config.slm.gpu_layers > 0 {
                checks.push(gpu(config));
            }
        }
    }
}

fn gpu(config: &Config) -> Check {
    let (health, finding) = match engine::gpu_doubt(config) {
        Ok(None) => (Health::Good, format!("takes up to {} layers", config.slm.gpu_layers)),
        Ok(Some(doubt)) => (Health::Doubtful, doubt),
        Err(error) => (Health::Bad, format!("{error:#}")),
    };
    Check { what: "GPU", health, finding }
}

async fn first_word(config: &Config, data: &DataDir) -> anyhow::Result<String> {
    let started = std::time::Instant::now();
    let Some((slm, _place)) = engine::slm(config, data, &engine::executor(config))? else {
        anyhow::bail!("there is none")
    };
    let loaded = started.elapsed();
    let request = Request { max_tokens: 1, timeout: FIRST_WORD, ..Request::new("Hello") };
    slm.backend.generate(request, None).await?;
    let loads = match config.slm.choice() {
        SlmChoice::Endpoint { url, .. } => format!("is found at {url}"),
        _ => "loads".to_owned(),
    };
    Ok(format!(
        "{} {loads} in {} ms and answers {} ms later",
        slm.capability.model,
        loaded.as_millis(),
        (started.elapsed() - loaded).as_millis()
    ))
}

fn llm(config: &Config, checks: &mut Vec<Check>) {
    let what = "LLM";
    let Some(choice) = config.llm.choice() else {
        let finding = "none: tasks that need one end as llm_unavailable; set ANTHROPIC_API_KEY, or OPENAI_API_BASE and \
                       LLM_MODEL, then `ghost retry --all`";
        checks.push(Check { what, health: Health::Doubtful, finding: finding.to_owned() });
        return;
    };
    let (key, LlmChoice::Claude { base_url, .. } | LlmChoice::OpenAiCompatible { base_url, .. }) = (
        match choice {
            LlmChoice::Claude { .. } | LlmChoice::OpenAiCompatible { api_key: Some(_), .. } => {
                "its key is set"
            }
            LlmChoice::OpenAiCompatible { api_key: None, .. } => "no key is set",
        },
        choice,
    );
    let model = engine::model(&choice);
    checks.push(Check {
        what,
        health: Health::Good,
        finding: format!("{model} at {base_url}; {key}, not tried now"),
    });
    let what = "prices";
    match engine::pricing(config) {
        Ok(pricing) => {
            let (health, finding) = match engine::doubt(&pricing, model) {
                None => (Health::Good, format!("known for {model}")),
                Some(doubt) => (Health::Doubtful, doubt),
            };
            checks.push(Check { what, health, finding });
        }
        Err(error) => checks.push(Check { what, health: Health::Bad, finding: format!("{error:#}") }),
    }
}

fn cpus(config: &Config) -> Check {
    let there = std::thread::available_parallelism().map_or(1, usize::from);
    let used = config.executor.cpus.unwrap_or(ExecutorConfig::default().cpus);
    let (health, more) = if used > there {
        (Health::Doubtful, ": threads that outnumber them wait for each other; lower MAX_PROCESS_WORKERS")
    } else {
        (Health::Good, "")
    };
    let finding = format!("{there} there, {used} used for computing{more}");
    Check { what: "CPUs", health, finding }
}

fn setting(row: &Row) -> Setting {
    Setting { variable: row.setting.variable, value: row.shown(), source: row.source.to_string() }
}

fn people(report: &Report) -> String {
    let health = |health| match health {
        Health::Good => "ok",
        Health::Doubtful => "look",
        Health::Bad => "BAD",
    };
    let mut text = String::new();
    for check in &report.checks {
        text.push_str(&format!("{:<5}{:<16}{}\n", health(check.health), check.what, plain(&check.finding)));
    }
    if !report.settings.is_empty() {
        let cells =
            report.settings.iter().map(|s| [s.variable.to_owned(), s.value.clone(), s.source.clone()]);
        text.push('\n');
        text.push_str(&table(["SETTING", "VALUE", "FROM"], cells));
    }
    text
}
