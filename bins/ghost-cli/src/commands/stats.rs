//! `ghost stats`: what was done, saved and spent, since the store began.

use ghost_core::stats::{Latency, ProviderStatistics, Statistics};

use crate::context::Context;
use crate::exit::Exit;
use crate::output::{self, count, dollars, duration, table};
use crate::summary::savings;

pub(crate) async fn perform(context: &Context) -> anyhow::Result<Exit> {
    let statistics = context.access()?.statistics().await?;
    output::one(context.format(), &statistics, |statistics| people(statistics, context.yardstick()))?;
    Ok(Exit::Success)
}

fn people(statistics: &Statistics, yardstick: &str) -> String {
    let tasks = &statistics.tasks;
    let mut lines = vec![format!(
        "tasks: {} submitted, {} completed, {} failed, {} cancelled, {} retried, {} redelivered",
        tasks.submitted, tasks.completed, tasks.failed, tasks.cancelled, tasks.retried, tasks.redelivered
    )];
    if let Some(share) = statistics.slm_share {
        lines.push(format!("answers given on this machine: {:.1} %", share * 100.0));
    }
    lines.push(format!(
        "cost: {}{}; {}",
        dollars(statistics.cost_micro_usd),
        statistics
            .cost_per_task_micro_usd
            .map(|cost| format!(", {} a task", dollars(cost as i64)))
            .unwrap_or_default(),
        savings(statistics.saved_micro_usd, yardstick)
    ));
    if let Some(mean) = statistics.feedback.mean {
        let answers = count(statistics.feedback.ratings.unsigned_abs(), "answer");
        lines.push(format!("rated by users: {answers}, {mean:.2} of 1"));
    }
    lines.push(format!("from acceptance to claim: {}", percentiles(statistics.dispatch_ms)));
    lines.push(format!("from claim to settlement: {}\n", percentiles(statistics.latency_ms)));
    let rows = [("slm", &statistics.slm), ("llm", &statistics.llm)].map(|(name, of)| row(name, of));
    lines.join("\n")
        + "\n"
        + &table(["MODEL", "CALLS", "FAILED", "ANSWERS", "TOKENS READ", "WRITTEN", "COST", "LATENCY"], rows)
}

fn row(name: &str, of: &ProviderStatistics) -> [String; 8] {
    [
        name.to_owned(),
        of.calls.to_string(),
        of.failures.to_string(),
        of.answers.to_string(),
        of.input_tokens.to_string(),
        of.output_tokens.to_string(),
        dollars(of.cost_micro_usd),
        percentiles(of.latency_ms),
    ]
}

fn percentiles(latency: Latency) -> String {
    match (latency.p50, latency.p95, latency.p99) {
        (Some(p50), Some(p95), Some(p99)) => {
            format!("p50 {}, p95 {}, p99 {}", duration(p50), duration(p95), duration(p99))
        }
        _ => "nothing measured yet".to_owned(),
    }
}
