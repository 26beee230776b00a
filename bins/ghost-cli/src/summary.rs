//! What came of a batch, in numbers and in words.

use std::collections::BTreeMap;
use std::time::Duration;

use ghost_core::inference::Provider;
use ghost_core::lifecycle::{Record, State, saved_micro_usd};
use serde::Serialize;

use crate::exit::Exit;
use crate::output::{count, dollars, duration};

/// The code of a task that needs an LLM where there is none; it waits for `ghost retry`.
pub(crate) const LLM_UNAVAILABLE: &str = "llm_unavailable";

/// Adds up settled tasks.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    /// Answered by the local model.
    pub locally: u64,
    /// Answered by the LLM.
    pub by_llm: u64,
    /// Failed for want of an LLM.
    pub needing_llm: u64,
    /// Failed for other reasons, by code.
    pub failed: BTreeMap<String, u64>,
    /// Withdrawn.
    pub cancelled: u64,
    cost_micro_usd: i64,
    saved_micro_usd: i64,
    /// From the first claim to the end, in milliseconds.
    latencies: Vec<u64>,
}

/// What a run adds to the sum of its tasks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Circumstances<'a> {
    /// Lines of the file that were no task.
    pub rejected: u64,
    /// Accepted, but not settled: an interrupted run.
    pub unsettled: u64,
    /// From start to end.
    pub elapsed: Duration,
    /// The model against which savings are reckoned.
    pub yardstick: &'a str,
    /// Whether nothing of it was real.
    pub dry_run: bool,
}

impl Summary {
    /// Counts one settled task.
    pub(crate) fn add(&mut self, record: &Record) {
        let signed = |micro_usd| i64::try_from(micro_usd).unwrap_or(i64::MAX);
        self.cost_micro_usd = self.cost_micro_usd.saturating_add(signed(record.spent.cost_micro_usd));
        if let (Some(first), Some(last)) = (record.first_claimed_at, record.settled_at) {
            self.latencies.push(u64::try_from(last.since(first).as_millis()).unwrap_or(u64::MAX));
        }
        match &record.state {
            State::Completed(answer) => {
                match answer.provider {
                    Provider::Slm => self.locally += 1,
                    Provider::Llm => self.by_llm += 1,
                }
                self.saved_micro_usd =
                    self.saved_micro_usd.saturating_add(saved_micro_usd(answer, record.spent));
            }
            State::Failed(failure) if failure.code == LLM_UNAVAILABLE => self.needing_llm += 1,
            State::Failed(failure) => *self.failed.entry(failure.code.clone()).or_default() += 1,
            State::Cancelled => self.cancelled += 1,
            _ => {}
        }
    }

    /// How many were counted.
    pub(crate) fn settled(&self) -> u64 {
        self.locally + self.by_llm + self.needing_llm + self.failed() + self.cancelled
    }

    fn failed(&self) -> u64 {
        self.failed.values().sum()
    }

    /// The exit code of a run that came to its end.
    pub(crate) fn exit(&self, rejected: u64) -> Exit {
        if rejected > 0 {
            Exit::Failed
        } else if self.failed() > 0 {
            Exit::TaskFailed
        } else {
            Exit::Success
        }
    }

    /// The same for programs.
    pub(crate) fn report(&self, about: Circumstances<'_>) -> Report<'_> {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        Report {
            answered_locally: self.locally,
            answered_by_llm: self.by_llm,
            needing_llm: self.needing_llm,
            failed: &self.failed,
            cancelled: self.cancelled,
            rejected_lines: about.rejected,
            unsettled: about.unsettled,
            cost_micro_usd: self.cost_micro_usd,
            saved_micro_usd: self.saved_micro_usd,
            compared_with: about.yardstick.to_owned(),
            latency_ms: Percentiles {
                p50: percentile(&sorted, 50),
                p95: percentile(&sorted, 95),
                p99: percentile(&sorted, 99),
            },
            duration_ms: u64::try_from(about.elapsed.as_millis()).unwrap_or(u64::MAX),
            dry_run: about.dry_run,
        }
    }

    /// In one line.
    pub(crate) fn brief(&self) -> String {
        format!(
            "{} settled: answered locally {}, answered by the LLM {}, needing Claude {}, failed {}",
            count(self.settled(), "task"),
            self.locally,
            self.by_llm,
            self.needing_llm,
            self.failed()
        )
    }

    /// In words.
    pub(crate) fn words(&self, about: Circumstances<'_>) -> String {
        let report = self.report(about);
        let mut lines = vec![format!("{} in {}", self.brief(), duration(report.duration_ms))];
        if self.needing_llm > 0 {
            lines.push(
                "  To have those answered: set ANTHROPIC_API_KEY (or LLM_MODEL with OPENAI_API_KEY, or with \
                 OPENAI_API_BASE for a server of your own), then `ghost retry --all`."
                    .to_owned(),
            );
        }
        if !self.failed.is_empty() {
            let by_code: Vec<_> = self.failed.iter().map(|(code, n)| format!("{code} {n}")).collect();
            lines.push(format!(
                "failed {} ({}); `ghost ps --status failed` lists them, `ghost explain TASK` says why",
                self.failed(),
                by_code.join(", ")
            ));
        }
        if self.cancelled > 0 {
            lines.push(format!("cancelled {}", self.cancelled));
        }
        if about.rejected > 0 {
            lines.push(format!("rejected {}, named above with their reasons", count(about.rejected, "line")));
        }
        lines.push(format!(
            "cost {}, {}",
            dollars(self.cost_micro_usd),
            savings(self.saved_micro_usd, about.yardstick)
        ));
        if let Percentiles { p50: Some(p50), p95: Some(p95), p99: Some(p99) } = report.latency_ms {
            lines.push(format!(
                "latency from claim to settlement: p50 {}, p95 {}, p99 {}",
                duration(p50),
                duration(p95),
                duration(p99)
            ));
        }
        if about.dry_run {
            lines.push("This was a dry run: scripted models, nothing stored, nothing paid.".to_owned());
        }
        lines.join("\n")
    }
}

/// Savings with the assumption behind them.
pub(crate) fn savings(saved_micro_usd: i64, yardstick: &str) -> String {
    let against = format!("against everything on {yardstick}, had it read and written the same tokens");
    if saved_micro_usd < 0 {
        format!("{} more {against}", dollars(-saved_micro_usd))
    } else {
        format!("saved {} {against}", dollars(saved_micro_usd))
    }
}

/// A [`Summary`] as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct Report<'a> {
    answered_locally: u64,
    answered_by_llm: u64,
    needing_llm: u64,
    failed: &'a BTreeMap<String, u64>,
    cancelled: u64,
    rejected_lines: u64,
    unsettled: u64,
    cost_micro_usd: i64,
    saved_micro_usd: i64,
    compared_with: String,
    latency_ms: Percentiles,
    duration_ms: u64,
    dry_run: bool,
}

#[derive(Debug, Serialize)]
struct Percentiles {
    p50: Option<u64>,
    p95: Option<u64>,
    p99: Option<u64>,
}

/// The smallest value that `percent` of them do not exceed.
fn percentile(sorted: &[u64], percent: usize) -> Option<u64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABOUT: Circumstances<'static> = Circumstances {
        rejected: 0,
        unsettled: 0,
        elapsed: Duration::from_millis(4_200),
        yardstick: "claude-sonnet-5-5",
        dry_run: false,
    };

    fn failed(code: &str) -> Summary {
        Summary { failed: BTreeMap::from([(code.to_owned(), 2)]), ..Summary::default() }
    }

    #[test]
    fn tasks_that_wait_for_an_llm_are_no_failure_of_the_run() {
        let summary = Summary { needing_llm: 3, ..Summary::default() };
        assert_eq!(summary.exit(0), Exit::Success);
        let words = summary.words(ABOUT);
        assert!(words.contains("needing Claude 3") && words.contains("set ANTHROPIC_API_KEY"), "{words}");
        assert!(words.contains("`ghost retry --all`"), "{words}");
    }

    #[test]
    fn rejected_lines_weigh_more_than_failed_tasks() {
        assert_eq!(failed("timeout").exit(0), Exit::TaskFailed);
        assert_eq!(failed("timeout").exit(1), Exit::Failed);
        assert_eq!(Summary::default().exit(1), Exit::Failed);
    }

    #[test]
    fn savings_name_what_they_are_compared_with() {
        let saved = Summary { locally: 1, saved_micro_usd: 1_500, ..Summary::default() };
        assert!(saved.words(ABOUT).contains("saved $0.001500 against everything on claude-sonnet-5-5"));
        let lost = Summary { by_llm: 1, saved_micro_usd: -1_500, ..Summary::default() };
        assert!(lost.words(ABOUT).contains("$0.001500 more against everything on claude-sonnet-5-5"));
    }

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let sorted: Vec<u64> = (1..=100).collect();
        assert_eq!([50, 95, 99].map(|p| percentile(&sorted, p)), [Some(50), Some(95), Some(99)]);
        assert_eq!(percentile(&[7], 99), Some(7));
        assert_eq!(percentile(&[], 50), None);
    }
}
