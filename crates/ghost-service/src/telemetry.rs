//! The log: lines on stderr, for people or for machines.
//!
//! Code logs with `tracing`: readable text, fields to search by, and in the field `event` the name of what happened,
//! as in `info!(event = "task_classified", score, "classified task {id}")`. [`json`] lays such a line out flat.

use std::io::{self, IsTerminal};

use ghost_core::config::{LogFormat, LogLevel};
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

mod json;

/// Logs to stderr from now on, in colour where it is a terminal and NO_COLOR is unset.
///
/// # Errors
/// Where the process logs already.
pub fn init(format: LogFormat, level: LogLevel) -> Result<(), TryInitError> {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    init_to(format, level, io::stderr().is_terminal() && !no_color, io::stderr)
}

/// Logs to `writer` from now on, as a program does that draws on its terminal and must lift its pen first.
///
/// # Errors
/// Where the process logs already.
pub fn init_to<W>(format: LogFormat, level: LogLevel, color: bool, writer: W) -> Result<(), TryInitError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    subscriber(format, level, color, writer).try_init()
}

/// What receives the log's lines. Our own and llama.cpp's are printed from `level` up, those of our other dependencies
/// from `warn` up; `trace` prints all of them.
pub fn subscriber<W>(
    format: LogFormat,
    level: LogLevel,
    color: bool,
    writer: W,
) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let others = if level == LevelFilter::TRACE { level } else { level.min(LevelFilter::WARN) };
    let lines = match format {
        LogFormat::Text => fmt::layer().with_ansi(color).with_writer(writer).boxed(),
        LogFormat::Json => {
            fmt::layer().event_format(json::Flat).fmt_fields(json::fields()).with_writer(writer).boxed()
        }
    };
    let targets = Targets::new().with_default(others).with_target("ghost", level);
    // What llama.cpp says comes through us, at debug, and is part of how the local model is doing.
    registry().with(lines.with_filter(targets.with_target("llama.cpp", level)))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::{Value, json};
    use tracing::{debug, info, info_span, warn};

    use super::*;

    /// Runs `log` under a subscriber and returns the lines that it printed.
    fn printed(format: LogFormat, level: LogLevel, log: impl FnOnce()) -> Vec<String> {
        #[derive(Clone, Default)]
        struct Page(Arc<Mutex<Vec<u8>>>);
        impl io::Write for Page {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().expect("not poisoned").write(bytes)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let page = Page::default();
        let writer = page.clone();
        tracing::subscriber::with_default(subscriber(format, level, false, move || writer.clone()), log);
        let bytes = page.0.lock().expect("not poisoned").clone();
        String::from_utf8(bytes).expect("text").lines().map(str::to_owned).collect()
    }

    fn json_of(log: impl FnOnce()) -> Value {
        let lines = printed(LogFormat::Json, LogLevel::Info, log);
        let [line] = &lines[..] else { panic!("one line, not {lines:?}") };
        let mut value: Value = serde_json::from_str(line).expect("JSON");
        let object = value.as_object_mut().expect("an object");
        let timestamp = object.remove("timestamp").expect("a timestamp");
        assert!(timestamp.as_str().is_some_and(|text| text.ends_with('Z')), "{timestamp}");
        value
    }

    #[test]
    fn a_json_line_is_flat_and_has_the_name_of_what_happened_in_event() {
        let value = json_of(|| {
            info!(event = "task_classified", task.id = %"t1", score = 0.25, n = 3, ok = true, "classified task {}", "t1");
        });
        assert_eq!(
            value,
            json!({
                "level": "info", "event": "task_classified", "target": "ghost_service::telemetry::tests",
                "task.id": "t1", "score": 0.25, "n": 3, "ok": true, "message": "classified task t1",
            })
        );
    }

    #[test]
    fn a_json_line_without_a_name_has_its_text_there() {
        let value = json_of(|| warn!(reason = ?Some("x"), "looks odd"));
        assert_eq!(value["event"], "looks odd");
        assert_eq!(value["reason"], "Some(\"x\")");
        assert_eq!(value.get("message"), None);
    }

    #[test]
    fn the_fields_of_the_spans_around_come_along_and_the_innermost_wins() {
        let value = json_of(|| {
            let _outer = info_span!("batch", batch = 1, step = "outer").entered();
            let _inner = info_span!("task", task.id = "t1", step = "inner").entered();
            info!("done");
        });
        assert_eq!((&value["batch"], &value["task.id"]), (&json!(1), &json!("t1")));
        assert_eq!(value["step"], "inner");
    }

    #[test]
    fn text_is_for_people() {
        let lines =
            printed(LogFormat::Text, LogLevel::Info, || info!(event = "task_assigned", "task t1 goes to w1"));
        assert!(lines[0].contains("INFO") && lines[0].contains("task t1 goes to w1"), "{lines:?}");
    }

    #[test]
    fn the_level_holds_for_us_and_dependencies_only_warn() {
        let log = || {
            debug!("a detail");
            info!(target: "hyper::client", "a detail of others");
            warn!(target: "hyper::client", "trouble of others");
            info!(target: "ghost_core::broker", "news");
            debug!(target: "llama.cpp", "a detail of the engine");
        };
        assert_eq!(printed(LogFormat::Text, LogLevel::Info, log).len(), 2);
        assert_eq!(printed(LogFormat::Text, LogLevel::Error, log).len(), 0);
        assert_eq!(printed(LogFormat::Text, LogLevel::Debug, log).len(), 4);
        assert_eq!(printed(LogFormat::Text, LogLevel::Trace, log).len(), 5);
    }
}
