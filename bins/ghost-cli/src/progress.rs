//! How far a run is: a bar where somebody watches, a line now and then where nobody does.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::{bytes, talk};
use crate::summary::Summary;

/// At least one line in this time, as long as anything changes.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Shows progress on stderr.
#[derive(Debug)]
pub(crate) enum Progress {
    /// On a terminal.
    Bar(ProgressBar),
    /// In a log.
    Lines(Pace),
}

impl Progress {
    /// Begins at nothing of `total` tasks.
    pub(crate) fn new(total: u64) -> Self {
        Self::with(total, "[{elapsed_precise}] {wide_bar} {pos}/{len}  {msg}")
    }

    /// Begins at nothing of `total` bytes.
    pub(crate) fn of_bytes(total: u64) -> Self {
        Self::with(
            total,
            "[{elapsed_precise}] {wide_bar} {decimal_bytes}/{decimal_total_bytes}  {msg} {eta} left",
        )
    }

    fn with(total: u64, template: &str) -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        if !io::stderr().is_terminal() || dumb {
            return Progress::Lines(Pace::new(Instant::now()));
        }
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template(template);
        bar.set_style(style.expect("a constant template that is valid").progress_chars("=> "));
        bar.enable_steady_tick(Duration::from_millis(250));
        *on_screen() = Some(bar.clone());
        Progress::Bar(bar)
    }

    /// Shows that so many of `total` are settled.
    pub(crate) fn show(&mut self, summary: &Summary, total: u64) {
        match self {
            Progress::Bar(bar) => {
                bar.set_length(total);
                bar.set_position(summary.settled());
                bar.set_message(routes(summary));
            }
            Progress::Lines(pace) => {
                if pace.due(summary.settled(), total, Instant::now()) {
                    talk(format!("{}/{total} settled  {}", summary.settled(), routes(summary)));
                }
            }
        }
    }

    /// Shows that so many bytes of `total` are `done`.
    pub(crate) fn show_bytes(&mut self, at: u64, total: u64, done: &'static str) {
        match self {
            Progress::Bar(bar) => {
                bar.set_length(total);
                bar.set_position(at);
                bar.set_message(done);
            }
            Progress::Lines(pace) => {
                if pace.due(at, total, Instant::now()) {
                    talk(format!("{}/{} {done}", bytes(at), bytes(total)));
                }
            }
        }
    }

    /// Takes the bar away; the summary follows.
    pub(crate) fn finish(&self) {
        if let Progress::Bar(bar) = self {
            *on_screen() = None;
            bar.finish_and_clear();
        }
    }
}

/// The bar that is on the screen, for whoever writes there too.
static ON_SCREEN: Mutex<Option<ProgressBar>> = Mutex::new(None);

fn on_screen() -> MutexGuard<'static, Option<ProgressBar>> {
    // A handle is whole at any time, whatever panicked while it was held.
    ON_SCREEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does something with the terminal while the bar is off it.
pub(crate) fn lifted<T>(work: impl FnOnce() -> T) -> T {
    match &*on_screen() {
        Some(bar) => bar.suspend(work),
        None => work(),
    }
}

/// The log's way to stderr.
#[derive(Debug)]
pub(crate) struct Pen;

impl Write for Pen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        lifted(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

fn routes(summary: &Summary) -> String {
    let mut routes = format!("local {}, LLM {}", summary.locally, summary.by_llm);
    let failed: u64 = summary.failed.values().sum();
    for (number, what) in [(summary.needing_llm, "needing Claude"), (failed, "failed")] {
        if number > 0 {
            routes.push_str(&format!(", {what} {number}"));
        }
    }
    routes
}

/// When another line is due: every tenth of the whole, and every few seconds in between.
#[derive(Debug)]
pub(crate) struct Pace {
    last: Instant,
    tenths: u64,
    settled: u64,
}

impl Pace {
    fn new(now: Instant) -> Self {
        Self { last: now, tenths: 0, settled: 0 }
    }

    fn due(&mut self, settled: u64, total: u64, now: Instant) -> bool {
        let tenths = settled.saturating_mul(10).checked_div(total).unwrap_or(0);
        let due = settled > self.settled && (tenths > self.tenths || now - self.last >= LINE_EVERY);
        if due {
            *self = Self { last: now, tenths, settled };
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_comes_every_tenth_and_every_few_seconds_but_not_without_news() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        assert!(!pace.due(0, 100, start), "nothing is settled yet");
        assert!(!pace.due(9, 100, start));
        assert!(pace.due(10, 100, start));
        assert!(!pace.due(19, 100, start));
        assert!(pace.due(19, 100, start + LINE_EVERY));
        assert!(!pace.due(19, 100, start + LINE_EVERY * 3), "the same news is no news");
        assert!(pace.due(100, 100, start + LINE_EVERY));
    }
}
