//! Hands tasks out, and takes them back from the dead.
//!
//! Classes go from the highest down, the tenants of a class round and round. Every eighth task of a stage is looked
//! for from the lowest class up, so that the lowest moves under any load. Whose turn it is lives in memory: after a
//! restart the round starts anew.

use std::collections::HashMap;
use std::time::Duration;

use rusqlite::{OptionalExtension, params};

use super::row::{Row, milliseconds};
use super::store::Store;
use crate::broker::{Claim, Error, MAX_BATCH};
use crate::id::LeaseToken;
use crate::lifecycle::{self, Class, Effect, Event, Record, Stage, Timestamp};

/// One task in so many is looked for from the lowest class up.
const LOWEST_EVERY: u64 = 8;

/// What was handed out so far, as far as fairness needs to know.
#[derive(Default)]
pub(super) struct Turns {
    given: HashMap<Stage, u64>,
    latest_tenant: HashMap<(Stage, Class), String>,
}

/// A task that can be handed out; the least one goes first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    tenant: String,
    not_before: i64,
    seq: i64,
}

impl Store {
    /// Hands out what a claim asks for.
    pub(super) fn claim(&mut self, claim: &Claim) -> Result<Vec<Record>, Error> {
        let mut records = Vec::new();
        while records.len() < claim.limit.min(MAX_BATCH) {
            let Some(seq) = self.next_in_turn(claim)? else { break };
            let (held, text) = self.take(seq)?;
            let record = text.parse()?;
            let event = Event::Claim {
                holder: claim.holder.clone(),
                token: LeaseToken::generate(),
                lease: claim.lease,
                begins: claim.begins,
            };
            let (record, effects) = step(&record, event, self.now())?;
            self.update(&held, Row::of(&record), effects)?;
            records.push(record);
        }
        Ok(records)
    }

    /// Ends every lease at once, as if its time were over: a task that kills its process time and again must run out
    /// of deliveries too.
    pub(super) fn release_all(&mut self) -> Result<u64, Error> {
        let leased: Vec<i64> = self
            .connection
            .prepare_cached("SELECT seq FROM tasks WHERE lease_until IS NOT NULL")?
            .query_map((), |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for &seq in &leased {
            let (held, text) = self.take(seq)?;
            let mut record = text.parse()?;
            let mut effects = Vec::new();
            for event in record
                .lease()
                .map(|lease| Event::Renew(lease.token, Duration::ZERO))
                .into_iter()
                .chain([Event::Expire])
            {
                let (next, more) = step(&record, event, self.now())?;
                record = next;
                effects.extend(more);
            }
            self.update(&held, Row::of(&record), effects)?;
        }
        Ok(leased.len() as u64)
    }

    fn next_in_turn(&mut self, claim: &Claim) -> Result<Option<i64>, Error> {
        let given = self.turns.given.get(&claim.stage).copied().unwrap_or(0);
        let mut classes = [Class::High, Class::Normal, Class::Low];
        if given % LOWEST_EVERY == LOWEST_EVERY - 1 {
            classes.reverse();
        }
        for class in classes {
            if let Some(candidate) = self.next_of_class(claim, class)? {
                self.turns.given.insert(claim.stage, given + 1);
                self.turns.latest_tenant.insert((claim.stage, class), candidate.tenant);
                return Ok(Some(candidate.seq));
            }
        }
        Ok(None)
    }

    fn next_of_class(&self, claim: &Claim, class: Class) -> Result<Option<Candidate>, Error> {
        let capabilities = match claim.stage {
            Stage::Infer => &claim.capabilities[..],
            Stage::Evaluate => &[String::new()],
        };
        let latest = self.turns.latest_tenant.get(&(claim.stage, class)).map_or("", String::as_str);
        // No tenant sorts before the empty text, so the second round starts over.
        for after in [latest, ""] {
            let mut first = None;
            for capability in capabilities {
                if let Some(candidate) = self.ready(claim.stage, class, capability, after)? {
                    first = first.into_iter().chain([candidate]).min();
                }
            }
            if first.is_some() {
                return Ok(first);
            }
        }
        Ok(None)
    }

    /// The oldest ready task of the first tenant after `after` that has one. What is past its deadline is left to
    /// [`crate::broker::reap`].
    fn ready(
        &self,
        stage: Stage,
        class: Class,
        capability: &str,
        after: &str,
    ) -> Result<Option<Candidate>, Error> {
        let now = milliseconds(self.now());
        let mut after = after.to_owned();
        loop {
            let candidate = self
                .connection
                .prepare_cached(
                    "SELECT tenant, not_before, seq FROM tasks
                     WHERE stage = ?1 AND class = ?2 AND capability = ?3 AND tenant > ?4
                         AND (deadline IS NULL OR deadline > ?5)
                     ORDER BY tenant, not_before, seq LIMIT 1",
                )?
                .query_row(params![stage.name(), class as i64, capability, after, now], |row| {
                    Ok(Candidate { tenant: row.get(0)?, not_before: row.get(1)?, seq: row.get(2)? })
                })
                .optional()?;
            match candidate {
                // All that this tenant has is delayed.
                Some(Candidate { tenant, not_before, .. }) if not_before > now => after = tenant,
                candidate => return Ok(candidate),
            }
        }
    }
}

/// A step that the columns promise to be possible.
fn step(record: &Record, event: Event, now: Timestamp) -> Result<(Record, Vec<Effect>), Error> {
    lifecycle::step(record, event, now).map_err(|refusal| {
        Error::Damaged(format!("the indexes are wrong about task {}: {refusal}", record.key))
    })
}
