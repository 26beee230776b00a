//! `ghost retry`: takes failed tasks up again, as after setting a key.

use ghost_core::id::{BatchId, TaskKey};
use ghost_core::lifecycle::{Record, State};
use ghost_core::task::Status;
use ghost_service::data_dir::Turn;
use ghost_service::models;

use crate::access::{Access, Local};
use crate::context::Context;
use crate::exit::{Exit, misuse};
use crate::output::{Format, count, talk};
use crate::sink::Sink;
use crate::summary::{LLM_UNAVAILABLE, Summary};
use crate::swarm::{self, Swarm};

/// Take failed tasks up again
///
///   ANTHROPIC_API_KEY=… ghost retry --all        everything that failed, after setting a key
///   ghost retry line-3-a1b2c3d4
///
/// The results go to stdout. `ghost run FILE.jsonl --resume` then brings the results file of that run up to date.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
#[group(required = true)]
pub(crate) struct Args {
    /// The tasks' ids, or RUN/ID where several runs have one of this id
    #[arg(value_name = "TASK")]
    tasks: Vec<String>,
    /// Everything that failed
    #[arg(long, conflicts_with = "tasks")]
    all: bool,
    /// Everything of this run that failed
    #[arg(long, value_name = "RUN", conflicts_with_all = ["tasks", "all"])]
    batch: Option<BatchId>,
}

pub(crate) async fn perform(context: &Context, args: Args) -> anyhow::Result<Exit> {
    let access = context.access()?;
    let failed = if args.tasks.is_empty() {
        access.standing(args.batch, Status::Failed).await?
    } else {
        let mut named = Vec::new();
        for name in &args.tasks {
            let record = access.find(name).await?;
            if record.status() != Status::Failed {
                return Err(misuse(format!(
                    "{name} is {}; only a failed task can be retried",
                    record.status()
                )));
            }
            named.push(record);
        }
        named
    };
    again(context, &access, failed).await
}

/// Takes these failed tasks up again, and answers them where nobody else does.
pub(crate) async fn again(context: &Context, access: &Access, failed: Vec<Record>) -> anyhow::Result<Exit> {
    if failed.is_empty() {
        talk("nothing has failed");
        return Ok(Exit::Success);
    }
    let Local { data, broker } = match access {
        Access::Local(local) => local,
        Access::Remote(remote) => {
            for record in &failed {
                remote.retry(&record.key).await?;
            }
            talk(format!("{} queued", count(failed.len() as u64, "task")));
            return Ok(Exit::Success);
        }
    };
    let available = models::available(&context.config)?;
    if !available.llm && failed.iter().all(wants_llm) {
        anyhow::bail!(
            "{} an LLM, and there is still none: set ANTHROPIC_API_KEY (or OPENAI_API_KEY or OPENAI_API_BASE, with \
             LLM_MODEL), then retry",
            if failed.len() == 1 {
                "the task needs".to_owned()
            } else {
                format!("{} tasks need", failed.len())
            }
        );
    }
    let keys: Vec<TaskKey> = failed.into_iter().map(|record| record.key).collect();
    match data.lock("ghost retry")? {
        Turn::Ours(_lock) => {
            let work = async |swarm: &Swarm| answer(context, swarm, &keys).await;
            Ok(swarm::host(context, data, broker, work).await?.unwrap_or(Exit::Interrupted))
        }
        Turn::Theirs(holder) => {
            let door = swarm::door(context, broker.clone(), available)?;
            for key in &keys {
                door.retry(key).await?;
            }
            talk(format!("{} queued for {holder}", count(keys.len() as u64, "task")));
            Ok(Exit::Success)
        }
    }
}

fn wants_llm(record: &Record) -> bool {
    matches!(&record.state, State::Failed(failure) if failure.code == LLM_UNAVAILABLE)
}

async fn answer(context: &Context, swarm: &Swarm, keys: &[TaskKey]) -> anyhow::Result<Exit> {
    for key in keys {
        swarm.handle().retry(key).await?;
    }
    let mut sink = Sink::stdout(context.output.or(Some(Format::Table)));
    let mut summary = Summary::default();
    for key in keys {
        let record = swarm.handle().wait(key).await?;
        summary.add(&record);
        sink.append(vec![(record.generation, record.result())])?;
    }
    sink.finish()?;
    talk(summary.brief());
    Ok(summary.exit(0))
}
