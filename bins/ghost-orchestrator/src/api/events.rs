//! A task's life as server-sent events.
//!
//! `task` holds the task as it stands: first of all, and last once it is settled, which ends the stream. In between,
//! `status` tells of changes and `delta` what a model writes. News may be missed, the last `task` never is. Whoever
//! reads too slowly loses the connection (the door's write limit) or some deltas, and nothing is kept for them.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use ghost_core::broker::{News, Subscription};
use ghost_core::id::TaskKey;
use ghost_core::lifecycle::Record;
use ghost_core::task::Status;
use ghost_service::door::Problem;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until};

use super::answer::View;
use super::ask::Name;
use super::{App, Shared};

pub(super) async fn watch(State(app): App, name: Name, headers: HeaderMap) -> Result<Response, Problem> {
    let place = app.watcher()?;
    let record = app.find(&name).await?;
    // A browser comes back after each end; it is told that there is no more.
    let heard = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    if record.status().is_settled() && heard == Some(ending(&record).as_str()) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let heartbeat = KeepAlive::new().interval(app.config.heartbeat).text("still here");
    let watch = Watch {
        app,
        key: record.key,
        told: None,
        news: None,
        look_at: Instant::now(),
        next: VecDeque::new(),
        _place: place,
    };
    let events = stream::unfold(Some(watch), |watch| async move {
        let mut watch = watch?;
        let (event, more) = watch.next().await?;
        Some((Ok::<_, Infallible>(event), more.then_some(watch)))
    });
    Ok(Sse::new(events).keep_alive(heartbeat).into_response())
}

/// The id of a stream's last event: settled is final within a generation.
fn ending(record: &Record) -> String {
    format!("settled-{}", record.generation)
}

/// One watcher of one task.
struct Watch {
    app: Arc<Shared>,
    key: TaskKey,
    /// The status that was told last; none before the first event.
    told: Option<Status>,
    news: Option<Subscription>,
    /// When to look at the record, whatever is heard until then.
    look_at: Instant,
    /// Events that are due.
    next: VecDeque<(Event, bool)>,
    _place: OwnedSemaphorePermit,
}

impl Watch {
    /// The next event, and whether more may follow; none where the stream ends without one.
    async fn next(&mut self) -> Option<(Event, bool)> {
        loop {
            if let Some(event) = self.next.pop_front() {
                return Some(event);
            }
            // Registered before the look, so that what happens in between is heard.
            if self.news.is_none() {
                self.news = self.app.broker().subscribe().await.ok();
            }
            if self.look_at <= Instant::now() {
                self.look_at = Instant::now() + self.app.config.poll;
                self.look().await?;
            } else {
                self.listen().await?;
            }
        }
    }

    async fn look(&mut self) -> Option<()> {
        // Where the store is away, the next look comes soon.
        let Ok(found) = self.app.broker().get(&self.key).await else { return Some(()) };
        // Removed after its end: its watcher looks for it elsewhere.
        let record = found?;
        let status = record.status();
        if status.is_settled() {
            let event = task(&record).id(ending(&record));
            self.next.push_back((event, false));
        } else if self.told.is_none() {
            self.next.push_back((task(&record), true));
        } else if self.told != Some(status) {
            self.next.push_back((changed(status), true));
        }
        self.told = Some(status);
        Some(())
    }

    async fn listen(&mut self) -> Option<()> {
        let heard = async {
            match &mut self.news {
                Some(news) => news.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.app.shutdown.cancelled() => return None,
            news = heard => match news {
                Some(News::Delta(of, text)) if of == self.key => {
                    let event = Event::default().event("delta").data(json!({ "text": text }).to_string());
                    self.next.push_back((event, true));
                }
                Some(News::Changed(of, status)) if of == self.key => {
                    if status.is_settled() || self.told.is_none() {
                        self.look_at = Instant::now();
                    } else if self.told != Some(status) {
                        self.told = Some(status);
                        self.next.push_back((changed(status), true));
                    }
                }
                Some(_) => {}
                // Some were missed, or the line broke.
                None => (self.news, self.look_at) = (None, Instant::now()),
            },
            () = sleep_until(self.look_at) => {}
        }
        Some(())
    }
}

fn task(record: &Record) -> Event {
    Event::default().event("task").data(View::Result.of(record).to_string())
}

fn changed(status: Status) -> Event {
    Event::default().event("status").data(json!({ "status": status }).to_string())
}
