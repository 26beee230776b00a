//! Where settings come from, and which of them wins: flags, environment, `.env`, file, defaults, in this order.
//!
//! Everything is checked here, so that one start names every mistake; [`Config`](super::Config) only takes values over.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::table::{Default, Setting};
use super::{CONFIG_FILE, SETTINGS};

/// Everything that may say something.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Variables and values from the command line; of two for the same variable the last one counts.
    pub flags: Vec<(String, String)>,
    /// The process's environment.
    pub environment: Vec<(OsString, OsString)>,
    /// A `.env` file, read if it is there.
    pub dotenv: Option<PathBuf>,
    /// A TOML file, read if it is there; where GHOST_CONFIG names another one, that one must be there.
    pub file: Option<PathBuf>,
}

impl Sources {
    /// What this process has: the given flags, its environment, `.env` and `ghost.toml` in the current directory.
    pub fn of_process(flags: Vec<(String, String)>) -> Self {
        Self {
            flags,
            environment: std::env::vars_os().collect(),
            dotenv: Some(".env".into()),
            file: Some("ghost.toml".into()),
        }
    }
}

/// Who said it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The command line.
    Flag,
    /// The environment.
    Environment,
    /// A line, counted from 1, of `.env` or of the TOML file.
    Line(PathBuf, usize),
    /// Nobody.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Flag => f.write_str("command line"),
            Source::Environment => f.write_str("environment"),
            Source::Line(file, line) => write!(f, "{}, line {line}", file.display()),
            Source::Default => f.write_str("default"),
        }
    }
}

/// Every mistake in what the sources say; nothing was started.
#[derive(Debug, PartialEq, Eq)]
pub struct Error {
    /// At least one.
    pub problems: Vec<Problem>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.problems.iter().map(Problem::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Error {}

/// One mistake.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A value that makes no sense.
    #[error("{variable} is {shown} ({source}), but must be {expected}", source = .from)]
    Value {
        /// The setting.
        variable: &'static str,
        /// Its value in quotes, or words instead of a secret.
        shown: String,
        /// Who said so.
        from: Source,
        /// What would be right.
        expected: String,
    },
    /// A name that nobody reads.
    #[error("{name} ({from}) is no setting{}", suggestion(.nearest))]
    Unknown {
        /// The name.
        name: String,
        /// Where it stands.
        from: Source,
        /// What may have been meant.
        nearest: Option<String>,
    },
    /// A file that cannot be read.
    #[error("{}: {reason}", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// Values that make no sense together.
    #[error("{0}")]
    Together(String),
}

fn suggestion(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|name| format!("; did you mean {name}?")).unwrap_or_default()
}

/// A setting with its value, for `ghost doctor`.
#[derive(Clone)]
pub struct Row {
    /// The setting.
    pub setting: &'static Setting,
    /// Who decided its value.
    pub source: Source,
    value: Option<String>,
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Row")
            .field("variable", &self.setting.variable)
            .field("source", &self.source)
            .field("value", &self.shown())
            .finish()
    }
}

impl Row {
    /// Its value for the eyes of a user: a secret only says whether it is there.
    pub fn shown(&self) -> String {
        match (&self.value, self.setting.default) {
            (Some(_), _) if self.setting.secret => "set".to_owned(),
            (Some(value), _) => value.clone(),
            (None, Default::Unset(instead)) => format!("unset: {instead}"),
            (None, Default::Is(value)) => value.to_owned(),
        }
    }
}

/// Every setting's text, checked.
pub(super) struct Values {
    pub(super) rows: Vec<Row>,
    pub(super) warnings: Vec<String>,
}

impl Values {
    pub(super) fn gather(sources: Sources) -> Result<Self, Error> {
        let mut gathering = Gathering::default();
        gathering.flags(sources.flags);
        gathering.environment(sources.environment);
        if let Some(file) = &sources.dotenv {
            gathering.dotenv(file);
        }
        match gathering.given.get(CONFIG_FILE).filter(|(value, _)| !value.is_empty()) {
            Some((file, _)) => gathering.file(&PathBuf::from(file), true),
            None => sources.file.iter().for_each(|file| gathering.file(file, false)),
        }
        gathering.finish()
    }

    pub(super) fn get(&self, variable: &str) -> Option<&str> {
        self.rows.iter().find(|row| row.setting.variable == variable)?.value.as_deref()
    }
}

/// Sources are asked in the order of their precedence, so the first word on a setting is the last.
#[derive(Default)]
struct Gathering {
    given: HashMap<&'static str, (String, Source)>,
    warnings: Vec<String>,
    problems: Vec<Problem>,
}

impl Gathering {
    fn give(&mut self, setting: &'static Setting, value: &str, source: Source) {
        self.given.entry(setting.variable).or_insert_with(|| (value.trim().to_owned(), source));
    }

    fn flags(&mut self, flags: Vec<(String, String)>) {
        for (name, value) in flags.iter().rev() {
            match by_variable(name) {
                Some(setting) => self.give(setting, value, Source::Flag),
                None => self.problems.push(unknown(name, Source::Flag)),
            }
        }
    }

    fn environment(&mut self, variables: Vec<(OsString, OsString)>) {
        for (name, value) in variables {
            let name = name.to_string_lossy();
            match (by_variable(&name), value.to_str()) {
                (Some(setting), Some(value)) => self.give(setting, value, Source::Environment),
                (Some(setting), None) => self.problems.push(Problem::Value {
                    variable: setting.variable,
                    shown: "not UTF-8".to_owned(),
                    from: Source::Environment,
                    expected: "text".to_owned(),
                }),
                (None, _) => self.doubt(&name, Source::Environment),
            }
        }
    }

    fn dotenv(&mut self, file: &Path) {
        let Some(text) = self.read(file, false) else { return };
        for variable in dotenvy::from_read_iter(text.as_bytes()) {
            match variable {
                Ok((name, value)) => {
                    let source = Source::Line(file.to_owned(), line_of_variable(&text, &name));
                    match by_variable(&name) {
                        Some(setting) => self.give(setting, &value, source),
                        None => self.doubt(&name, source),
                    }
                }
                // The line itself is not repeated: it may hold a key.
                Err(dotenvy::Error::LineParse(bad, _)) => {
                    let line = text.lines().position(|line| !line.is_empty() && bad.starts_with(line));
                    let at = line.map(|at| format!("line {}", at + 1)).unwrap_or_else(|| "a line".to_owned());
                    let reason = format!("{at} is not NAME=value (quote a value that has spaces)");
                    return self.problems.push(Problem::Unreadable { file: file.to_owned(), reason });
                }
                Err(error) => {
                    let reason = error.to_string();
                    return self.problems.push(Problem::Unreadable { file: file.to_owned(), reason });
                }
            }
        }
    }

    fn file(&mut self, file: &Path, must_exist: bool) {
        let Some(text) = self.read(file, must_exist) else { return };
        match DeTable::parse(&text) {
            Ok(table) => self.table(file, &text, "", table.get_ref()),
            // Only the message: the snippet that the error could show may hold a key.
            Err(error) => {
                let line = line_at(&text, error.span().map_or(0, |span| span.start));
                let reason = format!("line {line}: {}", error.message());
                self.problems.push(Problem::Unreadable { file: file.to_owned(), reason });
            }
        }
    }

    fn table(&mut self, file: &Path, text: &str, prefix: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let key = format!("{prefix}{}", name.get_ref());
            let source = Source::Line(file.to_owned(), line_at(text, name.span().start));
            let value = match value.get_ref() {
                DeValue::Table(inner) => {
                    self.table(file, text, &format!("{key}."), inner);
                    continue;
                }
                DeValue::String(value) => Some(value.to_string()),
                DeValue::Integer(number) => Some(number.to_string()),
                DeValue::Float(number) => Some(number.to_string()),
                DeValue::Boolean(yes) => Some(yes.to_string()),
                DeValue::Datetime(_) | DeValue::Array(_) => None,
            };
            let setting = SETTINGS.iter().find(|setting| setting.key().as_deref() == Some(&key));
            match (setting, value) {
                (Some(setting), Some(value)) => self.give(setting, &value, source),
                (Some(setting), None) => self.problems.push(Problem::Value {
                    variable: setting.variable,
                    shown: "a list or a date".to_owned(),
                    from: source,
                    expected: "a single value".to_owned(),
                }),
                (None, _) => self.problems.push(unknown(&key, source)),
            }
        }
    }

    fn read(&mut self, file: &Path, must_exist: bool) -> Option<String> {
        match std::fs::read_to_string(file) {
            Ok(text) => Some(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !must_exist => None,
            Err(error) => {
                let reason = format!("cannot be read: {error}");
                self.problems.push(Problem::Unreadable { file: file.to_owned(), reason });
                None
            }
        }
    }

    /// Other programs have variables too; one that begins like ours is probably meant for us.
    fn doubt(&mut self, name: &str, source: Source) {
        if name.starts_with("GHOST_") {
            self.warnings.push(unknown(name, source).to_string());
        }
    }

    fn finish(mut self) -> Result<Values, Error> {
        let mut rows = Vec::with_capacity(SETTINGS.len());
        for setting in SETTINGS {
            let (value, source) = match self.given.remove(setting.variable) {
                Some((value, source)) if !value.is_empty() => (Some(value), source),
                Some((_, source)) => (None, source),
                None => (None, Source::Default),
            };
            if let Some(Err(expected)) = value.as_deref().map(setting.check) {
                let shown = match &value {
                    Some(value) if !setting.secret => format!("{value:?}"),
                    _ => "something else".to_owned(),
                };
                let from = source.clone();
                self.problems.push(Problem::Value { variable: setting.variable, shown, from, expected });
            }
            let default = match setting.default {
                Default::Is(value) => Some(value.to_owned()),
                Default::Unset(_) => None,
            };
            rows.push(Row { setting, source, value: value.or(default) });
        }
        if self.problems.is_empty() {
            Ok(Values { rows, warnings: self.warnings })
        } else {
            Err(Error { problems: self.problems })
        }
    }
}

fn by_variable(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.variable == name)
}

fn unknown(name: &str, from: Source) -> Problem {
    let in_file = name.contains('.') || matches!(&from, Source::Line(file, _) if file.extension().is_some());
    let right = |setting: &Setting| {
        if in_file { setting.key() } else { Some(setting.variable.to_owned()) }
    };
    let nearest = SETTINGS
        .iter()
        .filter_map(|setting| {
            let spellings = [Some(setting.variable.to_owned()), setting.key()];
            let distance = spellings.iter().flatten().map(|spelling| distance(name, spelling)).min()?;
            Some((distance, right(setting)?))
        })
        .filter(|(distance, _)| *distance <= name.len() / 3)
        .min();
    Problem::Unknown { name: name.to_owned(), from, nearest: nearest.map(|(_, name)| name) }
}

/// How many letters must be added, removed or changed to get from one word to the other.
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in to.bytes().enumerate() {
            let changed = diagonal + usize::from(!a.eq_ignore_ascii_case(&b));
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

fn line_at(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

fn line_of_variable(text: &str, name: &str) -> usize {
    let declares = |line: &str| {
        let line = line.trim_start();
        let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
        line.strip_prefix(name).is_some_and(|rest| rest.trim_start().starts_with('='))
    };
    text.lines().position(declares).map_or(1, |at| at + 1)
}
