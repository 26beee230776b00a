//! Experiments in the broker: one document that all orchestrators share, changed by compare-and-set.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tracing::warn;

use super::{Definition, Error, Experiment};
use crate::broker::{self, Broker, patiently, revise};
use crate::roster::FRESH;

/// The document's name.
const DOCUMENT: &str = "experiments";
/// How many are kept; the oldest go first. Their figures are small, and so is this document.
pub const KEPT: usize = 64;

#[derive(Debug, Default, Serialize, Deserialize)]
struct Experiments {
    /// Oldest first.
    experiments: Vec<Experiment>,
}

impl Experiments {
    fn read(content: Option<&[u8]>) -> Result<Self, broker::Error> {
        let Some(content) = content else { return Ok(Self::default()) };
        serde_json::from_slice(content)
            .map_err(|error| broker::Error::Damaged(format!("the experiments cannot be read: {error}")))
    }

    fn write(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("experiments are always JSON")
    }

    fn find(&mut self, name: &str) -> Option<&mut Experiment> {
        self.experiments.iter_mut().find(|experiment| experiment.definition.name == name)
    }
}

/// All that are kept, newest first.
///
/// # Errors
/// [`broker::Error`] of the store.
pub async fn all(broker: &dyn Broker) -> Result<Vec<Experiment>, broker::Error> {
    let document = broker.document(DOCUMENT).await?;
    let mut found = Experiments::read(document.as_ref().map(|document| &document.content[..]))?.experiments;
    found.reverse();
    Ok(found)
}

/// The one of this name.
///
/// # Errors
/// [`Error::Unknown`] where there is none.
pub async fn find(broker: &dyn Broker, name: &str) -> Result<Experiment, Error> {
    let mut all = patiently(|| all(broker)).await?.into_iter();
    all.find(|experiment| experiment.definition.name == name).ok_or_else(|| Error::Unknown(name.to_owned()))
}

/// Starts an experiment, unless one runs. One that runs already under this very definition is given back, so who lost a
/// reply starts it again; says whether it is new.
///
/// # Errors
/// [`Error`], as where another one runs.
pub async fn start(broker: &dyn Broker, definition: Definition) -> Result<(Experiment, bool), Error> {
    definition.check()?;
    let started_at = patiently(|| broker.now()).await?;
    revise(broker, DOCUMENT, |content| {
        let mut kept = Experiments::read(content)?;
        if let Some(known) = kept.find(&definition.name) {
            if known.runs() && known.definition == definition {
                return Ok((None, (known.clone(), false)));
            }
            let name = definition.name.clone();
            return Err(if known.runs() { Error::Running(name) } else { Error::Taken(name) });
        }
        if let Some(running) = kept.experiments.iter().find(|experiment| experiment.runs()) {
            return Err(Error::Running(running.definition.name.clone()));
        }
        let experiment = Experiment { definition: definition.clone(), started_at, stopped_at: None };
        kept.experiments.push(experiment.clone());
        let surplus = kept.experiments.len().saturating_sub(KEPT);
        kept.experiments.drain(..surplus);
        Ok((Some(kept.write()), (experiment, true)))
    })
    .await
}

/// Stops an experiment; of one that has stopped, nothing changes. Tasks that have an arm keep it and are counted still.
///
/// # Errors
/// [`Error::Unknown`] where there is none.
pub async fn stop(broker: &dyn Broker, name: &str) -> Result<Experiment, Error> {
    let now = patiently(|| broker.now()).await?;
    revise(broker, DOCUMENT, |content| {
        let mut kept = Experiments::read(content)?;
        let experiment = kept.find(name).ok_or_else(|| Error::Unknown(name.to_owned()))?;
        if !experiment.runs() {
            return Ok((None, experiment.clone()));
        }
        experiment.stopped_at = Some(now);
        let stopped = experiment.clone();
        Ok((Some(kept.write()), stopped))
    })
    .await
}

/// The experiment that runs, as far as an orchestrator knows: it asks the broker at most twice a second.
pub struct Board {
    broker: Arc<dyn Broker>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    read: Option<Instant>,
    running: Option<Arc<Experiment>>,
}

impl Board {
    /// A board of what this broker knows.
    pub fn new(broker: Arc<dyn Broker>) -> Self {
        Self { broker, known: Mutex::default() }
    }

    /// The experiment that runs.
    pub async fn running(&self) -> Option<Arc<Experiment>> {
        if self.known().read.is_none_or(|read| read.elapsed() >= FRESH) {
            match all(&*self.broker).await {
                Ok(all) => self.known().running = all.into_iter().find(Experiment::runs).map(Arc::new),
                // What was last known is the best guess.
                Err(error) => warn!(error = %error, "which experiment runs is not known: {error}"),
            }
            self.known().read = Some(Instant::now());
        }
        self.known().running.clone()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
