//! `ghost watch`: tasks as they live.
//!
//! One task is followed from event to event, all of them from look to look. At a terminal the list is drawn again in its
//! place; elsewhere each change is a line.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::time::Duration;

use ghost_core::broker::Query;
use ghost_core::id::{BatchId, TaskKey};
use ghost_core::lifecycle::Record;
use ghost_core::task::Status;
use ghost_service::shutdown;
use serde_json::json;

use super::{ps, submit};
use crate::access::{Access, Page, Seen};
use crate::context::Context;
use crate::exit::Exit;
use crate::output::{self, Format};

/// How often the list is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// From the upper left corner on, the terminal is empty.
const CLEAR: &str = "\u{1b}[H\u{1b}[J";

/// Watch tasks live, one or all of them
///
///   ghost watch                      the newest tasks, until Ctrl-C
///   ghost watch line-3-a1b2c3d4      one task, until it is settled
///   ghost watch --settled            until nothing waits and nothing runs
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// The task's id, or RUN/ID where several runs have one of this id
    #[arg(value_name = "TASK")]
    task: Option<String>,
    /// Only those of this run
    #[arg(long, value_name = "RUN", conflicts_with = "task")]
    batch: Option<BatchId>,
    /// At most so many
    #[arg(long, default_value_t = 20, value_name = "N", conflicts_with = "task")]
    limit: usize,
    /// End once nothing waits and nothing runs
    #[arg(long, conflicts_with = "task")]
    settled: bool,
}

pub(crate) async fn perform(context: &Context, args: Args) -> anyhow::Result<Exit> {
    let access = context.access()?;
    let shutdown = shutdown::signals();
    let watched = async {
        match &args.task {
            Some(name) => one(context, &access, name).await,
            None => all(context, &access, &args).await,
        }
    };
    // Ctrl-C is how one stops to watch.
    shutdown.drain.run_until_cancelled(watched).await.unwrap_or(Ok(Exit::Success))
}

async fn one(context: &Context, access: &Access, name: &str) -> anyhow::Result<Exit> {
    let key = access.find(name).await?.key;
    let mut shown = String::new();
    let mut each = |seen| match (context.format(), seen) {
        (Format::Table, Seen::Status(status)) => {
            output::talk(format!("{key} is {status}"));
            Ok(())
        }
        (Format::Table, Seen::Delta(text)) => {
            shown.push_str(&text);
            output::part(&text)
        }
        (Format::Jsonl, Seen::Status(status)) => {
            output::one(Format::Jsonl, &json!({ "status": status }), |_| String::new())
        }
        (Format::Jsonl, Seen::Delta(text)) => {
            output::one(Format::Jsonl, &json!({ "delta": text }), |_| String::new())
        }
        // One document cannot grow.
        (Format::Json, _) => Ok(()),
    };
    let record = access.watch(&key, &mut each).await?;
    submit::report(context, &record, &shown)
}

async fn all(context: &Context, access: &Access, args: &Args) -> anyhow::Result<Exit> {
    let query = Query { batch: args.batch, limit: args.limit.max(1), ..Query::default() };
    let drawn = context.format() == Format::Table && std::io::stdout().is_terminal();
    let mut known = HashMap::new();
    loop {
        let Page { records, total } = access.page(&query).await?;
        if drawn {
            draw(access, &records, total).await?;
        } else {
            tell(context.format(), &records, &mut known)?;
        }
        if args.settled && unsettled(access, args.batch).await? == 0 {
            return Ok(Exit::Success);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The list in the place of the one before.
async fn draw(access: &Access, records: &[Record], total: Option<u64>) -> anyhow::Result<()> {
    let now = access.now().await?;
    let counted = access.queue().await?;
    let counts: Vec<_> =
        counted.iter().filter(|(_, n)| *n > 0).map(|(status, n)| format!("{n} {status}")).collect();
    let head = format!("{} tasks: {}", total.unwrap_or_default(), counts.join(", "));
    let rows: Vec<_> = records.iter().map(|record| ps::row(record, now)).collect();
    output::data(&format!("{CLEAR}{head}\n\n{}", ps::people(&rows)))
}

/// A line for each task that stands elsewhere than before, oldest first.
fn tell(
    format: Format,
    records: &[Record],
    known: &mut HashMap<TaskKey, (u32, Status)>,
) -> anyhow::Result<()> {
    for record in records.iter().rev() {
        let stands = (record.generation, record.status());
        if known.insert(record.key.clone(), stands) == Some(stands) {
            continue;
        }
        let line = json!({ "task_id": record.key.to_string(), "status": record.status() });
        match format {
            Format::Table => output::data(&format!("{} {}", record.status(), record.key))?,
            // One document cannot grow, so each change is one.
            Format::Json | Format::Jsonl => output::one(Format::Jsonl, &line, |_| String::new())?,
        }
    }
    // What has left the list is not remembered, so that a long watch does not grow.
    known.retain(|key, _| records.iter().any(|record| record.key == *key));
    Ok(())
}

async fn unsettled(access: &Access, batch: Option<BatchId>) -> anyhow::Result<u64> {
    let mut unsettled = 0;
    for status in Status::ALL.into_iter().filter(|status| !status.is_settled()) {
        let query = Query { batch, status: Some(status), limit: 1, ..Query::default() };
        unsettled += access.page(&query).await?.total.unwrap_or_default();
    }
    Ok(unsettled)
}
