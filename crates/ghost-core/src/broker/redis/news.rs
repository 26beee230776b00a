//! Hears the swarm's news: one connection of its own for all listeners of a process.
//!
//! Only this connection waits, so nothing else stands behind it. While it is broken news is missed, which is why a
//! listener that hears of work after that looks for itself: both stages are told to.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use redis::{Client, RedisError};
use tokio::sync::{OnceCell, broadcast, watch};
use tokio::task::AbortHandle;
use tracing::{info, warn};

use super::form;
use super::line::Line;
use crate::broker::{Error, News, Subscription};
use crate::lifecycle::Stage;
use crate::retry::Backoff;

/// News that a slow listener may fall behind before it misses some: a few seconds of tokens from a few models.
const NEWS: usize = 1024;
/// How often a silent line is tried: a peer that vanished without a word is noticed after this and [`PONG`].
const PING: Duration = Duration::from_secs(10);
const PONG: Duration = Duration::from_secs(5);
const BACKOFF: Backoff = match Backoff::new(Duration::from_millis(20), Duration::from_secs(1)) {
    Ok(backoff) => backoff,
    Err(_) => unreachable!(),
};

/// The listeners of a process, and the task that reads for them.
pub(super) struct Ear {
    line: Arc<Line>,
    channel: String,
    news: broadcast::Sender<News>,
    connected: watch::Sender<bool>,
    reader: OnceCell<AbortHandle>,
}

impl Ear {
    pub(super) fn new(line: Arc<Line>, channel: String) -> Self {
        Self {
            line,
            channel,
            news: broadcast::channel(NEWS).0,
            connected: watch::channel(false).0,
            reader: OnceCell::new(),
        }
    }

    /// Listens from now on; waits until Redis has heard that we do.
    pub(super) async fn subscribe(&self, patience: Duration) -> Result<Subscription, Error> {
        self.reader
            .get_or_init(async || {
                let reader = Reader {
                    client: self.line.client().clone(),
                    channel: self.channel.clone(),
                    news: self.news.clone(),
                    connected: self.connected.clone(),
                };
                tokio::spawn(reader.run()).abort_handle()
            })
            .await;
        let listener = self.news.subscribe();
        let mut connected = self.connected.subscribe();
        match tokio::time::timeout(patience, connected.wait_for(|connected| *connected)).await {
            Ok(Ok(_)) => Ok(Subscription::new(listener)),
            _ => Err(Error::Unavailable("Redis does not tell us its news".to_owned())),
        }
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        if let Some(reader) = self.reader.get() {
            reader.abort();
        }
    }
}

struct Reader {
    client: Client,
    channel: String,
    news: broadcast::Sender<News>,
    connected: watch::Sender<bool>,
}

impl Reader {
    async fn run(self) {
        let mut failures = 0;
        loop {
            let ended = self.listen(&mut failures).await;
            let was_connected = self.connected.send_replace(false);
            failures += 1;
            let wait = BACKOFF.wait(failures, &mut fastrand::Rng::new());
            match ended {
                Err(error) if failures == 1 || was_connected => {
                    warn!(error = %error, "Redis's news is not heard; trying again: {error}");
                }
                _ => {}
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Passes news on until the line breaks.
    async fn listen(&self, failures: &mut u32) -> Result<(), RedisError> {
        let connection = tokio::time::timeout(PONG, self.client.get_async_pubsub());
        let (mut asks, mut messages) = connection.await.map_err(|_| silent())??.split();
        tokio::time::timeout(PONG, asks.subscribe(&self.channel)).await.map_err(|_| silent())??;
        self.connected.send_replace(true);
        if std::mem::take(failures) > 0 {
            info!("Redis's news is heard again");
            for stage in [Stage::Infer, Stage::Evaluate] {
                self.tell(News::Work(stage));
            }
        }
        let mut ping = tokio::time::interval_at(tokio::time::Instant::now() + PING, PING);
        loop {
            let message = tokio::select! {
                message = messages.next() => message,
                _ = ping.tick() => {
                    tokio::time::timeout(PONG, asks.ping::<redis::Value>()).await.map_err(|_| silent())??;
                    continue;
                }
            };
            let Some(message) = message else { return Err(silent()) };
            if let Ok(text) = std::str::from_utf8(message.get_payload_bytes()) {
                form::news(text).into_iter().for_each(|news| self.tell(news));
            }
        }
    }

    fn tell(&self, news: News) {
        // Nobody listens: news may be missed.
        let _ = self.news.send(news);
    }
}

fn silent() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::ConnectionReset).into()
}
