//! The models of TaskMaster that a swarm has: which one decides, which one runs in shadow, and which decided before.
//!
//! One document of the broker says so, and each model is a document of its own, so that every orchestrator has the same
//! within half a second. A model is named by the beginning of its checksum.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use tracing::{info, warn};

use super::comparison::{Gain, Scored, gain};
use super::outcomes::{Row, Shadow};
use super::{Candidate, Evidence, TooFew, group, outcomes, retrain};
use crate::broker::{self, Broker, Document, patiently, revise};
use crate::lifecycle::Timestamp;
use crate::roster::FRESH;
use crate::taskmaster::TaskMaster;
use crate::taskmaster::model::{self, Model};

/// The name of the model inside the program.
pub const SHIPPED: &str = "shipped";
/// The fewest rows that a promotion may rest on,
pub const FEWEST_ROWS: usize = 50;
/// and how many of them must have been scored in shadow.
pub const FEWEST_IN_SHADOW: usize = 20;
/// How many models are kept; the oldest go first, but never one that decides or runs in shadow.
const KEPT: usize = 8;
const DOCUMENT: &str = "taskmaster";

/// What a swarm knows of its models.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Registry {
    /// The model that decides.
    pub live: String,
    /// The model that runs in shadow.
    #[serde(default)]
    pub candidate: Option<String>,
    /// Those that decided before, the latest last.
    #[serde(default)]
    pub previous: Vec<String>,
    /// All that are kept but the one inside the program, the newest last.
    #[serde(default)]
    pub versions: Vec<Version>,
}

/// A model, and where it comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Version {
    /// The beginning of its checksum.
    pub id: String,
    /// When it was trained.
    pub trained_at: Timestamp,
    /// How many rows it was fitted to.
    pub rows: usize,
    /// The model that it began with and is compared with.
    pub base: String,
    /// How it did on the rows that were held back.
    pub held_back: Option<Gain>,
    /// What its promotion rested on.
    #[serde(default)]
    pub promotion: Option<Gain>,
}

/// How a candidate stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// Which.
    pub candidate: String,
    /// On rows that were held back from its training.
    pub held_back: Option<Gain>,
    /// On tasks that came since, which it scored in shadow.
    pub shadow: Option<Gain>,
    /// On both together: what a promotion rests on.
    pub together: Option<Gain>,
}

/// Why nothing was learned, promoted or rolled back.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Too little to learn from.
    #[error(transparent)]
    TooFew(#[from] TooFew),
    /// Nothing new was learned.
    #[error("the rows taught nothing new: the candidate would be the model that decides already")]
    Same,
    /// Nothing runs in shadow.
    #[error("no candidate runs in shadow; `ghost taskmaster retrain` trains one")]
    NoCandidate,
    /// It may be better, or not.
    #[error("the candidate {candidate} is not better with confidence: {why}")]
    NotBetter {
        /// Which.
        candidate: String,
        /// What is missing.
        why: String,
    },
    /// There is nothing before it.
    #[error("no model decided before {0}; there is nothing to go back to")]
    NoPrevious(String),
    /// A model that is to decide cannot be read.
    #[error("the model {id} cannot be read: {why}")]
    Unreadable {
        /// Which.
        id: String,
        /// Why.
        why: String,
    },
    /// The store did not do it; the same again is safe.
    #[error(transparent)]
    Broker(#[from] broker::Error),
}

impl Default for Registry {
    fn default() -> Self {
        Self { live: SHIPPED.to_owned(), candidate: None, previous: Vec::new(), versions: Vec::new() }
    }
}

impl Registry {
    /// What a broker has.
    ///
    /// # Errors
    /// [`broker::Error`] of the store.
    pub async fn of(broker: &dyn Broker) -> Result<Self, broker::Error> {
        let document = broker.document(DOCUMENT).await?;
        Self::read(document.as_ref().map(|document| &document.content[..]))
    }

    fn read(content: Option<&[u8]>) -> Result<Self, broker::Error> {
        let Some(content) = content else { return Ok(Self::default()) };
        serde_json::from_slice(content)
            .map_err(|error| broker::Error::Damaged(format!("the list of models cannot be read: {error}")))
    }

    fn write(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a registry is always JSON")
    }

    /// The version of this name.
    pub fn version(&self, id: &str) -> Option<&Version> {
        self.versions.iter().find(|version| version.id == id)
    }

    /// Forgets the oldest models that nobody needs; says which.
    fn forget(&mut self) -> Vec<String> {
        let mut gone = Vec::new();
        while self.versions.len() > KEPT {
            let needed = |id: &String| *id == self.live || Some(id) == self.candidate.as_ref();
            let Some(at) = self.versions.iter().position(|version| !needed(&version.id)) else { break };
            let version = self.versions.remove(at);
            self.previous.retain(|id| *id != version.id);
            gone.push(version.id);
        }
        gone
    }
}

/// Trains a candidate on what came of tasks (on `rows`, where there are any) and lets it run in shadow, in the place of the
/// one before it.
///
/// # Errors
/// [`Error`], as where there is too little to learn from.
pub async fn train(broker: &dyn Broker, rows: Option<Vec<Row>>) -> Result<Version, Error> {
    let registry = patiently(|| Registry::of(broker)).await?;
    let base = registry.live.clone();
    let live = load(broker, &base).await?;
    let rows = match rows {
        Some(rows) => rows,
        None => outcomes::all(broker).await?,
    };
    // Seconds of work for many rows: on a thread where it holds up nobody.
    let trained = tokio::task::spawn_blocking(move || {
        let candidate = retrain(&live, &rows)?;
        let bytes = candidate.model.to_bytes();
        Ok::<_, TooFew>((bytes != live.to_bytes()).then_some((candidate, bytes)))
    });
    let trained =
        trained.await.map_err(|error| broker::Error::Unavailable(format!("training ended: {error}")))?;
    let (Candidate { rows, evidence, gain, .. }, bytes) = trained?.ok_or(Error::Same)?;
    let id: String = Sha256::digest(&bytes).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    put(broker, &of_model(&id), bytes).await?;
    put(broker, &of_evidence(&id), serde_json::to_vec(&evidence).expect("numbers are always JSON")).await?;
    let trained_at = patiently(|| broker.now()).await?;
    let version = Version { id: id.clone(), trained_at, rows, base, held_back: gain, promotion: None };
    let gone = revise(broker, DOCUMENT, |content| {
        let mut registry = Registry::read(content)?;
        registry.versions.retain(|known| known.id != id);
        registry.versions.push(version.clone());
        registry.candidate = Some(id.clone());
        let gone = registry.forget();
        Ok::<_, broker::Error>((Some(registry.write()), gone))
    })
    .await?;
    for id in gone {
        // What stays behind of it is harmless, and the next one tries again for its own.
        let _ = put(broker, &of_model(&id), Vec::new()).await;
        let _ = put(broker, &of_evidence(&id), Vec::new()).await;
    }
    Ok(version)
}

/// How the candidate stands, by all rows that it was not fitted to.
///
/// # Errors
/// [`Error::NoCandidate`] where nothing runs in shadow.
pub async fn standing(broker: &dyn Broker) -> Result<Standing, Error> {
    let registry = patiently(|| Registry::of(broker)).await?;
    let candidate = registry.candidate.clone().ok_or(Error::NoCandidate)?;
    let name = of_evidence(&candidate);
    let document = patiently(|| broker.document(&name)).await?;
    let evidence: Evidence =
        document.and_then(|document| serde_json::from_slice(&document.content).ok()).unwrap_or_default();
    // What was compared with another model than the one that decides now tells nothing.
    let current = registry.version(&candidate).is_some_and(|version| version.base == registry.live);
    let held_back = if current { evidence.held_back } else { Vec::new() };
    let rows = outcomes::all(broker).await?;
    let shadow: Vec<Scored> = rows
        .iter()
        .filter(|row| evidence.fitted.binary_search(&group(&row.prompt)).is_err())
        .filter_map(|row| in_shadow(row, &registry.live, &candidate))
        .collect();
    let together: Vec<Scored> = held_back.iter().chain(&shadow).copied().collect();
    Ok(Standing { candidate, held_back: gain(&held_back), shadow: gain(&shadow), together: gain(&together) })
}

fn in_shadow(row: &Row, live: &str, candidate: &str) -> Option<Scored> {
    let shadow = row.shadow.as_ref().filter(|shadow| shadow.live == live && shadow.candidate == candidate)?;
    Some(Scored { live: shadow.live_score, candidate: shadow.score, hard: row.hard()? })
}

impl Standing {
    /// Why it may not be promoted; none where it is better with confidence.
    pub fn doubt(&self) -> Option<String> {
        let rows = |gain: &Option<Gain>| gain.map_or(0, |gain| gain.rows);
        let (together, shadow) = (rows(&self.together), rows(&self.shadow));
        if shadow < FEWEST_IN_SHADOW {
            return Some(format!(
                "{shadow} tasks that it scored in shadow have an outcome, and {FEWEST_IN_SHADOW} are asked for"
            ));
        }
        if together < FEWEST_ROWS {
            return Some(format!("it is compared on {together} rows, and {FEWEST_ROWS} are asked for"));
        }
        let gain = self.together.filter(|gain| gain.low <= 0.0)?;
        Some(format!(
            "its gain of {:.4} on {} rows may be as low as {:.4}; more outcomes would tell",
            gain.gain, gain.rows, gain.low
        ))
    }
}

/// Lets the candidate decide, if it is better with confidence.
///
/// # Errors
/// [`Error::NotBetter`] says what is missing.
pub async fn promote(broker: &dyn Broker) -> Result<Standing, Error> {
    let standing = standing(broker).await?;
    if let Some(why) = standing.doubt() {
        return Err(Error::NotBetter { candidate: standing.candidate, why });
    }
    // What cannot be read must not decide.
    load(broker, &standing.candidate).await?;
    revise(broker, DOCUMENT, |content| {
        let mut registry = Registry::read(content)?;
        if registry.live == standing.candidate {
            // An earlier try of this call.
            return Ok((None, ()));
        }
        if registry.candidate.as_ref() != Some(&standing.candidate) {
            let why = "another one took its place meanwhile".to_owned();
            return Err(Error::NotBetter { candidate: standing.candidate.clone(), why });
        }
        registry.candidate = None;
        let before = std::mem::replace(&mut registry.live, standing.candidate.clone());
        registry.previous.push(before);
        if let Some(version) = registry.versions.iter_mut().find(|version| version.id == standing.candidate) {
            version.promotion = standing.together;
        }
        Ok((Some(registry.write()), ()))
    })
    .await?;
    Ok(standing)
}

/// Lets the model decide that decided before; says which decided until now, and which does.
///
/// # Errors
/// [`Error::NoPrevious`] where there is none.
pub async fn roll_back(broker: &dyn Broker) -> Result<(String, String), Error> {
    let registry = patiently(|| Registry::of(broker)).await?;
    let from = registry.live.clone();
    let to = registry.previous.last().cloned().ok_or_else(|| Error::NoPrevious(from.clone()))?;
    load(broker, &to).await?;
    revise(broker, DOCUMENT, |content| {
        let mut registry = Registry::read(content)?;
        // Where an earlier try of this call, or somebody else, went back already, nothing is left to do.
        if registry.live != from || registry.previous.last() != Some(&to) {
            return Ok::<_, Error>((None, ()));
        }
        registry.previous.pop();
        registry.live.clone_from(&to);
        // It was compared with a model that no longer decides.
        registry.candidate = None;
        Ok((Some(registry.write()), ()))
    })
    .await?;
    Ok((from, to))
}

fn of_model(id: &str) -> String {
    format!("{DOCUMENT}/{id}/model")
}

fn of_evidence(id: &str) -> String {
    format!("{DOCUMENT}/{id}/evidence")
}

async fn put(broker: &dyn Broker, name: &str, content: Vec<u8>) -> Result<(), broker::Error> {
    revise(broker, name, |held| {
        let new = held != Some(&content[..]);
        Ok((new.then(|| content.clone()), ()))
    })
    .await
}

/// The model of this name.
///
/// # Errors
/// [`Error::Unreadable`] where it is gone or spoilt.
pub async fn load(broker: &dyn Broker, id: &str) -> Result<Model, Error> {
    if id == SHIPPED {
        return Ok(Model::from_bytes(model::EMBEDDED).expect("a test reads the model that ships"));
    }
    let unreadable = |why: String| Error::Unreadable { id: id.to_owned(), why };
    let name = of_model(id);
    let document: Option<Document> = patiently(|| broker.document(&name)).await?;
    let document = document.ok_or_else(|| unreadable("the store does not have it".to_owned()))?;
    Model::from_bytes(&document.content).map_err(|error| unreadable(error.to_string()))
}

/// The models that an orchestrator classifies with: it asks the broker which at most twice a second.
pub struct Models {
    broker: Arc<dyn Broker>,
    shipped: Arc<TaskMaster>,
    known: Mutex<Known>,
}

struct Known {
    read: Option<Instant>,
    pair: Arc<Pair>,
}

/// The model that decides, and the one that runs in shadow.
pub struct Pair {
    /// The name of the first.
    pub live: String,
    /// It.
    pub taskmaster: Arc<TaskMaster>,
    /// The second, if there is one, after its name.
    pub candidate: Option<(String, Arc<TaskMaster>)>,
}

impl Models {
    /// Those of this broker; `shipped` decides where it has none, and its thresholds hold for all.
    pub fn new(broker: Arc<dyn Broker>, shipped: Arc<TaskMaster>) -> Self {
        let pair = Pair { live: SHIPPED.to_owned(), taskmaster: shipped.clone(), candidate: None };
        Self { broker, shipped, known: Mutex::new(Known { read: None, pair: Arc::new(pair) }) }
    }

    /// Those that count now. Where that cannot be told, those that counted last.
    pub async fn current(&self) -> Arc<Pair> {
        let (fresh, known) = {
            let known = self.known();
            (known.read.is_some_and(|read| read.elapsed() < FRESH), known.pair.clone())
        };
        if fresh {
            return known;
        }
        let pair = match Registry::of(&*self.broker).await {
            Ok(registry) => self.follow(&registry, known).await,
            Err(error) => {
                warn!(error = %error, "which model decides is not known: {error}");
                known
            }
        };
        *self.known() = Known { read: Some(Instant::now()), pair: pair.clone() };
        pair
    }

    async fn follow(&self, registry: &Registry, known: Arc<Pair>) -> Arc<Pair> {
        let candidate = known.candidate.as_ref().map(|(id, _)| id);
        if registry.live == known.live && registry.candidate.as_ref() == candidate {
            return known;
        }
        let mut pair =
            Pair { live: known.live.clone(), taskmaster: known.taskmaster.clone(), candidate: None };
        if registry.live != known.live {
            match self.taskmaster(&registry.live, &known).await {
                Ok(taskmaster) => {
                    info!(
                        event = "taskmaster_changed",
                        model = registry.live,
                        "the model {} decides",
                        registry.live
                    );
                    (pair.live, pair.taskmaster) = (registry.live.clone(), taskmaster);
                }
                Err(error) => warn!(error = %error, "the model {} goes on deciding: {error}", known.live),
            }
        }
        if let Some(id) = &registry.candidate {
            match self.taskmaster(id, &known).await {
                Ok(taskmaster) => pair.candidate = Some((id.clone(), taskmaster)),
                Err(error) => warn!(error = %error, "nothing runs in shadow: {error}"),
            }
        }
        Arc::new(pair)
    }

    async fn taskmaster(&self, id: &str, known: &Pair) -> Result<Arc<TaskMaster>, Error> {
        if id == SHIPPED {
            return Ok(self.shipped.clone());
        }
        // What was in shadow and is promoted is here already.
        if let Some((_, taskmaster)) = known.candidate.as_ref().filter(|(known, _)| known == id) {
            return Ok(taskmaster.clone());
        }
        let model = load(&*self.broker, id).await?;
        Ok(Arc::new(TaskMaster::with_model(model, self.shipped.thresholds())))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pair {
    /// What the candidate says of a task of which the model that decides said `score`.
    pub fn shadow(&self, request: &crate::task::TaskRequest, score: f64) -> Option<Shadow> {
        let (candidate, taskmaster) = self.candidate.as_ref()?;
        Some(Shadow {
            live: self.live.clone(),
            live_score: score,
            candidate: candidate.clone(),
            score: taskmaster.classify(request).score,
        })
    }
}
