//! One flat JSON object a line: `timestamp`, `level`, `event`, `target`, then the fields of the spans around it and its
//! own. `event` is the name of what happened; a line without a name has its text there.

use std::fmt::{self, Debug};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// How the fields of spans are kept until a line needs them.
pub(super) fn fields() -> JsonFields {
    JsonFields::new()
}

pub(super) struct Flat;

impl<S, F> FormatEvent<S, F> for Flat
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    F: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, F>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let mut fields = Fields::default();
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            let extensions = span.extensions();
            let kept = extensions.get::<FormattedFields<F>>().map(|kept| serde_json::from_str(&kept.fields));
            if let Some(Ok(Value::Object(kept))) = kept {
                fields.0.extend(kept);
            }
        }
        event.record(&mut fields);
        let mut fields = fields.0;
        let level = event.metadata().level().as_str().to_ascii_lowercase();
        let name = fields.remove("event").or_else(|| fields.remove("message")).unwrap_or_default();
        let mut line = Map::from_iter([
            ("timestamp".to_owned(), time.into()),
            ("level".to_owned(), level.into()),
            ("event".to_owned(), name),
            ("target".to_owned(), event.metadata().target().into()),
        ]);
        for (name, value) in fields {
            line.entry(name).or_insert(value);
        }
        writeln!(writer, "{}", Value::Object(line))
    }
}

/// The fields of one line, each with the type that it was logged with.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn set(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.set(field, format!("{value:?}"));
    }
}
