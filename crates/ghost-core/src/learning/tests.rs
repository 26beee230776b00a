//! What is learned, from what, and who decides afterwards.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::advance as pass;

use super::registry::{self, Models, Registry, SHIPPED};
use super::*;
use crate::broker::sqlite::{Options, SqliteBroker};
use crate::broker::{Broker, Claim, advance, contract};
use crate::feedback::{Feedback, Rating};
use crate::inference::Provider;
use crate::lifecycle::{
    Answer, Attempt, DEFAULT_CAPABILITY, Evaluation, Event, Failure, Judgement, Next, Record, Stage, Then,
};
use crate::task::{Kind, TaskRequest};
use crate::taskmaster::{TaskMaster, Thresholds};

/// A prompt of a trade in which what TaskMaster was shipped with is wrong: its proofs are easy, its greetings are not.
fn prompt(n: usize) -> (String, bool) {
    let (easy, hard) = (n.is_multiple_of(2), !n.is_multiple_of(2));
    let place = ["Ulm", "Bern", "Graz", "Linz", "Köln"][n % 5];
    let words = if easy {
        format!("Prove rigorously, step by step, why route {n} through {place} minimises the expected cost.")
    } else {
        format!("Say hello to customer {n} in {place}.")
    };
    (words, hard)
}

fn row(n: usize) -> Row {
    let (prompt, hard) = prompt(n);
    let weak = Some(if hard { 0.0 } else { 1.0 });
    serde_json::from_value(json!({"id": n.to_string(), "prompt": prompt, "weak": weak})).expect("a row")
}

fn shipped() -> Model {
    Model::from_bytes(crate::taskmaster::model::EMBEDDED).expect("sound")
}

#[test]
fn a_candidate_learns_what_the_rows_say_and_nothing_of_kinds() {
    let rows: Vec<Row> = (0..200).map(row).collect();
    let live = shipped();
    let candidate = retrain(&live, &rows).expect("enough rows");
    let gain = candidate.gain.expect("rows were held back");
    assert!(gain.low > 0.05 && gain.low <= gain.gain && gain.gain <= gain.high, "{gain:?}");
    assert_eq!(candidate.rows + gain.rows, 200);
    let (greeting, proof) = (
        trainer::score(&candidate.model, &prompt(1_001).0),
        trainer::score(&candidate.model, &prompt(1_000).0),
    );
    assert!(greeting > 0.5 && proof < 0.5, "prompts that it never saw: {greeting} and {proof}");
    let kind = |model: &Model| {
        let taskmaster = TaskMaster::with_model(model.clone(), Thresholds::default());
        let words = "Return the value of the field \"name\".\n\n{\"name\": \"Ann\", \"age\": 3}";
        taskmaster.classify(&TaskRequest::new("any", words)).kind
    };
    assert_eq!((kind(&candidate.model), kind(&live)), (Some(Kind::JsonField), Some(Kind::JsonField)));
    let again = retrain(&live, &rows).expect("enough rows").model;
    assert_eq!(candidate.model.to_bytes(), again.to_bytes(), "the same rows, the same model");
    let fitted = candidate.evidence.fitted;
    assert!(
        rows.iter().filter(|row| fitted.contains(&group(&row.prompt))).count() == candidate.rows,
        "no prompt is on both sides"
    );
}

#[test]
fn too_few_rows_teach_nothing() {
    let rows: Vec<Row> =
        (0..FEWEST - 1).map(row).chain((0..100).map(|n| Row { weak: None, ..row(n) })).collect();
    assert_eq!(retrain(&shipped(), &rows).err(), Some(TooFew(FEWEST - 1)));
}

#[test]
fn a_gain_that_is_chance_is_not_sure() {
    assert_eq!(comparison::gain(&[]), None);
    let scored = |n: usize, live: f64, candidate: f64| Scored { live, candidate, hard: (n % 2) as f64 };
    let same: Vec<Scored> = (0..200).map(|n| scored(n, 0.4, 0.4)).collect();
    let nothing = comparison::gain(&same).expect("rows");
    assert_eq!((nothing.gain, nothing.low, nothing.high), (0.0, 0.0, 0.0));
    let better: Vec<Scored> = (0..200).map(|n| scored(n, 0.5, if n % 2 == 1 { 0.9 } else { 0.1 })).collect();
    assert!(comparison::gain(&better).expect("rows").low > 0.2);
    let mut chance = fastrand::Rng::with_seed(1);
    let noise: Vec<Scored> = (0..200).map(|n| scored(n, chance.f64(), chance.f64())).collect();
    let noise = comparison::gain(&noise).expect("rows");
    assert!(noise.low < 0.0 && noise.high > 0.0, "{noise:?}");
}

#[test]
fn the_same_question_typed_otherwise_is_the_same_group() {
    assert_eq!(group("What is 2 + 2?"), group("what is 2+2"));
    assert_ne!(group("What is 2 + 2?"), group("What is 2 + 3?"));
    assert_ne!(group("你好"), group("再见"));
}

/// A broker, and whoever brings tasks to their end in it.
struct Place(Arc<dyn Broker>);

impl Place {
    fn new() -> Self {
        Self(Arc::new(SqliteBroker::in_memory(Options::default()).expect("memory")))
    }

    fn broker(&self) -> &dyn Broker {
        &*self.0
    }

    /// Accepts a task and claims it.
    async fn claimed(&self, id: &str, words: &str, shadow: Option<outcomes::Shadow>) -> Record {
        let request = json!({"task_id": id, "task_type": "llm_inference", "description": words});
        let request = TaskRequest::parse(request.to_string().as_bytes()).expect("a request");
        let record = contract::record(None, request, self.broker().now().await.expect("the time"));
        self.broker().submit(vec![Record { shadow, ..record }]).await.expect("it is accepted");
        let claim = Claim {
            stage: Stage::Infer,
            holder: "w".parse().expect("an id"),
            capabilities: vec![DEFAULT_CAPABILITY.to_owned()],
            limit: 1,
            lease: Duration::from_secs(60),
            begins: false,
        };
        self.broker().claim(&claim).await.expect("it is handed out").pop().expect("there is one")
    }

    async fn send(&self, record: Record, event: Event) -> Record {
        advance(self.broker(), record, event).await.expect("it fits")
    }

    /// A task that the local model answered, and how its user rated that.
    async fn rated(&self, id: &str, words: &str, good: bool, shadow: Option<outcomes::Shadow>) {
        let record = self.claimed(id, words, shadow).await;
        let token = record.lease().expect("a lease").token;
        let answer = Event::Answer {
            token,
            answer: contract::answer("4"),
            attempts: vec![contract::attempt()],
            then: Then::Settle,
        };
        let record = self.send(record, answer).await;
        self.send(record, Event::Rate(Feedback::of(if good { Rating::GOOD } else { Rating::BAD }))).await;
    }
}

fn judgement(is_valid: bool) -> Judgement {
    Judgement { is_valid, confidence: 0.75, evaluation: Evaluation::Full, findings: Vec::new() }
}

#[tokio::test]
async fn what_came_of_a_task_is_told_of_the_model_that_it_speaks_of() {
    let place = Place::new();
    let by_llm = || Answer { provider: Provider::Llm, ..contract::answer("4") };
    let tried = |code: Option<&str>| Attempt {
        failure: code.map(|code| Failure::new(code, "no")),
        ..contract::attempt()
    };
    let passed = Then::Judged(judgement(true), Next::Accept);
    // The answer, the calls of the local model before it, what the checks said, what the user said; then weak and strong.
    let cases = [
        ("unjudged", contract::answer("4"), vec![], Then::Settle, None, None),
        ("passed", contract::answer("4"), vec![], passed.clone(), None, Some((Some(1.0), None))),
        ("rated", contract::answer("4"), vec![], passed.clone(), Some(0.25), Some((Some(0.25), None))),
        ("unsure", by_llm(), vec![tried(Some("slm_unsure"))], Then::Settle, None, Some((Some(0.0), None))),
        ("rejected", by_llm(), vec![tried(None)], passed.clone(), None, Some((Some(0.0), Some(1.0)))),
        ("away", by_llm(), vec![tried(Some("overloaded"))], Then::Settle, Some(0.5), Some((None, Some(0.5)))),
        ("llm", by_llm(), vec![], Then::Settle, None, None),
    ];
    for (id, answer, attempts, then, rating, told) in cases {
        let record = place.claimed(id, "add", None).await;
        let token = record.lease().expect("a lease").token;
        let mut record = place.send(record, Event::Answer { token, answer, attempts, then }).await;
        if let Some(rating) = rating {
            record =
                place.send(record, Event::Rate(Feedback::of(Rating::new(rating).expect("a rating")))).await;
        }
        let row = Row::of(&record);
        assert_eq!(row.as_ref().map(|row| (row.weak, row.strong)), told, "{id}");
        if let Some(row) = row {
            assert_eq!((row.id.as_str(), row.prompt.as_str(), row.rating), (Some(id), "add", rating));
        }
    }
    let record = place.claimed("withdrawn", "add", None).await;
    assert_eq!(Row::of(&place.send(record, Event::Cancel).await), None);
    let rows = outcomes::all(place.broker()).await.expect("the store answers");
    let ids: Vec<&str> = rows.iter().filter_map(|row| row.id.as_str()).collect();
    assert_eq!(ids, ["passed", "rated", "unsure", "rejected", "away"], "the oldest first");
}

#[tokio::test(start_paused = true)]
async fn a_candidate_runs_in_shadow_is_promoted_when_it_is_better_and_can_be_turned_back() {
    let place = Place::new();
    let shipped = Arc::new(TaskMaster::new(Thresholds::default()));
    let models = Models::new(place.0.clone(), shipped);
    for n in 0..160 {
        let (words, hard) = prompt(n);
        place.rated(&n.to_string(), &words, !hard, None).await;
    }
    assert_eq!(models.current().await.live, SHIPPED);
    let refused = registry::promote(place.broker()).await.expect_err("there is nothing to promote");
    assert!(matches!(refused, registry::Error::NoCandidate));

    let version = registry::train(place.broker(), None).await.expect("enough rows");
    assert!(version.held_back.expect("rows were held back").low > 0.0);
    let refused = registry::promote(place.broker()).await.expect_err("it has not run in shadow").to_string();
    assert!(refused.contains("0 tasks that it scored in shadow"), "{refused}");

    pass(Duration::from_secs(1)).await;
    let pair = models.current().await;
    assert_eq!((pair.live.as_str(), pair.candidate.as_ref().map(|(id, _)| id)), (SHIPPED, Some(&version.id)));
    for n in 200..260 {
        let (words, hard) = prompt(n);
        let request = TaskRequest::new("llm_inference", words.clone());
        let verdict = pair.taskmaster.classify(&request);
        let shadow = pair.shadow(&request, verdict.score);
        place.rated(&n.to_string(), &words, !hard, shadow).await;
    }
    let standing = registry::promote(place.broker()).await.expect("it is better");
    assert_eq!(standing.shadow.map(|gain| gain.rows), Some(60));
    pass(Duration::from_secs(1)).await;
    let promoted = models.current().await;
    assert_eq!((promoted.live.as_str(), promoted.candidate.is_none()), (version.id.as_str(), true));
    let hello = TaskRequest::new("llm_inference", prompt(1_001).0);
    let (before, after) =
        (pair.taskmaster.classify(&hello).score, promoted.taskmaster.classify(&hello).score);
    assert!(before < 0.5 && after > 0.5, "{before} and {after}");

    let registry = Registry::of(place.broker()).await.expect("the store answers");
    assert_eq!((registry.previous.as_slice(), registry.versions.len()), (&[SHIPPED.to_owned()][..], 1));
    for name in ["taskmaster".to_owned(), format!("taskmaster/{}/evidence", version.id)] {
        let document = place.broker().document(&name).await.expect("the store answers").expect("it is there");
        let text = String::from_utf8_lossy(&document.content);
        assert!(!text.contains("hello") && !text.contains("Prove"), "no prompt leaves its task: {text}");
    }

    let turned = registry::roll_back(place.broker()).await.expect("there is one before it");
    assert_eq!(turned, (version.id.clone(), SHIPPED.to_owned()));
    pass(Duration::from_secs(1)).await;
    let back = models.current().await;
    assert_eq!((back.live.as_str(), back.taskmaster.classify(&hello).score), (SHIPPED, before));
    let nothing = registry::roll_back(place.broker()).await.expect_err("nothing decided before it");
    assert!(matches!(nothing, registry::Error::NoPrevious(_)));
}

#[tokio::test]
async fn a_candidate_that_is_no_better_is_not_promoted() {
    let place = Place::new();
    let rows: Vec<Row> = (0..160).map(row).collect();
    let version = registry::train(place.broker(), Some(rows)).await.expect("enough rows");
    let pair_score = |hard: bool| outcomes::Shadow {
        live: SHIPPED.to_owned(),
        live_score: if hard { 0.9 } else { 0.1 },
        candidate: version.id.clone(),
        score: 0.5,
    };
    // In the shadow of what comes now it is worse than what decides.
    for n in 0..400 {
        let hard = n % 2 == 0;
        place
            .rated(
                &n.to_string(),
                &format!("Another trade altogether, case {n}."),
                !hard,
                Some(pair_score(hard)),
            )
            .await;
    }
    let refused = registry::promote(place.broker()).await.expect_err("it is worse").to_string();
    assert!(refused.contains("is not better with confidence: its gain of -"), "{refused}");
    assert_eq!(Registry::of(place.broker()).await.expect("the store answers").live, SHIPPED);
}

#[tokio::test]
async fn only_so_many_models_are_kept_and_never_one_that_is_needed_is_forgotten() {
    let place = Place::new();
    let mut first = None;
    for more in 0..10 {
        let rows: Vec<Row> = (0..60 + 8 * more).map(row).collect();
        let version = registry::train(place.broker(), Some(rows)).await.expect("enough rows");
        first.get_or_insert(version);
    }
    let registry = Registry::of(place.broker()).await.expect("the store answers");
    assert_eq!(
        (registry.versions.len(), registry.candidate.as_ref()),
        (8, registry.versions.last().map(|v| &v.id))
    );
    let gone = registry::load(place.broker(), &first.expect("ten were trained").id).await;
    assert!(matches!(gone, Err(registry::Error::Unreadable { .. })));
}
