//! Data on stdout, in the form that was asked for; talk on stderr.

use std::io::{self, Write};

use anyhow::Context as _;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use crate::progress::lifted;

/// The form of what is printed on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// One JSON document.
    Json,
    /// One JSON document a line.
    Jsonl,
}

/// Writes one thing to stdout.
pub(crate) fn one<T: Serialize>(
    format: Format,
    thing: &T,
    people: impl FnOnce(&T) -> String,
) -> anyhow::Result<()> {
    let text = match format {
        Format::Table => people(thing),
        Format::Json => serde_json::to_string_pretty(thing)?,
        Format::Jsonl => serde_json::to_string(thing)?,
    };
    data(&text)
}

/// Writes a list of things to stdout.
pub(crate) fn many<T: Serialize>(
    format: Format,
    things: &[T],
    people: impl FnOnce(&[T]) -> String,
) -> anyhow::Result<()> {
    match format {
        Format::Table => data(&people(things)),
        Format::Json => data(&serde_json::to_string_pretty(things)?),
        Format::Jsonl => things.iter().try_for_each(|thing| data(&serde_json::to_string(thing)?)),
    }
}

/// Writes text to stdout, with a line end where it has none.
pub(crate) fn data(text: &str) -> anyhow::Result<()> {
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    lifted(|| {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.write_all(end.as_bytes())?;
        stdout.flush()
    })
    .context("stdout cannot be written")
}

/// Writes a part of a line to stdout; more of it follows.
pub(crate) fn part(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).context("stdout cannot be written")
}

/// Tells whoever sits at the terminal.
pub(crate) fn talk(text: impl AsRef<str>) {
    // Nobody can be told that stderr is closed.
    let _ = lifted(|| writeln!(io::stderr().lock(), "{}", text.as_ref()));
}

/// A table without lines or colours, which reads well and is cut well.
pub(crate) fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(head);
    for row in rows {
        table.add_row(row.map(|cell| plain(&cell)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// Text that cannot move the cursor or colour the terminal: a model's words are not to be trusted with it.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The beginning of a text, on one line.
pub(crate) fn short(text: &str, length: usize) -> String {
    let line = plain(text.trim());
    if line.chars().count() <= length {
        return line;
    }
    line.chars().take(length.saturating_sub(1)).chain(['…']).collect()
}

/// Micro-dollars as dollars: as many digits as it takes to see something.
pub(crate) fn dollars(micro_usd: i64) -> String {
    let sign = if micro_usd < 0 { "-" } else { "" };
    let whole = micro_usd.unsigned_abs();
    match whole {
        0 => "$0".to_owned(),
        1..10_000 => format!("{sign}${:.6}", whole as f64 / 1e6),
        10_000..1_000_000 => format!("{sign}${:.4}", whole as f64 / 1e6),
        _ => format!("{sign}${:.2}", whole as f64 / 1e6),
    }
}

/// A number with the right form of its noun.
pub(crate) fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Bytes as people say them.
pub(crate) fn bytes(number: u64) -> String {
    let units = [(1_000_000_000_000, "TB"), (1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    match units.into_iter().find(|(unit, _)| number >= *unit) {
        Some((unit, name)) => format!("{:.1} {name}", number as f64 / unit as f64),
        None => format!("{number} B"),
    }
}

/// Milliseconds as people say them.
pub(crate) fn duration(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..120_000 => format!("{:.1} s", ms as f64 / 1e3),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        7_200_000..172_800_000 => format!("{} h", ms / 3_600_000),
        _ => format!("{} days", ms / 86_400_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_shows_as_many_digits_as_it_takes_to_see_something() {
        let shown = [0, 7, -7, 12_345, 3_456_789].map(dollars);
        assert_eq!(shown, ["$0", "$0.000007", "-$0.000007", "$0.0123", "$3.46"]);
    }

    #[test]
    fn bytes_are_said_in_their_largest_unit() {
        let said = [0, 999, 1_000, 2_393_000_000, u64::MAX].map(bytes);
        assert_eq!(said, ["0 B", "999 B", "1.0 kB", "2.4 GB", "18446744.1 TB"]);
    }

    #[test]
    fn a_models_words_cannot_touch_the_terminal() {
        assert_eq!(plain("a\u{1b}[31mb\nc"), "a [31mb c");
        assert_eq!(short("  abcdef ", 4), "abc…");
    }

    #[test]
    fn a_table_has_no_trailing_blanks() {
        let text = table(["A", "B"], [["1".to_owned(), String::new()]]);
        assert!(text.lines().all(|line| !line.ends_with(' ')), "{text:?}");
    }
}
