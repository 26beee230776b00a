//! Hears the swarm's news: one connection of its own for all listeners of a process.
//!
//! While it is broken news is missed, which is why a listener that hears of work after that looks for itself: both stages
//! are told to.

use std::sync::Arc;
use std::time::Duration;

use redis::Client;
use tokio::sync::{OnceCell, broadcast, watch};
use tokio::task::AbortHandle;

use super::form;
use super::line::Line;
use super::listen::{Heard, Topic, listen};
use crate::broker::{Error, News, Subscription};
use crate::lifecycle::Stage;

/// News that a slow listener may fall behind before it misses some: a few seconds of tokens from a few models.
const NEWS: usize = 1024;

/// The listeners of a process, and the task that reads for them.
pub(super) struct Ear {
    line: Arc<Line>,
    channels: Vec<String>,
    news: broadcast::Sender<News>,
    connected: watch::Sender<bool>,
    reader: OnceCell<AbortHandle>,
}

impl Ear {
    pub(super) fn new(line: Arc<Line>, channels: Vec<String>) -> Self {
        Self {
            line,
            channels,
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
                    channels: self.channels.clone(),
                    news: self.news.clone(),
                    connected: self.connected.clone(),
                };
                // Not in the caller's, which may end before others who listen.
                self.line.runtime().spawn(reader.run()).abort_handle()
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
    channels: Vec<String>,
    news: broadcast::Sender<News>,
    connected: watch::Sender<bool>,
}

impl Reader {
    async fn run(self) {
        listen(&self.client, &Topic::Channels(self.channels.clone()), "Redis's news", |heard| match heard {
            Heard::Listening { again } => {
                self.connected.send_replace(true);
                if again {
                    [Stage::Infer, Stage::Evaluate]
                        .map(News::Work)
                        .into_iter()
                        .for_each(|news| self.tell(news));
                }
            }
            Heard::Lost => {
                self.connected.send_replace(false);
            }
            Heard::Message(message) => {
                if let Ok(text) = std::str::from_utf8(message.get_payload_bytes()) {
                    form::news(text).into_iter().for_each(|news| self.tell(news));
                }
            }
        })
        .await;
    }

    fn tell(&self, news: News) {
        // Nobody listens: news may be missed.
        let _ = self.news.send(news);
    }
}
