//! Replays recorded outcomes through the whole loop in which TaskMaster learns: retrain, shadow, promote, roll back.
//!
//! The orchestrator is the one that the product runs, over a store in memory; workers and users are the recording's, so that
//! what came of a task is what was recorded and nothing else. The first half of the outcomes is what a candidate is trained
//! on, the second half comes while it runs in shadow.

use std::time::Duration;

use ghost_core::broker::{Broker, Claim, advance};
use ghost_core::feedback::{Feedback, Rating};
use ghost_core::inference::scripted::Script;
use ghost_core::inference::{Finish, Provider};
use ghost_core::learning::comparison::Gain;
use ghost_core::learning::outcomes::Row;
use ghost_core::learning::registry::{self, Registry, Standing, Version};
use ghost_core::lifecycle::{Answer, DEFAULT_CAPABILITY, Event, Record, Stage, Then};
use ghost_core::taskmaster::route::Route;
use serde_json::json;

use crate::{Line, TestSwarm};

/// How long it may take until an orchestrator hears that another model decides.
const HEARD: Duration = Duration::from_secs(1);
const SEED: u64 = 1;
/// How many of the rows, the last ones, show which route such tasks take.
const PROBES: usize = 20;

/// What came of a replay.
#[derive(Debug)]
pub struct Replay {
    /// The candidate.
    pub version: Version,
    /// What its promotion rested on.
    pub standing: Standing,
    /// Routes of the last rows before the promotion,
    pub before: Vec<Route>,
    /// after it,
    pub promoted: Vec<Route>,
    /// and after the way back.
    pub rolled_back: Vec<Route>,
    /// The model that decides at the end.
    pub live: String,
}

/// Outcomes of a made-up company whose local model is good at proofs and bad at greetings, which is not what the model
/// inside the program believes. One answer in ten turns out otherwise.
pub fn made_up(rows: usize) -> Vec<Row> {
    let mut chance = fastrand::Rng::with_seed(SEED);
    let row = |n: usize| {
        let (prompt, weak) = made_up_prompt(n, &mut chance);
        Row { id: format!("made-up-{n}").into(), ..probe(prompt, weak) }
    };
    (0..rows).map(row).collect()
}

fn made_up_prompt(n: usize, chance: &mut fastrand::Rng) -> (String, f64) {
    let town = ["Ulm", "Bern", "Graz", "Linz", "Jena", "Trier"][chance.usize(0..6)];
    let (prompt, good) = match n % 4 {
        0 => (
            format!("Prove step by step that the route {n} through {town} has the least expected cost."),
            true,
        ),
        1 => (
            format!(
                "Derive the covariance of arrivals at depot {n} in {town} rigorously, with all assumptions."
            ),
            true,
        ),
        2 => (format!("Say hello to customer {n} in {town}."), false),
        _ => (format!("Thank the driver of tour {n} to {town} in one line."), false),
    };
    (prompt, if good == (chance.usize(0..10) > 0) { 1.0 } else { 0.0 })
}

fn probe(prompt: String, weak: f64) -> Row {
    serde_json::from_value(json!({ "prompt": prompt, "weak": weak })).expect("a row")
}

/// Replays these outcomes and tells `say` of each step. The last rows are not replayed: they show where such tasks go.
///
/// # Errors
/// [`registry::Error`], as where the candidate is not better with confidence.
pub async fn replay(rows: &[Row], say: &mut (dyn FnMut(String) + Send)) -> Result<Replay, registry::Error> {
    let plan = TestSwarm::in_memory().general_slm(Script::always("…")).llm(Script::always("…"));
    let swarm = plan.workers(0).evaluators(0).start().await;
    let line = swarm.line();
    let rows: Vec<&Row> = rows.iter().filter(|row| row.weak.is_some()).collect();
    let (rows, probes) = rows.split_at(rows.len() - PROBES.min(rows.len()));
    let (first, second) = rows.split_at(rows.len() / 2);

    for (n, row) in first.iter().enumerate() {
        answered_and_rated(&swarm, &line, &format!("first-{n}"), row).await;
    }
    say(format!(
        "replayed   {} outcomes, each an answer of the local model and what was said of it",
        first.len()
    ));
    let before = routes(&swarm, "before", probes).await;

    let version = registry::train(&line, None).await?;
    say(format!(
        "retrained  {} on {} rows; on those held back: {}",
        version.id,
        version.rows,
        told(version.held_back)
    ));

    // The sleep is the half second after which an orchestrator looks again, and a little.
    tokio::time::sleep(HEARD).await;
    for (n, row) in second.iter().enumerate() {
        let record = answered_and_rated(&swarm, &line, &format!("second-{n}"), row).await;
        assert!(record.shadow.is_some(), "the candidate scores what comes");
    }
    let standing = registry::standing(&line).await?;
    say(format!(
        "in shadow  {} more outcomes, scored beside the model that decides: {}",
        second.len(),
        told(standing.shadow)
    ));

    let standing = registry::promote(&line).await?;
    say(format!(
        "promoted   {} on all rows that it was not fitted to: {}",
        standing.candidate,
        told(standing.together)
    ));
    tokio::time::sleep(HEARD).await;
    let promoted = routes(&swarm, "promoted", probes).await;
    let changed = before.iter().zip(&promoted).filter(|(one, other)| one != other).count();
    say(format!(
        "decides    {changed} of {} tasks that nobody has seen take another route now",
        probes.len()
    ));

    let (from, to) = registry::roll_back(&line).await?;
    tokio::time::sleep(HEARD).await;
    let rolled_back = routes(&swarm, "back", probes).await;
    let same = if rolled_back == before { "as before" } else { "otherwise than before" };
    say(format!("rolled back from {from} to {to}: the same tasks are routed {same}"));

    let live = Registry::of(&line).await?.live;
    swarm.stop().await;
    Ok(Replay { version, standing, before, promoted, rolled_back, live })
}

/// A task that the local model answers, as it stands once its user has said what the outcome says.
async fn answered_and_rated(swarm: &TestSwarm, line: &Line, id: &str, row: &Row) -> Record {
    swarm.submit(json!({"task_id": id, "task_type": "llm_inference", "description": row.prompt})).await;
    let claim = Claim {
        stage: Stage::Infer,
        holder: "recording".parse().expect("an id"),
        capabilities: vec![DEFAULT_CAPABILITY.to_owned()],
        limit: 1,
        lease: Duration::from_secs(60),
        begins: false,
    };
    let record = line.claim(&claim).await.expect("claims succeed").pop().expect("one task waits");
    let answer = Answer {
        text: "what was said then".to_owned(),
        json: None,
        tool_calls: Vec::new(),
        provider: Provider::Slm,
        model: "recording".to_owned(),
        finish: Finish::Stop,
        confidence: None,
        llm_cost_micro_usd: 0,
    };
    let token = record.lease().expect("it was claimed").token;
    let event = Event::Answer { token, answer, attempts: Vec::new(), then: Then::Settle };
    let record = advance(line, record, event).await.expect("its holder answers");
    let rating = row.weak.and_then(Rating::new).unwrap_or(Rating::BAD);
    swarm.handle.rate(&record.key, Feedback::of(rating)).await.expect("it was answered")
}

/// Where these prompts go now.
async fn routes(swarm: &TestSwarm, name: &str, probes: &[&Row]) -> Vec<Route> {
    let mut routes = Vec::new();
    for (n, row) in probes.iter().enumerate() {
        // For nobody that there is: it is classified, and nothing comes of it that could be learned.
        let task = json!({
            "task_id": format!("{name}-{n}"), "task_type": "llm_inference", "description": row.prompt,
            "parameters": {"capability": "nobody"},
        });
        let key = swarm.submit(task).await;
        routes.push(swarm.look(&key).await.decision.route);
    }
    routes
}

fn told(gain: Option<Gain>) -> String {
    match gain {
        Some(Gain { rows, live, candidate, gain, low, high }) => {
            format!(
                "error {live:.3} → {candidate:.3}, gain {gain:+.3} ({low:+.3} to {high:+.3}) on {rows} rows"
            )
        }
        None => "nothing to compare on".to_owned(),
    }
}
