//! A record as a row, and back.

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::broker::Error;
use crate::id::{BatchId, TaskKey};
use crate::lifecycle::{Place, Record, Stage, Timestamp};
use crate::task::{Parameters, Priority, Status, TaskRequest};

/// How many writes of a task are remembered, so that a late repeat of one of them is told apart from a conflict.
/// Between two writes of one holder others may have come: an evaluator's claim, its judgement, the next claim.
const TRAIL: usize = 8;
const MARK: usize = 8;

/// The columns of one record.
pub(super) struct Row {
    pub(super) key: TaskKey,
    pub(super) version: i64,
    pub(super) token: Option<String>,
    pub(super) status: Status,
    pub(super) stage: Option<&'static str>,
    pub(super) class: i64,
    pub(super) capability: String,
    pub(super) tenant: String,
    pub(super) not_before: i64,
    pub(super) queued_at: i64,
    pub(super) lease_until: Option<i64>,
    pub(super) deadline: Option<i64>,
    pub(super) settled_at: Option<i64>,
    pub(super) json: String,
}

impl Row {
    pub(super) fn of(record: &Record) -> Self {
        let status = record.status();
        let place = record.place();
        let (stage, not_before) = match place {
            Place::Queue { stage, not_before } => (Some(stage), not_before),
            Place::Leased { .. } | Place::Settled => (None, Timestamp::default()),
        };
        let lease_until = match place {
            Place::Leased { until } => Some(milliseconds(until)),
            Place::Queue { .. } | Place::Settled => None,
        };
        let slim = Record { request: blank(), ..record.clone() };
        Self {
            key: record.key.clone(),
            version: integer(record.version),
            token: record.lease().map(|lease| lease.token.to_string()),
            status,
            stage: stage.map(Stage::name),
            class: record.class() as i64,
            capability: match stage {
                Some(Stage::Evaluate) => String::new(),
                _ => record.capability().to_owned(),
            },
            tenant: record.tenant().into(),
            not_before: milliseconds(not_before),
            queued_at: milliseconds(record.queued_at),
            lease_until,
            deadline: record.deadline().filter(|_| !status.is_settled()).map(milliseconds),
            settled_at: record.settled_at.filter(|_| status.is_settled()).map(milliseconds),
            json: serde_json::to_string(&slim).expect("a record is always JSON"),
        }
    }

    /// Where a store finds it.
    pub(super) fn batch(&self) -> String {
        batch_text(self.key.batch)
    }

    /// The trail of the record once this row is written over one whose trail was `older`.
    pub(super) fn trail(&self, older: &[u8]) -> Vec<u8> {
        let mut trail = self.mark().to_vec();
        trail.extend_from_slice(&older[..older.len().min((TRAIL - 1) * MARK)]);
        trail
    }

    /// Whether this very row is among the latest writes.
    pub(super) fn is_on(&self, trail: &[u8]) -> bool {
        let mark = self.mark();
        trail.chunks(MARK).any(|written| written == mark)
    }

    fn mark(&self) -> [u8; MARK] {
        let digest = Sha256::digest(self.json.as_bytes());
        std::array::from_fn(|at| digest[at])
    }
}

/// What stands for the request in the JSON of a record.
fn blank() -> TaskRequest {
    TaskRequest {
        task_id: None,
        task_type: String::new(),
        description: String::new(),
        parameters: Parameters::default(),
        priority: Priority::default(),
        timeout: 0.0,
        context: serde_json::Map::new(),
    }
}

/// A record as the store keeps it: read by those who asked, not by the thread that serves them all.
pub(super) struct Text {
    pub(super) record: String,
    pub(super) request: String,
}

impl Text {
    /// The two columns from `at` on.
    pub(super) fn read(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<Self> {
        Ok(Self { record: row.get(at)?, request: row.get(at + 1)? })
    }

    pub(super) fn parse(&self) -> Result<Record, Error> {
        let damaged = |error: serde_json::Error| Error::Damaged(format!("a record cannot be read: {error}"));
        let record: Record = serde_json::from_str(&self.record).map_err(damaged)?;
        Ok(Record { request: serde_json::from_str(&self.request).map_err(damaged)?, ..record })
    }
}

pub(super) fn batch_text(batch: Option<BatchId>) -> String {
    batch.map(|batch| batch.to_string()).unwrap_or_default()
}

/// SQLite's integers are signed; no time or version of ours comes near their end.
pub(super) fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn milliseconds(time: Timestamp) -> i64 {
    integer(time.0)
}

pub(super) fn before(time: Timestamp, by: Duration) -> i64 {
    milliseconds(time).saturating_sub(i64::try_from(by.as_millis()).unwrap_or(i64::MAX))
}
