//! A record as Redis keeps it, and back; and news as it travels.
//!
//! A task is three texts. The *request*, with what else never changes, is written once. The *record* is the JSON of
//! everything that [`lifecycle::step`] may change, as Rust wrote it last. The *head* is what scripts compare and index:
//!
//! ```text
//! 1     status, one letter
//! 2     number of the submit, which orders lists and ties: 14 digits
//! 16    number of the settlement, once it is settled: 14 digits
//! 30    version: 10 digits, a space, and the lease token or dashes: 36 characters
//! 77    place: s<settled at> | l<ends> | q<not before><queued at><timeout><ring>:<tenant>, and a line break
//!       claim, where the latest write was one: <token> <at> <lease> <status> <holder>, and a line break
//!       marks of the latest writes, newest first, 17 characters each
//! ```
//!
//! Times are 13 digits. A queued place's timeout is `@` and the moment that the task must be settled by or, before its
//! first claim, `+` and the time that it will have from then on.
//!
//! A claim happens inside Redis, where there is no `step`. So what the script writes is the event, the claim in the
//! head, and [`Row::record`] steps the record with it: the same answer whoever reads, and no second state machine in
//! Lua. The next commit writes the whole record and with it the end of the claim.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::keys::{self, task_key};
use crate::broker::{Commit, Error, News};
use crate::experiment::Assignment;
use crate::feedback::Feedback;
use crate::id::LeaseToken;
use crate::learning::outcomes::Shadow;
use crate::lifecycle::{
    self, Answer, Attempt, Effect, Event, Judgement, Place, Record, Spent, Stage, State, Timestamp,
};
use crate::task::{Status, TaskRequest};
use crate::taskmaster::Verdict;
use crate::taskmaster::route::Decision;

/// What never changes.
#[derive(Serialize, Deserialize)]
struct Fixed<'a> {
    submitted_at: Timestamp,
    fingerprint: Cow<'a, str>,
    request: Cow<'a, TaskRequest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    assignment: Option<Cow<'a, Assignment>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shadow: Option<Cow<'a, Shadow>>,
}

/// What a step may change.
#[derive(Serialize, Deserialize)]
struct Changing<'a> {
    version: u64,
    generation: u32,
    state: Cow<'a, State>,
    verdict: Cow<'a, Verdict>,
    decision: Cow<'a, Decision>,
    queued_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first_claimed_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    settled_at: Option<Timestamp>,
    deliveries: u32,
    revisions: u32,
    attempts: Cow<'a, [Attempt]>,
    spent: Spent,
    judgements: Cow<'a, [Judgement]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    draft: Option<Cow<'a, Answer>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    feedback: Option<Cow<'a, Feedback>>,
}

/// What a script is given of a record that it writes.
pub(super) struct Text {
    pub(super) member: String,
    /// Status, version, token and place, as in the head.
    pub(super) head: String,
    /// Tells this write from any other of the task.
    pub(super) mark: String,
    pub(super) record: String,
}

impl Text {
    pub(super) fn of(record: &Record) -> Self {
        // Every field is named here, so that a new one cannot be forgotten.
        let Record {
            key,
            request: _,
            fingerprint: _,
            version,
            generation,
            state,
            verdict,
            decision,
            assignment: _,
            shadow: _,
            submitted_at: _,
            queued_at,
            first_claimed_at,
            settled_at,
            deliveries,
            revisions,
            attempts,
            spent,
            judgements,
            draft,
            feedback,
        } = record;
        let changing = Changing {
            version: *version,
            generation: *generation,
            state: Cow::Borrowed(state),
            verdict: Cow::Borrowed(verdict),
            decision: Cow::Borrowed(decision),
            queued_at: *queued_at,
            first_claimed_at: *first_claimed_at,
            settled_at: *settled_at,
            deliveries: *deliveries,
            revisions: *revisions,
            attempts: Cow::Borrowed(attempts),
            spent: *spent,
            judgements: Cow::Borrowed(judgements),
            draft: draft.as_ref().map(Cow::Borrowed),
            feedback: feedback.as_ref().map(Cow::Borrowed),
        };
        let text = serde_json::to_string(&changing).expect("a record is always JSON");
        let letter = letter(record.status());
        let guard = guard(record.version, record.lease().map(|lease| lease.token));
        Self {
            member: keys::member(key),
            head: format!("{letter}{guard}{}", place(record)),
            mark: mark(&text),
            record: text,
        }
    }
}

/// The JSON of what never changes in a record.
pub(super) fn fixed(record: &Record) -> String {
    let fixed = Fixed {
        submitted_at: record.submitted_at,
        fingerprint: Cow::Borrowed(&record.fingerprint),
        request: Cow::Borrowed(&record.request),
        assignment: record.assignment.as_ref().map(Cow::Borrowed),
        shadow: record.shadow.as_ref().map(Cow::Borrowed),
    };
    serde_json::to_string(&fixed).expect("a request is always JSON")
}

/// Version and token as a head has them.
pub(super) fn guard(version: u64, token: Option<LeaseToken>) -> String {
    match token {
        Some(token) => format!("{version:010} {token}"),
        None => format!("{version:010} {NO_TOKEN}"),
    }
}

const NO_TOKEN: &str = "------------------------------------";

/// A time as a place has it.
fn digits(milliseconds: u64) -> String {
    format!("{:013}", milliseconds.min(LATEST))
}

/// The last time that a place can name, in milliseconds: in the year 2286.
const LATEST: u64 = 9_999_999_999_999;
/// The longest lease.
pub(super) const LONGEST: Duration = Duration::from_millis(LATEST);

/// A status as a head and the tallies have it.
pub(super) fn letter(status: Status) -> char {
    match status {
        Status::Pending => 'p',
        Status::Assigned => 'a',
        Status::InProgress => 'i',
        Status::Completed => 'c',
        Status::Failed => 'f',
        Status::Cancelled => 'x',
    }
}

fn place(record: &Record) -> String {
    let deadline = record.deadline();
    match record.place() {
        Place::Settled => format!("s{}", digits(record.settled_at.unwrap_or_default().0)),
        Place::Leased { until } => {
            format!("l{}", digits(deadline.map_or(until, |deadline| deadline.min(until)).0))
        }
        Place::Queue { stage, not_before } => {
            let timeout = match deadline {
                Some(deadline) => format!("@{}", digits(deadline.0)),
                None => {
                    format!(
                        "+{}",
                        digits(u64::try_from(record.request.timeout().as_millis()).unwrap_or(u64::MAX))
                    )
                }
            };
            let capability = match stage {
                Stage::Infer => keys::capability(record.capability()),
                Stage::Evaluate => EVALUATION.to_owned(),
            };
            format!(
                "q{}{}{timeout}{}:{}:{capability}:{}",
                digits(not_before.0),
                digits(record.queued_at.0),
                stage.name(),
                record.class() as u8,
                record.tenant(),
            )
        }
    }
}

/// What stands for a capability in the queues of evaluators, who are asked for nothing.
pub(super) const EVALUATION: &str = "any";

fn mark(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest[..8].iter().map(|byte| format!("{byte:02x}")).chain([" ".to_owned()]).collect()
}

/// A task as `read` in common.lua returns it.
pub(super) struct Row {
    pub(super) member: String,
    /// Orders lists; none where the task is not there.
    pub(super) number: Option<u64>,
    claim: String,
    record: Vec<u8>,
    request: Vec<u8>,
}

impl Row {
    /// How many texts make a row.
    pub(super) const FIELDS: usize = 5;

    pub(super) fn of(fields: [Option<Vec<u8>>; Row::FIELDS]) -> Result<Self, Error> {
        let [member, number, claim, record, request] = fields;
        let number = number.map(|number| parsed(text(number)?.as_str(), "a number")).transpose()?;
        Ok(Self {
            member: text(member.unwrap_or_default())?,
            number,
            claim: text(claim.unwrap_or_default())?,
            record: record.unwrap_or_default(),
            request: request.unwrap_or_default(),
        })
    }

    /// The record, or none where the task is not there.
    pub(super) fn record(self) -> Result<Option<Record>, Error> {
        if self.number.is_none() {
            return Ok(None);
        }
        let record = record(&self.member, &self.record, &self.request)?;
        if self.claim.is_empty() {
            return Ok(Some(record));
        }
        let (event, at) =
            claim(&self.claim).ok_or_else(|| damaged(&self.member, "has an unreadable claim"))?;
        claimed(&record, event, at).map(Some)
    }
}

/// The record that was written last, before whatever claim is in its head.
pub(super) fn record(member: &str, record: &[u8], request: &[u8]) -> Result<Record, Error> {
    let key = task_key(member).ok_or_else(|| damaged(member, "this is no task's name"))?;
    let json = |error: serde_json::Error| damaged(member, error);
    let changing: Changing<'_> = serde_json::from_slice(record).map_err(json)?;
    let fixed: Fixed<'_> = serde_json::from_slice(request).map_err(json)?;
    Ok(Record {
        key,
        request: fixed.request.into_owned(),
        fingerprint: fixed.fingerprint.into_owned(),
        version: changing.version,
        generation: changing.generation,
        state: changing.state.into_owned(),
        verdict: changing.verdict.into_owned(),
        decision: changing.decision.into_owned(),
        assignment: fixed.assignment.map(Cow::into_owned),
        shadow: fixed.shadow.map(Cow::into_owned),
        submitted_at: fixed.submitted_at,
        queued_at: changing.queued_at,
        first_claimed_at: changing.first_claimed_at,
        settled_at: changing.settled_at,
        deliveries: changing.deliveries,
        revisions: changing.revisions,
        attempts: changing.attempts.into_owned(),
        spent: changing.spent,
        judgements: changing.judgements.into_owned(),
        draft: changing.draft.map(Cow::into_owned),
        feedback: changing.feedback.map(Cow::into_owned),
    })
}

/// The record after a claim that a script noted.
pub(super) fn claimed(record: &Record, event: Event, at: Timestamp) -> Result<Record, Error> {
    let stepped = lifecycle::step(record, event, at);
    stepped
        .map(|(claimed, _)| claimed)
        .map_err(|refusal| damaged(&record.key.to_string(), format!("it was handed out, but {refusal}")))
}

/// The event that a script wrote, and when it did.
fn claim(line: &str) -> Option<(Event, Timestamp)> {
    let mut words = line.splitn(5, ' ');
    let token = LeaseToken::parse(words.next()?)?;
    let at = Timestamp(words.next()?.parse().ok()?);
    let lease = Duration::from_millis(words.next()?.parse().ok()?);
    let begins = words.next()? == letter(Status::InProgress).to_string();
    let holder = words.next()?.parse().ok()?;
    Some((Event::Claim { holder, token, lease, begins }, at))
}

/// A commit as its script reads it.
pub(super) struct Prepared {
    text: Text,
    guard: String,
    effects: Vec<Effect>,
}

impl Prepared {
    pub(super) fn of(commit: &Commit) -> Self {
        Self {
            text: Text::of(&commit.record),
            guard: guard(commit.version, commit.token),
            effects: commit.effects.clone(),
        }
    }

    /// The task that it writes.
    pub(super) fn member(&self) -> &str {
        &self.text.member
    }

    pub(super) fn args(&self) -> [&str; 5] {
        let Text { member, head, mark, record } = &self.text;
        [member, &self.guard, head, mark, record]
    }

    /// What all of them count and tell.
    pub(super) fn together<'a>(commits: impl Iterator<Item = &'a Prepared>) -> (String, String) {
        let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
        let mut news = Vec::new();
        for commit in commits {
            for effect in &commit.effects {
                match effect {
                    Effect::Publish(status) => {
                        news.push(format!("{}\n{}", changed(*status), commit.text.member))
                    }
                    Effect::Wake(stage) => news.push(work(*stage)),
                    Effect::Count(count) => {
                        for (name, n) in &count.0 {
                            let sum = counts.entry(name).or_default();
                            *sum = sum.saturating_add(*n);
                        }
                    }
                }
            }
        }
        (lines(counts), news.join("\n"))
    }
}

/// Counts as scripts read them.
pub(super) fn lines<'a>(counts: impl IntoIterator<Item = (&'a str, i64)>) -> String {
    counts.into_iter().map(|(name, n)| format!("{name} {n}\n")).collect()
}

/// The line before the members that have a new status.
pub(super) fn changed(status: Status) -> String {
    format!("c {}", status.name())
}

/// The line that tells of work.
pub(super) fn work(stage: Stage) -> String {
    format!("w {}", stage.name())
}

/// News as one message. A delta may have several lines, so it travels alone.
pub(super) fn message(news: &News) -> String {
    match news {
        News::Work(stage) => work(*stage),
        News::Changed(key, status) => format!("{}\n{}", changed(*status), keys::member(key)),
        News::Delta(key, text) => format!("d {}\n{text}", keys::member(key)),
    }
}

/// The news in a message; what nobody can read is left out, since news may be missed.
pub(super) fn news(message: &str) -> Vec<News> {
    if let Some((member, text)) = message.strip_prefix("d ").and_then(|delta| delta.split_once('\n')) {
        return task_key(member).map(|key| News::Delta(key, text.to_owned())).into_iter().collect();
    }
    let mut news = Vec::new();
    let mut status = None;
    for line in message.lines() {
        if let Some(name) = line.strip_prefix("c ") {
            status = Status::ALL.into_iter().find(|status| status.name() == name);
        } else if let Some(name) = line.strip_prefix("w ") {
            let stage = [Stage::Infer, Stage::Evaluate].into_iter().find(|stage| stage.name() == name);
            news.extend(stage.map(News::Work));
        } else {
            news.extend(task_key(line).zip(status).map(|(key, status)| News::Changed(key, status)));
        }
    }
    news
}

/// A text that must be UTF-8.
pub(super) fn text(bytes: Vec<u8>) -> Result<String, Error> {
    String::from_utf8(bytes).map_err(|_| Error::Damaged("Redis holds what is no text".to_owned()))
}

pub(super) fn parsed<T: FromStr>(text: &str, what: &str) -> Result<T, Error> {
    text.parse().map_err(|_| Error::Damaged(format!("{text:?} is not {what}")))
}

fn damaged(member: &str, why: impl std::fmt::Display) -> Error {
    Error::Damaged(format!("task {member} cannot be read: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{BatchId, TaskKey};

    #[test]
    fn news_arrives_as_it_was_sent() {
        let key = TaskKey::lone("a b".parse().expect("an id"));
        for sent in [
            News::Work(Stage::Evaluate),
            News::Changed(key.clone(), Status::Completed),
            News::Delta(key.clone(), "two\nlines, w infer\n".to_owned()),
            News::Delta(key.clone(), String::new()),
        ] {
            assert_eq!(news(&message(&sent)), [sent]);
        }
        let other = TaskKey { batch: Some(BatchId::generate()), id: key.id.clone() };
        let (one, two) = (keys::member(&key), keys::member(&other));
        let all = format!("{}\n{one}\n{two}\n{}", changed(Status::Pending), work(Stage::Infer));
        let pending = |key| News::Changed(key, Status::Pending);
        assert_eq!(news(&all), [pending(key), pending(other), News::Work(Stage::Infer)]);
    }

    #[test]
    fn news_that_nobody_can_read_is_left_out() {
        for message in ["", "d", "d nothing", "c completed", "c lost\n/a", "w rest", "/a", "x\ny"] {
            assert_eq!(news(message), [], "{message:?}");
        }
    }
}
