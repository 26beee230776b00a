//! How a process ends: the first Ctrl-C (or SIGTERM) asks it to finish what it has begun, the second one to leave.

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The two stages of an end.
#[derive(Debug, Clone)]
pub struct Shutdown {
    /// Take nothing new, finish what was begun.
    pub drain: CancellationToken,
    /// Leave at once. Whoever leaves also drains.
    pub leave: CancellationToken,
}

impl Default for Shutdown {
    fn default() -> Self {
        let leave = CancellationToken::new();
        Self { drain: leave.child_token(), leave }
    }
}

/// Listens to the system's signals for as long as the process lives. To be called within a tokio runtime.
pub fn signals() -> Shutdown {
    // Two signals say all that there is to say; what comes while both wait may be lost.
    let (heard, signals) = mpsc::channel(2);
    tokio::spawn(hear(heard));
    on(signals)
}

/// The same for signals that come over a channel.
pub fn on(mut signals: mpsc::Receiver<()>) -> Shutdown {
    let shutdown = Shutdown::default();
    let Shutdown { drain, leave } = shutdown.clone();
    tokio::spawn(async move {
        for stage in [drain, leave] {
            if signals.recv().await.is_none() {
                return;
            }
            stage.cancel();
        }
    });
    shutdown
}

/// Does `work`, but no longer than until its user leaves; none says that they did.
pub async fn unless_left<T>(shutdown: &Shutdown, work: impl Future<Output = T>) -> Option<T> {
    shutdown.leave.run_until_cancelled(work).await
}

#[cfg(unix)]
async fn hear(heard: mpsc::Sender<()>) {
    use tokio::signal::unix::{SignalKind, signal};
    let (interrupt, terminate) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    let (Ok(mut interrupt), Ok(mut terminate)) = (interrupt, terminate) else {
        tracing::warn!("the system lets us hear no signals; Ctrl-C ends the process at once");
        return;
    };
    loop {
        tokio::select! {
            Some(()) = interrupt.recv() => {}
            Some(()) = terminate.recv() => {}
            else => return,
        }
        if heard.send(()).await.is_err() {
            return;
        }
    }
}

#[cfg(not(unix))]
async fn hear(heard: mpsc::Sender<()>) {
    while tokio::signal::ctrl_c().await.is_ok() && heard.send(()).await.is_ok() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_signal_drains_and_the_second_one_leaves() {
        let (signal, signals) = mpsc::channel(2);
        let shutdown = on(signals);
        signal.send(()).await.expect("heard");
        shutdown.drain.cancelled().await;
        assert!(!shutdown.leave.is_cancelled());
        signal.send(()).await.expect("heard");
        shutdown.leave.cancelled().await;
    }

    #[tokio::test]
    async fn who_leaves_also_drains_and_stops_waiting() {
        let shutdown = Shutdown::default();
        assert_eq!(unless_left(&shutdown, async { 1 }).await, Some(1));
        shutdown.leave.cancel();
        assert!(shutdown.drain.is_cancelled());
        assert_eq!(unless_left(&shutdown, std::future::pending::<()>()).await, None);
    }

    #[tokio::test]
    async fn nobody_left_to_signal_ends_nothing() {
        let (signal, signals) = mpsc::channel(2);
        let shutdown = on(signals);
        drop(signal);
        tokio::task::yield_now().await;
        assert!(!shutdown.drain.is_cancelled());
    }
}
