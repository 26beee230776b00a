//! `ghost ps`: what tasks there are and where they stand.

use std::num::NonZeroUsize;

use ghost_core::broker::Query;
use ghost_core::id::BatchId;
use ghost_core::lifecycle::{Record, State, Timestamp};
use ghost_core::task::Status;
use ghost_core::taskmaster::route::Route;
use serde::Serialize;

use crate::access::Page;
use crate::context::Context;
use crate::exit::Exit;
use crate::output::{self, dollars, duration, short, table};
use crate::story::clock;

/// List tasks, newest first
///
///   ghost ps --status failed
///   ghost ps --batch 0199c0de-… --limit 1000 --output jsonl
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Only those that stand here: pending, assigned, in_progress, completed, failed or cancelled
    #[arg(long, value_parser = status)]
    status: Option<Status>,
    /// Only those of this run
    #[arg(long, value_name = "RUN")]
    batch: Option<BatchId>,
    /// At most so many
    #[arg(long, default_value = "20", value_name = "N")]
    limit: NonZeroUsize,
}

pub(crate) fn status(name: &str) -> Result<Status, String> {
    Status::ALL.into_iter().find(|status| status.name() == name).ok_or_else(|| {
        let names: Vec<_> = Status::ALL.iter().map(|status| status.name()).collect();
        format!("one of {}", names.join(", "))
    })
}

/// One task on one line.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    task_id: String,
    batch: Option<BatchId>,
    status: Status,
    task_type: String,
    route: Route,
    submitted_at: String,
    #[serde(skip)]
    age_ms: u64,
    cost_micro_usd: u64,
    answer: Option<String>,
    error: Option<String>,
}

pub(crate) async fn perform(context: &Context, args: Args) -> anyhow::Result<Exit> {
    let access = context.access()?;
    let now = access.now().await?;
    let query = Query { batch: args.batch, status: args.status, limit: args.limit.get(), ..Query::default() };
    let Page { records, total } = access.page(&query).await?;
    let rows: Vec<_> = records.iter().map(|record| row(record, now)).collect();
    output::many(context.format(), &rows, people)?;
    if let Some(total) = total.filter(|total| *total > rows.len() as u64) {
        output::talk(format!("{} of {total}; --limit shows more", rows.len()));
    }
    Ok(Exit::Success)
}

pub(crate) fn row(record: &Record, now: Timestamp) -> Row {
    let (answer, error) = match &record.state {
        State::Completed(answer) => (Some(answer.text.clone()), None),
        State::Failed(failure) => (None, Some(failure.to_string())),
        _ => (None, None),
    };
    Row {
        task_id: record.key.id.to_string(),
        batch: record.key.batch,
        status: record.status(),
        task_type: record.request.task_type.clone(),
        route: record.decision.route,
        submitted_at: clock(record.submitted_at),
        age_ms: u64::try_from(now.since(record.submitted_at).as_millis()).unwrap_or(u64::MAX),
        cost_micro_usd: record.spent.cost_micro_usd,
        answer,
        error,
    }
}

pub(crate) fn people(rows: &[Row]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let cells = rows.iter().map(|row| {
        let route = match row.route {
            Route::Slm => "slm",
            Route::Llm => "llm",
            Route::SlmThenLlm => "slm, llm",
        };
        [
            row.task_id.clone(),
            row.status.to_string(),
            short(&row.task_type, 16),
            route.to_owned(),
            duration(row.age_ms),
            dollars(i64::try_from(row.cost_micro_usd).unwrap_or(i64::MAX)),
            short(row.answer.as_deref().or(row.error.as_deref()).unwrap_or_default(), 48),
        ]
    });
    table(["TASK", "STATUS", "TYPE", "ROUTE", "AGE", "COST", "ANSWER OR ERROR"], cells)
}
