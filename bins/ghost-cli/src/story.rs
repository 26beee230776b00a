//! Tells the life of one task in the seven verbs: submitted, classified, dispatched, inferred, evaluated, settled,
//! counted; and rated, where its user said something.

use std::fmt::Write as _;

use ghost_core::feedback::Rating;
use ghost_core::lifecycle::{
    Attempt, Evaluation, Finding, Judgement, Record, Severity, State, Timestamp, saved_micro_usd,
};
use ghost_core::task::Status;
use ghost_core::taskmaster::Complexity;
use ghost_core::taskmaster::route::Route;

use crate::output::{count, dollars, duration, plain, short};
use crate::summary::savings;

/// The story, ready to print; `yardstick` is the model against which savings are reckoned.
pub(crate) fn tell(record: &Record, now: Timestamp, yardstick: &str) -> String {
    let mut story = Story(String::new());
    story.0.push_str(&title(record));
    story.verb("submitted", submitted(record, now));
    story.verb("classified", classified(record));
    story.verb("dispatched", dispatched(record));
    story.verb("inferred", inferred(record));
    story.verb("evaluated", evaluated(record));
    story.verb("settled", settled(record, now));
    story.verb("counted", counted(record, yardstick));
    story.verb("rated", rated(record));
    story.0
}

struct Story(String);

impl Story {
    fn verb(&mut self, verb: &str, lines: Vec<String>) {
        for (n, line) in lines.iter().enumerate() {
            let head = if n == 0 { verb } else { "" };
            writeln!(self.0, "{head:<11} {line}").expect("writing to a string never fails");
        }
    }
}

fn title(record: &Record) -> String {
    let batch = record.key.batch.map(|batch| format!(" of run {batch}")).unwrap_or_default();
    format!("task {}{batch}: {}\n", record.key.id, record.status())
}

fn submitted(record: &Record, now: Timestamp) -> Vec<String> {
    let request = &record.request;
    let mut lines = vec![
        format!(
            "{}, {} ago, as `{}` with priority {}",
            clock(record.submitted_at),
            span(record.submitted_at, now),
            plain(&request.task_type),
            request.priority.get()
        ),
        format!("\"{}\"", short(&request.description, 90)),
    ];
    if let Some(prompt) = &request.parameters.prompt {
        lines.push(format!("prompt of {}: \"{}\"", count(prompt.len() as u64, "byte"), short(prompt, 70)));
    }
    lines
}

fn classified(record: &Record) -> Vec<String> {
    let verdict = &record.verdict;
    let complexity = match verdict.complexity {
        Complexity::Simple => "simple",
        Complexity::Moderate => "moderate",
        Complexity::Complex => "complex",
    };
    let kind = verdict.kind.map(|kind| format!(", reads like {kind}")).unwrap_or_default();
    let mut lines = vec![format!(
        "{complexity}: score {:.2}, {:.0} % sure{kind}",
        verdict.score,
        verdict.confidence * 100.0
    )];
    lines.extend(verdict.reasons.iter().map(|reason| format!("- {}", plain(reason))));
    lines
}

fn dispatched(record: &Record) -> Vec<String> {
    let route = match record.decision.route {
        Route::Slm => "to the local model",
        Route::Llm => "to the LLM",
        Route::SlmThenLlm => "to the local model first, its draft decides",
    };
    let mut lines = vec![format!("{route}: {}", plain(&record.decision.reason))];
    if let Some(assignment) = &record.assignment {
        lines.push(format!("in arm {} of the experiment {}", assignment.arm.name, assignment.name()));
    }
    lines
}

fn inferred(record: &Record) -> Vec<String> {
    if record.attempts.is_empty() {
        return vec![
            match record.status() {
                Status::Pending => "not yet",
                _ => "no model was called",
            }
            .to_owned(),
        ];
    }
    let unkept = record.spent.calls.saturating_sub(record.attempts.len() as u64);
    let mut lines = Vec::new();
    if unkept > 0 {
        lines.push(format!("({} before these are counted but no longer kept)", count(unkept, "call")));
    }
    lines.extend(
        record.attempts.iter().enumerate().map(|(n, attempt)| format!("{}. {}", n + 1, call(attempt))),
    );
    lines
}

fn call(attempt: &Attempt) -> String {
    let usage = attempt.usage;
    let read = usage.input_tokens
        + usage.cache_read_tokens
        + usage.cache_write_5m_tokens
        + usage.cache_write_1h_tokens;
    let what = match &attempt.failure {
        Some(failure) => format!("gave no answer: {}", plain(&failure.to_string())),
        None => format!("answered, {} tokens read and {} written", read, usage.output_tokens),
    };
    format!(
        "{} ({}) {what}; {}, {}",
        plain(&attempt.model),
        attempt.provider.name(),
        duration(attempt.duration_ms),
        dollars(i64::try_from(attempt.cost_micro_usd).unwrap_or(i64::MAX))
    )
}

fn evaluated(record: &Record) -> Vec<String> {
    if record.judgements.is_empty() {
        let none = match record.state {
            State::Answered(_) | State::Evaluating(..) => "an evaluator has it",
            State::Completed(_) => "not asked for and not the rule for this answer",
            _ => "nothing to judge",
        };
        return vec![none.to_owned()];
    }
    record.judgements.iter().flat_map(judged).collect()
}

fn judged(judgement: &Judgement) -> Vec<String> {
    let by = match judgement.evaluation {
        Evaluation::Full => "the evaluator",
        Evaluation::FormalOnly => "the worker's formal checks",
    };
    let says = if judgement.is_valid { "accepted" } else { "not accepted" };
    let mut lines = vec![format!("{says} by {by}, {:.0} % sure", judgement.confidence * 100.0)];
    lines.extend(judgement.findings.iter().map(finding));
    lines
}

fn finding(finding: &Finding) -> String {
    let weight = match finding.severity {
        Severity::Advice => " (advice)",
        Severity::Reject => "",
    };
    let edit = finding.suggested_edit.as_ref().map(|edit| format!("; better: {}", short(edit, 60)));
    format!(
        "- {}{weight}: {}{}",
        plain(&finding.kind),
        short(&finding.evidence, 90),
        edit.unwrap_or_default()
    )
}

fn settled(record: &Record, now: Timestamp) -> Vec<String> {
    match &record.state {
        State::Pending(not_before) if *not_before > now => {
            vec![format!("not yet: it waits for {}", span(now, *not_before))]
        }
        State::Pending(_) => vec!["not yet: it waits for a worker".to_owned()],
        State::Assigned(lease) | State::InProgress(lease) | State::Evaluating(lease, _) => {
            vec![format!("not yet: {} holds it", lease.holder)]
        }
        State::Answered(_) => vec!["not yet: it waits for an evaluator".to_owned()],
        State::Cancelled => vec!["withdrawn".to_owned()],
        State::Failed(failure) => {
            let failed = format!("failed with {}", plain(&failure.to_string()));
            vec![failed, format!("`ghost retry {}` tries again", record.key)]
        }
        State::Completed(answer) => {
            let took = record.first_claimed_at.zip(record.settled_at).map(|(first, last)| span(first, last));
            let sure =
                answer.confidence.map(|sure| format!(", {:.0} % sure", sure * 100.0)).unwrap_or_default();
            let mut lines = vec![format!(
                "completed by {} after {}{sure}:",
                plain(&answer.model),
                took.unwrap_or_default()
            )];
            lines.extend(answer.text.lines().map(plain));
            lines
        }
    }
}

fn counted(record: &Record, yardstick: &str) -> Vec<String> {
    let spent = record.spent;
    let mut line = format!(
        "{}, {} tokens read, {} written, cost {}",
        count(spent.calls, "call"),
        spent.usage.input_tokens,
        spent.usage.output_tokens,
        dollars(i64::try_from(spent.cost_micro_usd).unwrap_or(i64::MAX))
    );
    if let State::Completed(answer) = &record.state {
        line.push_str(&format!(", {}", savings(saved_micro_usd(answer, spent), yardstick)));
    }
    let mut lines = vec![line];
    if record.generation > 0 {
        lines.push(format!("taken up again {}", count(record.generation.into(), "time")));
    }
    if record.deliveries > 1 {
        lines.push(format!("handed out {}", count(record.deliveries.into(), "time")));
    }
    lines
}

/// What its user said of the answer, if anything.
fn rated(record: &Record) -> Vec<String> {
    let Some(feedback) = &record.feedback else { return Vec::new() };
    let mut lines = vec![match feedback.rating {
        Rating::GOOD => "good".to_owned(),
        Rating::BAD => "bad".to_owned(),
        between => format!("{} of 1", between.get()),
    }];
    lines.extend(feedback.comment.iter().map(|comment| format!("\"{}\"", plain(comment))));
    if let Some(correction) = &feedback.correction {
        lines.push("right would have been:".to_owned());
        lines.extend(correction.lines().map(plain));
    }
    lines
}

fn span(from: Timestamp, to: Timestamp) -> String {
    duration(u64::try_from(to.since(from).as_millis()).unwrap_or(u64::MAX))
}

/// A moment in UTC.
pub(crate) fn clock(at: Timestamp) -> String {
    let milliseconds = i64::try_from(at.0).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(milliseconds)
        .map(|at| at.to_string())
        .unwrap_or_else(|_| "?".to_owned())
}
