//! Renews what a worker holds and says that it is alive, three times in every lease.
//!
//! It beats on a thread of its own, so that no busy runtime lets a lease end. No call may take longer than a beat, so that
//! one that hangs leaves time to try again, and what the store did not do is tried again soon: a store that was away for
//! most of a lease costs nothing. When a renewal is refused, since the task was cancelled or handed on, or when none came
//! through for the length of a lease, the attempt hears that its right is lost. A cancellation is news, so it is noticed
//! at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use ghost_core::broker::{AdvanceError, Broker, News, Subscription, advance};
use ghost_core::id::LeaseToken;
use ghost_core::inference::hybrid::Engine;
use ghost_core::lifecycle::{Event, Record};
use ghost_core::messages::{AgentInfo, AgentStatus};
use ghost_core::retry::Backoff;
use ghost_core::roster;
use ghost_core::task::Status;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::Pulse;

/// The waits between tries to renew: short beside the shortest lease.
const BACKOFF: Backoff = Backoff::growing(Duration::from_millis(20), Duration::from_millis(250));

#[derive(Clone)]
pub(crate) struct Heart {
    broker: Arc<dyn Broker>,
    agent: AgentInfo,
    engine: Arc<Engine>,
    lease: Duration,
    held: Arc<Mutex<HashMap<LeaseToken, Held>>>,
}

struct Held {
    record: Record,
    until: Instant,
    lost: CancellationToken,
}

/// A lease that is being renewed for as long as this lives.
pub(crate) struct Hold {
    heart: Heart,
    pub(crate) token: LeaseToken,
    /// Cancelled once the right to the task is lost.
    pub(crate) lost: CancellationToken,
}

impl Hold {
    /// When the lease ends, for all that is known here.
    pub(crate) fn until(&self) -> Instant {
        self.heart.held().get(&self.token).map_or_else(Instant::now, |held| held.until)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.heart.held().remove(&self.token);
    }
}

/// Where a heart beats.
pub(crate) enum Beating {
    Thread(std::thread::JoinHandle<()>),
    Task(JoinHandle<()>),
}

impl Beating {
    /// Waits until it has stopped, which it does once its token is cancelled.
    pub(crate) async fn stopped(self) {
        let panicked = match self {
            Beating::Thread(thread) => {
                tokio::task::spawn_blocking(move || thread.join().is_err()).await.unwrap_or(true)
            }
            Beating::Task(task) => task.await.is_err(),
        };
        if panicked {
            error!("the renewal of leases panicked; what was held comes back by itself");
        }
    }
}

impl Heart {
    pub(crate) fn new(
        broker: Arc<dyn Broker>,
        agent: AgentInfo,
        engine: Arc<Engine>,
        lease: Duration,
    ) -> Self {
        Self { broker, agent, engine, lease, held: Arc::default() }
    }

    /// Renews this lease from now on; it was asked for at `asked`.
    pub(crate) fn hold(&self, record: Record, token: LeaseToken, asked: Instant) -> Hold {
        let lost = CancellationToken::new();
        self.held().insert(token, Held { record, until: asked + self.lease, lost: lost.clone() });
        Hold { heart: self.clone(), token, lost }
    }

    pub(crate) fn start(&self, pulse: Pulse, stop: CancellationToken) -> Beating {
        if pulse == Pulse::OwnThread {
            let (heart, stop) = (self.clone(), stop.clone());
            let beat = move || match tokio::runtime::Builder::new_current_thread().enable_time().build() {
                Ok(runtime) => runtime.block_on(heart.beat(stop)),
                Err(error) => error!(error = %error, "leases cannot be renewed: {error}"),
            };
            match std::thread::Builder::new().name("heart".to_owned()).spawn(beat) {
                Ok(thread) => return Beating::Thread(thread),
                Err(error) => warn!(error = %error, "leases are renewed on a shared thread: {error}"),
            }
        }
        let heart = self.clone();
        Beating::Task(tokio::spawn(async move { heart.beat(stop).await }))
    }

    async fn beat(&self, stop: CancellationToken) {
        let (mut next, mut failures) = (Instant::now(), 0);
        let mut news = None;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = sleep_until(next) => {
                    let begun = Instant::now();
                    let announced = timeout(self.period(), self.announce());
                    // While the store is away, nothing but leases is worth waiting for.
                    let listen = async {
                        if failures == 0 {
                            self.listen(&mut news).await;
                        }
                    };
                    let (renewed, _, ()) = tokio::join!(self.renew(|_| true), announced, listen);
                    next = if renewed {
                        failures = 0;
                        begun + self.period()
                    } else {
                        failures += 1;
                        Instant::now() + BACKOFF.wait(failures, &mut fastrand::Rng::new())
                    };
                }
                // Only these come from others: what the worker itself completes need not be looked at again.
                heard = heard(&mut news) => {
                    if let Some(News::Changed(key, Status::Cancelled | Status::Failed)) = heard {
                        self.renew(|record| record.key == key).await;
                    }
                }
            }
        }
    }

    fn period(&self) -> Duration {
        self.lease / 3
    }

    async fn listen(&self, news: &mut Option<Subscription>) {
        if news.is_none() {
            *news = timeout(self.period(), self.broker.subscribe()).await.ok().and_then(Result::ok);
        }
    }

    async fn announce(&self) {
        let load = self.held().len();
        let mut agent = AgentInfo {
            status: if load > 0 { AgentStatus::Busy } else { AgentStatus::Idle },
            current_load: u32::try_from(load).unwrap_or(u32::MAX),
            ..self.agent.clone()
        };
        roster::Models::from(self.engine.available()).put(&mut agent);
        if let Err(error) = self.broker.announce(&agent, self.lease).await {
            debug!(error = %error, "the announcement was not heard: {error}");
        }
    }

    /// Renews the leases on these records, all at the same time: one that hangs must not cost another. False where it
    /// is to be tried again.
    async fn renew(&self, which: impl Fn(&Record) -> bool) -> bool {
        let held: Vec<_> = {
            let table = self.held();
            let chosen = table.iter().filter(|(_, held)| which(&held.record) && !held.lost.is_cancelled());
            chosen.map(|(token, held)| (*token, held.record.clone(), held.until)).collect()
        };
        let renewals = held.into_iter().map(|(token, record, until)| self.renew_one(token, record, until));
        join_all(renewals).await.into_iter().all(|renewed| renewed)
    }

    async fn renew_one(&self, token: LeaseToken, record: Record, until: Instant) -> bool {
        let asked = Instant::now();
        let renewal = advance(&*self.broker, record, Event::Renew(token, self.lease));
        let renewed = timeout_at(until.min(asked + self.period()), renewal).await;
        let mut table = self.held();
        // What was held may be done by now.
        let Some(held) = table.get_mut(&token) else { return true };
        let why = match renewed {
            Ok(Ok(record)) => {
                held.record = record;
                held.until = asked + self.lease;
                return true;
            }
            Ok(Err(AdvanceError::Refused(_) | AdvanceError::Gone)) => {
                held.lost.cancel();
                return true;
            }
            Ok(Err(AdvanceError::Broker(error))) => error.to_string(),
            Err(_) => "the store does not answer".to_owned(),
        };
        let key = &held.record.key;
        if Instant::now() < held.until {
            debug!(task.id = %key, error = %why, "the lease of task {key} is not renewed yet: {why}");
            return false;
        }
        warn!(task.id = %key, error = %why, "the lease of task {key} was not renewed in time: {why}");
        held.lost.cancel();
        true
    }

    fn held(&self) -> MutexGuard<'_, HashMap<LeaseToken, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The next news; none where some were missed, and silence from then on. The next beat looks at every record and
/// subscribes again.
async fn heard(news: &mut Option<Subscription>) -> Option<News> {
    let next = match news {
        Some(subscription) => subscription.next().await,
        None => std::future::pending().await,
    };
    if next.is_none() {
        *news = None;
    }
    next
}
