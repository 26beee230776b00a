//! `ghost dlq`: tasks that failed because every holder vanished with them.

use std::num::NonZeroUsize;

use ghost_core::broker::Query;
use ghost_core::lifecycle::{DELIVERIES_EXHAUSTED, Record, State};

use super::{explain, ps, retry};
use crate::access::Access;
use crate::context::Context;
use crate::exit::{Exit, misuse};
use crate::output::{self, count, talk};

/// Look at dead letters, and replay them
///
/// A dead letter is a failed task with which every holder vanished: look at it before it takes the next one along.
///
///   ghost dlq list
///   ghost dlq show TASK
///   ghost dlq replay --all
#[derive(Debug, clap::Subcommand)]
#[command(verbatim_doc_comment)]
pub(crate) enum Command {
    /// List them, newest first
    List {
        /// At most so many
        #[arg(long, default_value = "20", value_name = "N")]
        limit: NonZeroUsize,
    },
    /// Tell the life of one
    Show(explain::Args),
    /// Take them up again
    #[command(group = clap::ArgGroup::new("which").required(true))]
    Replay {
        /// Their ids, or RUN/ID where several runs have one of this id
        #[arg(value_name = "TASK", group = "which")]
        tasks: Vec<String>,
        /// All of them
        #[arg(long, group = "which")]
        all: bool,
    },
}

pub(crate) async fn perform(context: &Context, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::List { limit } => list(context, limit.get()).await,
        Command::Show(args) => explain::perform(context, args).await,
        Command::Replay { tasks, .. } => replay(context, &tasks).await,
    }
}

fn letters() -> Query {
    Query { failure: Some(DELIVERIES_EXHAUSTED.to_owned()), ..Query::default() }
}

async fn list(context: &Context, limit: usize) -> anyhow::Result<Exit> {
    let access = context.access()?;
    let now = access.now().await?;
    let records = access.page(&Query { limit, ..letters() }).await?.records;
    let rows: Vec<_> = records.iter().map(|record| ps::row(record, now)).collect();
    output::many(context.format(), &rows, ps::people)?;
    match rows.len() {
        0 => talk("there are no dead letters"),
        n if n == limit => talk(format!("the newest {n}; --limit shows more")),
        _ => {}
    }
    Ok(Exit::Success)
}

/// Those that are named, or all.
async fn replay(context: &Context, names: &[String]) -> anyhow::Result<Exit> {
    let access = context.access()?;
    let records = if names.is_empty() {
        access.all(&letters()).await?
    } else {
        let mut named = Vec::new();
        for name in names {
            let record = access.find(name).await?;
            if !is_dead(&record) {
                return Err(misuse(format!(
                    "{name} is no dead letter but {}; `ghost retry` takes other failures up",
                    record.status()
                )));
            }
            named.push(record);
        }
        named
    };
    if records.is_empty() {
        talk("there are no dead letters");
        return Ok(Exit::Success);
    }
    let Access::Remote(remote) = &access else { return retry::again(context, &access, records).await };
    for record in &records {
        remote.replay(&record.key).await?;
    }
    talk(format!("{} queued", count(records.len() as u64, "task")));
    Ok(Exit::Success)
}

fn is_dead(record: &Record) -> bool {
    matches!(&record.state, State::Failed(failure) if failure.code == DELIVERIES_EXHAUSTED)
}
