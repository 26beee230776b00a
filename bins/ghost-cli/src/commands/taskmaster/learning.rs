//! `ghost taskmaster retrain` and what goes with it: the loop in which TaskMaster learns from what came of tasks.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use ghost_core::broker::Broker;
use ghost_core::learning::comparison::Gain;
use ghost_core::learning::outcomes::{self, Row};
use ghost_core::learning::registry::{self, Error, Registry, Standing, Version};
use ghost_service::broker;
use serde::Serialize;
use serde_json::json;

use crate::access::Local;
use crate::context::Context;
use crate::exit::{Exit, misuse};
use crate::output::{self, count, data, table, talk};

/// The loop in which TaskMaster learns: outcomes, a candidate, its shadow, promotion, and the way back.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Print what came of tasks, as rows to train on: {id, prompt, weak, strong, …}, one a line
    ///
    /// `weak` is how good the local model's answer was, `strong` the LLM's: what the user said, else whether it passed the
    /// evaluator. The rows hold prompts, so they are printed on the machine of the store only.
    Outcomes,
    /// Train a candidate on what came of tasks, compare it on rows that were held back, and let it run in shadow
    ///
    ///   ghost taskmaster retrain
    ///   ghost taskmaster outcomes > rows.jsonl; ghost taskmaster retrain --rows rows.jsonl
    #[command(verbatim_doc_comment)]
    Retrain {
        /// Rows to learn from instead: JSON lines with `prompt` and `weak`, 0 (bad) to 1 (good)
        #[arg(long, value_name = "FILE")]
        rows: Option<PathBuf>,
    },
    /// Show which model decides, which runs in shadow, and how the two compare
    Status,
    /// Let the candidate decide, if it is better with confidence
    Promote,
    /// Let the model decide again that decided before
    Rollback,
}

pub(crate) async fn perform(context: &Context, command: Command) -> anyhow::Result<Exit> {
    let broker = store(context).await?;
    let broker = &*broker;
    match command {
        Command::Outcomes => {
            let rows = outcomes::all(broker).await?;
            for row in &rows {
                data(&serde_json::to_string(row)?)?;
            }
            talk(format!("{} of tasks that are kept", count(rows.len() as u64, "outcome")));
        }
        Command::Retrain { rows } => {
            let rows = rows.as_deref().map(read).transpose()?;
            let version = registry::train(broker, rows).await.map_err(refused)?;
            output::one(context.format(), &version, trained)?;
            talk(
                "it scores what comes beside the model that decides; `ghost taskmaster status` tells how it does",
            );
        }
        Command::Status => {
            let registry = Registry::of(broker).await?;
            let standing = match &registry.candidate {
                Some(_) => Some(registry::standing(broker).await.map_err(refused)?),
                None => None,
            };
            let doubt = standing.as_ref().and_then(Standing::doubt);
            let all = json!({ "registry": registry, "candidate": standing, "doubt": doubt });
            output::one(context.format(), &all, |_| people(&registry, standing.as_ref(), doubt.as_deref()))?;
        }
        Command::Promote => {
            let standing = registry::promote(broker).await.map_err(refused)?;
            output::one(context.format(), &standing, compared)?;
            talk(format!(
                "{} decides from now on; `ghost taskmaster rollback` goes back",
                standing.candidate
            ));
        }
        Command::Rollback => {
            let (from, to) = registry::roll_back(broker).await.map_err(refused)?;
            #[derive(Serialize)]
            struct Turned {
                from: String,
                to: String,
            }
            output::one(context.format(), &Turned { from, to }, |turned| {
                format!("{} decides again, instead of {}", turned.to, turned.from)
            })?;
        }
    }
    Ok(Exit::Success)
}

/// The store of the swarm: Redis where the settings name one, else the data directory.
async fn store(context: &Context) -> anyhow::Result<Arc<dyn Broker>> {
    context.only_here("ghost taskmaster")?;
    if context.config.broker.on_redis() {
        return broker::open(&context.config).await;
    }
    Ok(Local::open(context)?.broker)
}

fn read(file: &Path) -> anyhow::Result<Vec<Row>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let row = |(at, line): (usize, &str)| {
        let wrong = |why: String| misuse(format!("{} line {}: {why}", file.display(), at + 1));
        let row: Row = serde_json::from_str(line).map_err(|error| wrong(error.to_string()))?;
        let fits = |quality: Option<f64>| quality.is_none_or(|quality| (0.0..=1.0).contains(&quality));
        if fits(row.weak) && fits(row.strong) {
            Ok(row)
        } else {
            Err(wrong("weak and strong are 0 (bad) to 1 (good)".to_owned()))
        }
    };
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(row).collect()
}

/// What a user can mend is told as such.
fn refused(error: Error) -> anyhow::Error {
    match error {
        Error::Broker(error) => error.into(),
        error => anyhow::Error::new(error),
    }
}

fn trained(version: &Version) -> String {
    format!(
        "{}: fitted to {}, from {}\n{}",
        version.id,
        count(version.rows as u64, "row"),
        version.base,
        gains([("held back", version.held_back)])
    )
}

fn people(registry: &Registry, standing: Option<&Standing>, doubt: Option<&str>) -> String {
    let mut text = format!("{} decides\n", registry.live);
    if let Some(before) = registry.previous.last() {
        text.push_str(&format!("{before} decided before\n"));
    }
    let Some(standing) = standing else {
        text.push_str("nothing runs in shadow\n");
        return text;
    };
    text.push_str(&format!("{} runs in shadow\n\n{}\n", standing.candidate, compared(standing)));
    text.push_str(&match doubt {
        Some(why) => format!("not to be promoted yet: {why}\n"),
        None => "better with confidence: `ghost taskmaster promote` lets it decide\n".to_owned(),
    });
    text
}

fn compared(standing: &Standing) -> String {
    gains([
        ("held back", standing.held_back),
        ("in shadow", standing.shadow),
        ("together", standing.together),
    ])
}

/// Mean squared errors of the two models, and the gain of the candidate.
fn gains<const N: usize>(of: [(&str, Option<Gain>); N]) -> String {
    let row = |(rows, gain): (&str, Option<Gain>)| match gain {
        Some(Gain { rows: n, live, candidate, gain, low, high }) => [
            rows.to_owned(),
            n.to_string(),
            format!("{live:.4}"),
            format!("{candidate:.4}"),
            format!("{gain:+.4} ({low:+.4} to {high:+.4})"),
        ],
        None => [rows, "0", "-", "-", "-"].map(str::to_owned),
    };
    table(["ROWS", "N", "ERROR NOW", "CANDIDATE'S", "GAIN"], of.map(row))
}
