//! Asks one backend with patience: tries again where that helps, waits as long as it was told to, and stops asking
//! one that keeps failing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tracing::warn;

use super::relay::Relay;
use crate::inference::breaker::{self, Breaker};
use crate::inference::{Backend, Completion, Error, Provider, Request, Retry, Usage};
use crate::lifecycle::{Attempt, Failure};
use crate::retry::Backoff;

/// Parts of an answer that may wait to be passed on: about a second of a fast model.
const PARTS: usize = 64;

/// How long one delivery keeps trying.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub(super) max_attempts: u32,
    /// All waits between tries together.
    pub(super) waits: Duration,
    pub(super) backoff: Backoff,
    /// When to come back where nobody says.
    pub(super) postpone: Duration,
}

/// Why there is no completion.
#[derive(Debug, Clone)]
pub(super) enum Stumble {
    /// The caller withdrew.
    Cancelled,
    /// The same request may succeed after this time.
    Later(Error, Duration),
    /// The same request will not succeed.
    Never(Error),
}

/// A backend, and whether it is worth asking just now.
pub(super) struct Caller {
    pub(super) backend: Arc<dyn Backend>,
    breaker: Mutex<Breaker>,
}

impl Caller {
    pub(super) fn new(backend: Arc<dyn Backend>, config: breaker::Config) -> Self {
        Self { backend, breaker: Mutex::new(Breaker::new(config)) }
    }

    pub(super) fn provider(&self) -> Provider {
        self.backend.provider()
    }

    /// Asks until there is a completion, the patience is spent, or asking again is useless. Every try is noted in
    /// `attempts`, at what `price` says it cost.
    pub(super) async fn ask(
        &self,
        request: &Request,
        patience: &Patience,
        mut relay: Option<&mut Relay>,
        price: impl Fn(&Completion) -> u64,
        attempts: &mut Vec<Attempt>,
    ) -> Result<Completion, Stumble> {
        let begun = Instant::now();
        let mut waits = Duration::ZERO;
        let mut failures = 0;
        loop {
            let permit = self.breaker(|breaker, now| breaker.allow(now)).map_err(|pause| {
                let error = Error::Unavailable(format!(
                    "{} failed too often; it is left alone for {:.1} s",
                    self.name(request),
                    pause.as_secs_f64()
                ));
                Stumble::Later(error, pause)
            })?;
            let started = Instant::now();
            let left = request.timeout.saturating_sub(started - begun);
            let result = self.once(request, left, relay.as_deref_mut()).await;
            let outcome = match &result {
                Ok(_) => breaker::Outcome::Alive,
                // The task had no more time: that says nothing of the provider.
                Err(Error::Timeout { waited, .. }) if *waited == left => breaker::Outcome::Unknown,
                Err(error) => breaker::Outcome::from(error),
            };
            let opened = self.breaker(|breaker, now| breaker.record(permit, outcome, now));
            if let (Some(pause), Err(error)) = (opened, &result) {
                let (name, pause) = (self.name(request), pause.as_secs_f64());
                warn!(event = "provider_left_alone", error = %error, "{name} fails, so nobody asks it for {pause:.0} s: {error}");
            }
            attempts.push(self.attempt(request, &result, started, &price));
            let error = match result {
                Ok(completion) => return Ok(completion),
                Err(Error::Cancelled) => return Err(Stumble::Cancelled),
                Err(error) => error,
            };
            failures += 1;
            let wait = match error.retry() {
                Retry::Never if matches!(error, Error::Timeout { .. }) => {
                    return Err(Stumble::Later(error, patience.postpone));
                }
                Retry::Never => return Err(Stumble::Never(error)),
                Retry::Now => patience.backoff.wait(failures, &mut fastrand::Rng::new()),
                Retry::After(wait) => wait,
            };
            waits += wait;
            if failures >= patience.max_attempts || waits > patience.waits {
                // A wait that the provider asked for is kept; our own was only for the moment.
                let asked_for = matches!(error.retry(), Retry::After(_));
                return Err(Stumble::Later(error, if asked_for { wait } else { patience.postpone }));
            }
            tokio::select! {
                () = request.cancel.cancelled() => return Err(Stumble::Cancelled),
                () = sleep(wait) => {}
            }
        }
    }

    /// One call, which ends when it is cancelled or its time is up, whatever the backend does.
    async fn once(
        &self,
        request: &Request,
        limit: Duration,
        relay: Option<&mut Relay>,
    ) -> Result<Completion, Error> {
        let cancel = request.cancel.clone();
        let name = self.name(request);
        let request = Request { timeout: limit, ..request.clone() };
        let call = async {
            let Some(relay) = relay else { return self.backend.generate(request, None).await };
            relay.restart();
            let (parts, mut arriving) = mpsc::channel::<String>(PARTS);
            let pass_on = async {
                while let Some(part) = arriving.recv().await {
                    relay.push(&part).await;
                }
            };
            tokio::join!(self.backend.generate(request, Some(parts)), pass_on).0
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(Error::Cancelled),
            result = timeout(limit, call) => {
                result.unwrap_or(Err(Error::Timeout { provider: name, waited: limit }))
            }
        }
    }

    fn attempt(
        &self,
        request: &Request,
        result: &Result<Completion, Error>,
        started: Instant,
        price: impl Fn(&Completion) -> u64,
    ) -> Attempt {
        let (model, usage, cost_micro_usd, failure) = match result {
            Ok(completion) => (completion.model.clone(), completion.usage, price(completion), None),
            Err(error) => {
                (self.name(request), Usage::default(), 0, Some(Failure::new(error.code(), error.to_string())))
            }
        };
        Attempt {
            provider: self.provider(),
            model,
            duration_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            usage,
            cost_micro_usd,
            failure,
        }
    }

    /// The model that a request is for.
    fn name(&self, request: &Request) -> String {
        request.model.clone().unwrap_or_else(|| self.backend.model().to_owned())
    }

    fn breaker<T>(&self, act: impl FnOnce(&mut Breaker, std::time::Instant) -> T) -> T {
        let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        act(&mut breaker, Instant::now().into_std())
    }
}
