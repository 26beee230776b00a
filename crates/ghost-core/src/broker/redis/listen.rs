//! Listens to channels of Redis on a connection of its own, which comes back when it breaks.
//!
//! Only this connection waits, so nothing else stands behind it. What is said while it is broken is missed.

use std::time::Duration;

use futures_util::StreamExt;
use redis::{Client, Msg, RedisError};
use tokio::time::{Instant, interval_at, sleep, timeout};
use tracing::{info, warn};

use crate::retry::Backoff;

/// How often a silent line is tried: a peer that vanished without a word is noticed after this and [`PONG`].
const PING: Duration = Duration::from_secs(10);
const PONG: Duration = Duration::from_secs(5);
const BACKOFF: Backoff = Backoff::growing(Duration::from_millis(20), Duration::from_secs(1));

/// What is listened to.
pub(super) enum Topic {
    /// These channels.
    Channels(Vec<String>),
    /// All channels whose names match, as Redis matches them.
    Patterns(Vec<String>),
}

/// What a listener learns.
pub(super) enum Heard {
    /// From now on everything is heard.
    Listening {
        /// Whether it was so before, so that something was missed in between.
        again: bool,
    },
    /// Nothing is heard for now.
    Lost,
    /// Somebody said something.
    Message(Msg),
}

/// Listens for ever. `whose` names it in the log.
pub(super) async fn listen(client: &Client, topic: &Topic, whose: &str, mut hear: impl FnMut(Heard)) -> ! {
    let mut failures = 0;
    loop {
        let mut connected = false;
        let ended = once(client, topic, |heard| {
            if let Heard::Listening { .. } = heard {
                connected = true;
                let again = std::mem::take(&mut failures) > 0;
                if again {
                    info!("{whose} is heard again");
                }
                hear(Heard::Listening { again });
            } else {
                hear(heard);
            }
        })
        .await;
        if connected {
            hear(Heard::Lost);
        }
        failures += 1;
        if let Err(error) = ended
            && failures == 1
        {
            warn!(error = %error, "{whose} is not heard; trying again: {error}");
        }
        sleep(BACKOFF.wait(failures, &mut fastrand::Rng::new())).await;
    }
}

/// Listens until the line breaks.
async fn once(client: &Client, topic: &Topic, mut hear: impl FnMut(Heard)) -> Result<(), RedisError> {
    let connection = timeout(PONG, client.get_async_pubsub());
    let (mut asks, mut messages) = connection.await.map_err(|_| silent())??.split();
    match topic {
        Topic::Channels(channels) => timeout(PONG, asks.subscribe(channels)).await,
        Topic::Patterns(patterns) => timeout(PONG, asks.psubscribe(patterns)).await,
    }
    .map_err(|_| silent())??;
    hear(Heard::Listening { again: false });
    let mut ping = interval_at(Instant::now() + PING, PING);
    loop {
        tokio::select! {
            message = messages.next() => hear(Heard::Message(message.ok_or_else(silent)?)),
            _ = ping.tick() => {
                timeout(PONG, asks.ping::<redis::Value>()).await.map_err(|_| silent())??;
            }
        }
    }
}

fn silent() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::ConnectionReset).into()
}
