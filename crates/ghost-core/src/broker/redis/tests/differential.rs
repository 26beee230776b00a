//! Two brokers, one history: whatever happens, SQLite and Redis say the same.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::json;

use super::*;
use crate::broker::sqlite::{Options, SqliteBroker};
use crate::broker::{AdvanceError, advance};
use crate::feedback::{Feedback, Rating};
use crate::id::LeaseToken;
use crate::lifecycle::{
    Answer, DEFAULT_CAPABILITY, DELIVERIES_EXHAUSTED, Evaluation, Failure, Judgement, Lease, Next, State,
    Then,
};
use crate::task::TaskRequest;

const LEASE: Duration = Duration::from_secs(3);
const MAX_WAIT: Duration = Duration::from_secs(60);
const BACKLOG: u64 = 12;
const CAPABILITIES: [&str; 2] = [DEFAULT_CAPABILITY, "painting"];

/// What may happen. Numbers choose among what is there.
#[derive(Debug, Clone)]
enum Act {
    Submit(Vec<Wish>),
    Claim {
        evaluate: bool,
        begins: bool,
        limit: usize,
        able: usize,
    },
    /// By a holder, or by one that only believes to be.
    Deed(usize, Deed),
    Cancel(usize),
    Retry(usize),
    Charge(usize),
    Rate(usize, u8),
    Reap,
    Purge(Option<u64>, Option<u64>),
    Pass(u64),
}

#[derive(Debug, Clone)]
struct Wish {
    id: u8,
    batch: usize,
    priority: u8,
    tenant: u8,
    painting: bool,
    timeout: u8,
}

#[derive(Debug, Clone, Copy)]
enum Deed {
    Start,
    Renew,
    Release,
    Settle,
    Evaluate,
    Postpone,
    Fail,
    Judge(Next),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let wish = (0_u8..9, 0_usize..3, 1_u8..=10, 0_u8..3, any::<bool>(), 1_u8..40).prop_map(
        |(id, batch, priority, tenant, painting, timeout)| Wish {
            id,
            batch,
            priority,
            tenant,
            painting,
            timeout,
        },
    );
    let next = prop::sample::select(vec![Next::Accept, Next::Revise, Next::Escalate, Next::GiveUp]);
    let deed = prop_oneof![
        1 => Just(Deed::Start),
        1 => Just(Deed::Renew),
        1 => Just(Deed::Release),
        2 => Just(Deed::Settle),
        3 => Just(Deed::Evaluate),
        1 => Just(Deed::Postpone),
        1 => Just(Deed::Fail),
        3 => next.prop_map(Deed::Judge),
    ];
    let act = prop_oneof![
        4 => prop::collection::vec(wish, 1..6).prop_map(Act::Submit),
        6 => (any::<bool>(), any::<bool>(), 0_usize..6, 0_usize..4)
            .prop_map(|(evaluate, begins, limit, able)| Act::Claim { evaluate, begins, limit, able }),
        10 => (any::<usize>(), deed).prop_map(|(which, deed)| Act::Deed(which, deed)),
        1 => any::<usize>().prop_map(Act::Cancel),
        1 => any::<usize>().prop_map(Act::Retry),
        1 => any::<usize>().prop_map(Act::Charge),
        2 => (any::<usize>(), 0_u8..=4).prop_map(|(which, quarters)| Act::Rate(which, quarters)),
        2 => Just(Act::Reap),
        1 => (prop::option::of(0_u64..20_000), prop::option::of(0_u64..6))
            .prop_map(|(keep, at_most)| Act::Purge(keep, at_most)),
        3 => (0_u64..8_000).prop_map(Act::Pass),
    ];
    prop::collection::vec(act, 1..80)
}

/// The two, and what their callers remember: the same records, but for the tokens.
struct Both {
    sqlite: SqliteBroker,
    redis: RedisBroker,
    clock: Clock,
    batches: [Option<BatchId>; 3],
    known: Vec<TaskKey>,
    held: Vec<(Record, Record)>,
}

impl Both {
    async fn new() -> Self {
        let clock = Clock::manual(Timestamp(1_700_000_000_000));
        let options = Options { backlog: BACKLOG, clock: clock.clone(), ..Options::default() };
        let sqlite = SqliteBroker::in_memory(options).expect("a store in memory");
        let config = Config {
            url: SERVER.url(),
            swarm: swarm(),
            backlog: BACKLOG,
            clock: Some(clock.clone()),
            result_ttl: Duration::from_secs(1_000_000_000),
            ..Config::default()
        };
        let redis = RedisBroker::connect(config).await.expect("the store opens");
        let batches = [None, Some(BatchId::generate()), Some(BatchId::generate())];
        Self { sqlite, redis, clock, batches, known: Vec::new(), held: Vec::new() }
    }

    async fn act(&mut self, act: Act) -> Result<(), TestCaseError> {
        match act {
            Act::Pass(ms) => self.clock.advance(Duration::from_millis(ms)),
            Act::Submit(wishes) => self.submit(wishes).await?,
            Act::Claim { evaluate, begins, limit, able } => self.claim(evaluate, begins, limit, able).await?,
            Act::Deed(which, deed) if !self.held.is_empty() => {
                let (one, other) = self.held.remove(which % self.held.len());
                let event = |record: &Record| by_holder(record, deed);
                let (one, other) = self.send((one, other), event).await?;
                // Some keep what they have lost, and try again with it later.
                if which % 3 > 0 && one.lease().is_some() {
                    self.held.push((one, other));
                }
            }
            Act::Cancel(which) => self.one_known(which, |_| Event::Cancel).await?,
            Act::Charge(which) => self.one_known(which, |_| Event::Charge(vec![contract::attempt()])).await?,
            Act::Rate(which, quarters) => {
                let rating = Rating::new(f64::from(quarters) / 4.0).expect("a rating");
                self.one_known(which, |_| Event::Rate(Feedback::of(rating))).await?;
            }
            Act::Retry(which) => {
                self.one_known(which, |record| Event::Retry(record.verdict.clone(), record.decision.clone()))
                    .await?;
            }
            Act::Reap => self.reap().await?,
            Act::Purge(keep, at_most) => {
                let keep = keep.map(Duration::from_millis);
                prop_assert_eq!(
                    self.sqlite.purge(keep, at_most).await,
                    self.redis.purge(keep, at_most).await
                );
            }
            Act::Deed(..) => {}
        }
        Ok(())
    }

    async fn submit(&mut self, wishes: Vec<Wish>) -> Result<(), TestCaseError> {
        let records: Vec<Record> = wishes.iter().map(|wish| self.record(wish)).collect();
        let (one, other) =
            (self.sqlite.submit(records.clone()).await, self.redis.submit(records.clone()).await);
        let tokenless = |result: Result<Vec<Submission>, Error>| {
            result.map(|seen| seen.into_iter().map(submission_without_token).collect::<Vec<_>>())
        };
        prop_assert_eq!(tokenless(one), tokenless(other));
        self.known.extend(records.into_iter().map(|record| record.key));
        Ok(())
    }

    fn record(&self, wish: &Wish) -> Record {
        let request = json!({
            "task_id": format!("task {}", wish.id), "task_type": "llm_inference", "description": "add",
            "priority": wish.priority, "timeout": wish.timeout, "context": {"tenant": format!("t{}", wish.tenant)},
            "parameters": {"capability": CAPABILITIES[usize::from(wish.painting)]},
        });
        let request = TaskRequest::parse(request.to_string().as_bytes()).expect("a request");
        contract::record(self.batches[wish.batch], request, self.clock.now())
    }

    async fn claim(
        &mut self,
        evaluate: bool,
        begins: bool,
        limit: usize,
        able: usize,
    ) -> Result<(), TestCaseError> {
        let able = (0..2).filter(|bit| able & (1 << bit) != 0).map(|bit| CAPABILITIES[bit].to_owned());
        let claim = Claim {
            stage: if evaluate { Stage::Evaluate } else { Stage::Infer },
            holder: "w".parse().expect("an id"),
            capabilities: able.collect(),
            limit,
            lease: LEASE,
            begins,
        };
        let one = self.sqlite.claim(&claim).await.expect("SQLite hands out");
        let other = self.redis.claim(&claim).await.expect("Redis hands out");
        prop_assert_eq!(tokenless(&one), tokenless(&other));
        self.held.extend(one.into_iter().zip(other));
        Ok(())
    }

    async fn one_known(
        &mut self,
        which: usize,
        event: impl Fn(&Record) -> Event,
    ) -> Result<(), TestCaseError> {
        let Some(key) = self.known.get(which % self.known.len().max(1)) else { return Ok(()) };
        let one = self.sqlite.get(key).await.expect("SQLite answers");
        let other = self.redis.get(key).await.expect("Redis answers");
        prop_assert_eq!(one.is_some(), other.is_some());
        if let Some(both) = one.zip(other) {
            self.send(both, event).await?;
        }
        Ok(())
    }

    /// The records after the event; as they were where it was refused.
    async fn send(
        &self,
        (one, other): (Record, Record),
        event: impl Fn(&Record) -> Event,
    ) -> Result<(Record, Record), TestCaseError> {
        let after_one = advance(&self.sqlite, one.clone(), event(&one)).await;
        let after_other = advance(&self.redis, other.clone(), event(&other)).await;
        let comparable = |result: &Result<Record, AdvanceError>| match result {
            Ok(record) => Ok(without_token(record)),
            Err(error) => Err(error.clone()),
        };
        prop_assert_eq!(comparable(&after_one), comparable(&after_other));
        Ok((after_one.unwrap_or(one), after_other.unwrap_or(other)))
    }

    /// As `broker::reap`, in an order that both agree on: which of two settles first is nobody's promise.
    async fn reap(&mut self) -> Result<(), TestCaseError> {
        let mut one = self.sqlite.overdue(MAX_WAIT, MAX_BATCH).await.expect("SQLite answers");
        let mut other = self.redis.overdue(MAX_WAIT, MAX_BATCH).await.expect("Redis answers");
        one.sort_by(|a, b| a.key.cmp(&b.key));
        other.sort_by(|a, b| a.key.cmp(&b.key));
        prop_assert_eq!(tokenless(&one), tokenless(&other));
        let now = self.clock.now();
        let commits = |records: &[Record]| -> Vec<Commit> {
            let step = |record: &Record| {
                let give_up = Commit::step(record, Event::GiveUp { max_wait: MAX_WAIT }, now);
                give_up.or_else(|_| Commit::step(record, Event::Expire, now)).ok()
            };
            records.iter().filter_map(step).collect()
        };
        let outcomes = (self.sqlite.commit(&commits(&one)).await, self.redis.commit(&commits(&other)).await);
        prop_assert_eq!(outcomes.0, outcomes.1);
        Ok(())
    }

    async fn the_books_agree(&self) -> Result<(), TestCaseError> {
        prop_assert_eq!(self.sqlite.counters().await, self.redis.counters().await);
        for batch in [None, self.batches[1], self.batches[2]] {
            prop_assert_eq!(self.sqlite.tally(batch).await, self.redis.tally(batch).await);
            let statuses = std::iter::once(None).chain(Status::ALL.map(Some));
            for status in statuses {
                for (limit, offset) in [(0, 0), (2, 1)] {
                    let query = Query { batch, status, limit, offset, ..Query::default() };
                    self.lists_agree(&query).await?;
                }
            }
        }
        let dead_letters = Some(DELIVERIES_EXHAUSTED.to_owned());
        self.lists_agree(&Query { failure: dead_letters, limit: 2, ..Query::default() }).await?;
        for id in ["task 0", "task 1"] {
            self.lists_agree(&Query { id: Some(id.parse().expect("an id")), ..Query::default() }).await?;
        }
        for batch in [self.batches[1], self.batches[2]].into_iter().flatten() {
            let one = self.sqlite.settled(batch, 0, 100).await.expect("SQLite answers");
            let other = self.redis.settled(batch, 0, 100).await.expect("Redis answers");
            let records = |settled: &[(u64, Record)]| {
                settled.iter().map(|(_, record)| record.clone()).collect::<Vec<_>>()
            };
            prop_assert_eq!(records(&one), records(&other));
        }
        Ok(())
    }

    async fn lists_agree(&self, query: &Query) -> Result<(), TestCaseError> {
        let one = self.sqlite.list(query).await.expect("SQLite answers");
        let other = self.redis.list(query).await.expect("Redis answers");
        prop_assert_eq!(tokenless(&one), tokenless(&other), "{:?}", query);
        Ok(())
    }
}

fn tokenless(records: &[Record]) -> Vec<Record> {
    records.iter().map(without_token).collect()
}

/// The record under a token that no claim gave: each broker draws its own.
fn without_token(record: &Record) -> Record {
    let token = LeaseToken::parse("00000000-0000-0000-0000-000000000000").expect("a token");
    let blank = |lease: &Lease| Lease { token, ..lease.clone() };
    let state = match &record.state {
        State::Assigned(lease) => State::Assigned(blank(lease)),
        State::InProgress(lease) => State::InProgress(blank(lease)),
        State::Evaluating(lease, answer) => State::Evaluating(blank(lease), answer.clone()),
        other => other.clone(),
    };
    Record { state, ..record.clone() }
}

fn submission_without_token(submission: Submission) -> Submission {
    match submission {
        Submission::Known(record) => Submission::Known(without_token(&record)),
        other => other,
    }
}

fn by_holder(record: &Record, deed: Deed) -> Event {
    let token = record.lease().expect("it was claimed").token;
    let answer = Answer { confidence: Some(0.5), ..contract::answer("4") };
    let attempts = vec![contract::attempt()];
    match deed {
        Deed::Start => Event::Start(token),
        Deed::Renew => Event::Renew(token, LEASE),
        Deed::Release => Event::Release(token),
        Deed::Settle => Event::Answer { token, answer, attempts, then: Then::Settle },
        Deed::Evaluate => Event::Answer { token, answer, attempts, then: Then::Evaluate },
        Deed::Postpone => Event::Postpone { token, attempts, delay: LEASE },
        Deed::Fail => Event::Fail { token, failure: Failure::new("refused", "no"), attempts },
        Deed::Judge(next) => {
            let judgement = Judgement {
                is_valid: false,
                confidence: 0.5,
                evaluation: Evaluation::Full,
                findings: Vec::new(),
            };
            Event::Judge { token, judgement, next }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, rng_seed: RngSeed::Fixed(5), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sqlite_and_redis_tell_the_same_story(acts in acts()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut both = Both::new().await;
            for act in acts {
                both.act(act).await?;
            }
            both.the_books_agree().await
        })?;
    }
}
