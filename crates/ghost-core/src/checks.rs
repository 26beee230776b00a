//! Judges an answer by what can be checked without a model: form, schema, arithmetic, quotations.
//!
//! Pure and total: every answer gets a [`Judgement`] with a number, whatever its text. A [`Check`] looks for one thing
//! and says where it is, what it rests on and what would be right, so that the findings are a critique a model can
//! work with. [`judge`] runs them all; [`follow`] says what comes next, within the bounds of the loop: accept, revise,
//! escalate, or give up. The evaluator uses both, and so does a worker where no evaluator is alive.

use serde_json::Value;

use crate::inference::Provider;
use crate::lifecycle::{
    Answer, DEFAULT_CAPABILITY, Evaluation, Event, Finding, Judgement, MAX_REVISIONS, Next, Record, Severity,
    State,
};
use crate::task::{Kind, TaskRequest};
use crate::taskmaster::route::Route;

mod arithmetic;
mod form;
mod quotation;
mod shape;

pub use arithmetic::Arithmetic;
pub use form::{CutOff, Empty, Refusal, Repetition};
pub use quotation::Quotation;
pub use shape::{Schema, Shape};

/// Looks for one thing that can be wrong with an answer.
pub trait Check: Send + Sync {
    /// Its name, which is the `kind` of its findings.
    fn name(&self) -> &'static str;

    /// What is wrong; nothing where the answer passes or the check does not apply.
    fn check(&self, subject: &Subject, answer: &Answer) -> Vec<Finding>;
}

/// What an answer is judged against.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// What was asked.
    pub request: &'a TaskRequest,
    /// The kind of simple task that the prompt shows.
    pub kind: Option<Kind>,
}

impl Subject<'_> {
    /// Whether the answer is to be JSON.
    pub fn wants_json(&self) -> bool {
        self.request.parameters.schema.is_some()
            || matches!(self.kind, Some(Kind::EmailParse | Kind::KeyValue))
    }
}

/// The checks that need no training, cheap ones first.
pub const FORMAL: [&dyn Check; 8] =
    [&Empty, &CutOff, &Refusal, &Schema, &Shape, &Repetition, &Quotation, &Arithmetic];

/// The most findings that a judgement keeps: a critique longer than this helps nobody.
pub const MAX_FINDINGS: usize = 16;
/// The most bytes that a finding quotes.
const MAX_EVIDENCE: usize = 240;

/// Judges an answer by every formal check.
///
/// The form of a kind is asked of models only: a ghost with a capability of its own is held to what the task itself
/// says, a schema or categories.
///
/// The confidence is the engine's own where it gave one, lowered by what was found. It orders answers; it is not
/// calibrated, as no labelled answers went into it.
pub fn judge(record: &Record, answer: &Answer, evaluation: Evaluation) -> Judgement {
    let kind = record.verdict.kind.filter(|_| record.capability() == DEFAULT_CAPABILITY);
    let subject = Subject { request: &record.request, kind };
    let mut findings: Vec<Finding> = FORMAL.iter().flat_map(|check| check.check(&subject, answer)).collect();
    findings.truncate(MAX_FINDINGS);
    let is_valid = findings.iter().all(|finding| finding.severity < Severity::Reject);
    let prior = answer.confidence.filter(|c| c.is_finite()).unwrap_or(0.8).clamp(0.0, 1.0);
    let worth = if is_valid { prior } else { prior * 0.1 };
    // At most 16 findings, so the power stays in range.
    let confidence = worth * 0.9_f64.powi(i32::try_from(findings.len()).unwrap_or(i32::MAX));
    Judgement { is_valid, confidence, evaluation, findings }
}

/// Who is there to do better than the answer at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Help {
    /// Whether an LLM is configured.
    pub llm_available: bool,
    /// Whether a task that the SLM cannot do may go to the LLM at all (ENABLE_SLM_FALLBACK).
    pub fallback: bool,
    /// Whether the SLM can make use of a critique: the tiny one, trained on a few kinds, cannot.
    pub slm_revises: bool,
}

impl Default for Help {
    fn default() -> Self {
        Self { llm_available: true, fallback: true, slm_revises: false }
    }
}

/// What follows a judgement.
///
/// An SLM that can use a critique gets one revision, or [`MAX_REVISIONS`] where no LLM waits behind it; then, as from
/// the tiny SLM at once, the task goes up. It does so even where no LLM is configured: the engine then ends it
/// `llm_unavailable` with the words that help, and `ghost retry` takes it up later. The LLM gets [`MAX_REVISIONS`]
/// revisions. So does whoever has a capability of its own, before the task goes up: a ghost can use a critique. A refusal
/// is never sent back, nor is an answer with the same findings twice, nor one that passed.
pub fn follow(record: &Record, answer: &Answer, judgement: &Judgement, help: Help) -> Next {
    if judgement.is_valid {
        return Next::Accept;
    }
    let refused = judgement.findings.iter().any(|finding| finding.kind == Refusal.name());
    let gained_nothing = record.draft.is_some()
        && record.judgements.last().is_some_and(|last| same(&last.findings, &judgement.findings));
    let stuck = refused || gained_nothing;
    match answer.provider {
        Provider::Slm => {
            let may_escalate =
                help.fallback && !record.request.parameters.force_slm && record.decision.route != Route::Llm;
            let revisions = match help {
                _ if record.capability() != DEFAULT_CAPABILITY => MAX_REVISIONS,
                Help { slm_revises: false, .. } => 0,
                Help { llm_available: true, .. } if may_escalate => 1,
                _ => MAX_REVISIONS,
            };
            match (!stuck && record.revisions < revisions, may_escalate) {
                (true, _) => Next::Revise,
                (false, true) => Next::Escalate,
                (false, false) => Next::GiveUp,
            }
        }
        Provider::Llm if stuck || record.revisions >= MAX_REVISIONS => Next::GiveUp,
        Provider::Llm => Next::Revise,
    }
}

/// Judges the answer that an evaluator has claimed; none where the record holds no claimed answer.
pub fn verdict_on(record: &Record, evaluation: Evaluation, help: Help) -> Option<Event> {
    let State::Evaluating(lease, answer) = &record.state else { return None };
    let judgement = judge(record, answer, evaluation);
    let next = follow(record, answer, &judgement, help);
    Some(Event::Judge { token: lease.token, judgement, next })
}

/// Whether two judgements found the same; where in the text does not matter.
fn same(one: &[Finding], other: &[Finding]) -> bool {
    let gist = |finding: &Finding| (finding.kind.clone(), finding.evidence.clone());
    one.iter().map(gist).eq(other.iter().map(gist))
}

/// A finding that the answer will not do.
fn reject(check: &dyn Check, evidence: impl Into<String>, suggested_edit: impl Into<String>) -> Finding {
    Finding {
        kind: check.name().to_owned(),
        span: None,
        evidence: shortened(evidence.into()),
        suggested_edit: Some(shortened(suggested_edit.into())),
        severity: Severity::Reject,
    }
}

/// Cuts a text to what a finding may hold, between characters.
fn shortened(mut text: String) -> String {
    if text.len() > MAX_EVIDENCE {
        let boundary = (0..=MAX_EVIDENCE).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(boundary.unwrap_or(0));
        text.push('…');
    }
    text
}

/// The answer as JSON: as the engine parsed it, else parsed now.
fn json_of(answer: &Answer) -> Result<Value, serde_json::Error> {
    match &answer.json {
        Some(json) => Ok(json.clone()),
        None => serde_json::from_str(answer.text.trim()),
    }
}

#[cfg(test)]
mod tests;
